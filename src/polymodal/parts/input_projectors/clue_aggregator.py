"""Clue aggregator (CAT, arXiv 2403.04640): the features of an item look at each other, the question looks at them, they
look at what it found, and a Q-Former reads the outcome; one position more is the mean of the features as they came. The
question is in the backbone's own words. As in the authors' code each medium is aggregated by itself, nothing is added to
what it was made of, and tanh bounds what is found; the linear layer between and the order of positions (theirs: clues of
both media, then means of both) are left out."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from polymodal.errors import RecipeError
from polymodal.parts.base import Features, InputProjector, Positive, Vocabulary, Writing
from polymodal.parts.input_projectors.mlp import Share
from polymodal.parts.input_projectors.q_former import QFormer
from polymodal.parts.input_projectors.questions import asked


class ClueAggregator(InputProjector):
    """Any N features -> `queries` + 1 positions. `heads`: of the three attentions; `depth`: of the Q-Former, BERT-base in
    its other sizes unless `hidden` says otherwise; `dropout`: in training."""

    reads_question = True

    def __init__(
        self,
        width_in: int,
        width_out: int,
        queries: Positive = 32,
        depth: Positive = 4,
        hidden: Positive = 768,
        heads: Positive = 4,
        dropout: Share = 0.1,
    ) -> None:
        super().__init__()
        if width_in % heads or width_out % heads:
            raise RecipeError(f"clue-aggregator: 'heads', {heads}, must divide the widths {width_in} and {width_out}")
        options = {"dropout": dropout, "batch_first": True}
        self.among = nn.MultiheadAttention(width_in, heads, **options)
        self.find, self.tell = (nn.MultiheadAttention(width_out, heads, **options) for _ in range(2))
        self.enter = nn.Sequential(nn.Linear(width_in, width_out), nn.Dropout(dropout), nn.LayerNorm(width_out))
        self.back = nn.Sequential(nn.Linear(width_out, width_in), nn.Dropout(dropout), nn.LayerNorm(width_in))
        self.clues = QFormer(width_in, width_out, queries, depth, hidden, max(1, hidden // 64))
        self.whole = nn.Linear(width_in, width_out)

    def speak(self, vocabulary: Vocabulary, writing: Writing | None = None) -> None:
        self.vocabulary = vocabulary

    def length(self, n: int) -> int:
        return self.clues.length(n) + 1

    def forward(self, features: Features) -> list[Tensor]:
        """Raises `ContentError` for an item without the question that is to be read."""
        found = [self._found(x, said) for x, said in zip(features.tokens, asked(features), strict=True)]
        wholes = [self.whole(x.mean(0, keepdim=True)) for x in features.tokens]
        return [torch.cat(each) for each in zip(self.clues(Features(found)), wholes, strict=True)]

    def _found(self, x: Tensor, question: str) -> Tensor:  # [N, De] -> [N, De]
        ids = torch.tensor(self.vocabulary.ids(question), device=x.device)
        words, x = self.vocabulary.embed(ids).to(x.dtype)[None], x[None]
        seen = self.enter(self.among(x, x, x, need_weights=False)[0])
        clues = self.find(words, seen, seen, need_weights=False)[0].tanh()
        return self.back(self.tell(seen, clues, clues, need_weights=False)[0].tanh())[0]
