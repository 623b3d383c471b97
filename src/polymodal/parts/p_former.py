"""P-Former (arXiv 2307.07063): what prompt makes a frozen backbone write a sentence? Learned from sentences alone, its
prompts are then what a projector is pulled towards for a picture of that sentence. The authors' code has: one state of the
sentence, spread over the queries, tanh, a quarter of the words masked. Their BERT reads its own words and was pre-trained;
here it reads the backbone's embeddings and was not."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from polymodal.errors import RecipeError
from polymodal.parts.base import Features, Positive
from polymodal.parts.input_projectors.padding import pad

LONGEST = 511  # tokens of a sentence that are read: BERT has 512 positions


class PFormer(nn.Module):
    """A sentence -> `queries` prompts of the backbone's `width`, by a BERT of `depth` layers of width `hidden`. In training
    only, words are left out with the probability `mask`."""

    def __init__(
        self,
        width: Positive,
        queries: Positive = 32,
        depth: Positive = 12,
        hidden: Positive = 768,
        heads: Positive = 12,
        mask: float = 0.25,
    ) -> None:
        super().__init__()
        from transformers import BertConfig, BertModel

        if hidden % heads:
            raise RecipeError(f"p-former: 'heads' must divide 'hidden', and {heads} does not divide {hidden}")
        sizes: dict[str, Any] = {"hidden_size": hidden, "num_hidden_layers": depth, "num_attention_heads": heads}
        self.width, self.queries, self.mask = width, queries, mask
        self.enter = nn.Linear(width, hidden)
        self.whole = nn.Parameter(torch.randn(1, hidden) * 0.02)  # stands first, and is what is read
        self.blank = nn.Parameter(torch.randn(hidden) * 0.02)
        self.bert = BertModel(BertConfig(**sizes, intermediate_size=4 * hidden, vocab_size=1), add_pooling_layer=False)
        self.bert.set_input_embeddings(None)  # it is given embeddings
        self.spread = nn.Linear(hidden, queries * hidden)
        self.leave = nn.Sequential(nn.Linear(hidden, hidden), nn.Tanh(), nn.Linear(hidden, width))

    def forward(self, sentences: list[Tensor]) -> Tensor:
        """B embedded sentences [T, D] -> [B, queries, D]."""
        words = []
        for sentence in sentences:
            own = self.enter(sentence[:LONGEST])
            if self.training and self.mask:
                own = torch.where(torch.rand(len(own), 1, device=own.device) < self.mask, self.blank, own)
            words.append(torch.cat([self.whole, own]))
        context, seen = pad(Features(words))
        state = self.bert(inputs_embeds=context, attention_mask=seen).last_hidden_state[:, 0]
        return self.leave(self.spread(state).unflatten(-1, (self.queries, -1)))
