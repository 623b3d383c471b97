"""Posteriors projector: what its encoder would write, in the backbone's own words. Each feature becomes the mean of the
backbone's embeddings under the probabilities of the encoder's own vocabulary (ConSE, arXiv 1312.5650, of tokens; for speech
LegoSLM, 2505.11352), so that nothing has to learn what a word means."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from polymodal.errors import RecipeError
from polymodal.parts.base import FILLER, Features, InputProjector, Positive, Vocabulary, Writing


class Posteriors(InputProjector):
    """N features -> N positions, of the `top` likeliest tokens and a learned vector times how likely the first is. A token
    that writes nothing says what a backbone reads past. One that the backbone spells with several pieces takes a position
    for each while positions behind the last word are free, or no backbone finds it again in what it wrote itself; otherwise
    it is the mean of them. It needs an encoder that writes, such as `whisper-decoder`. The first `skip` features are no
    tokens, and get no position."""

    def __init__(self, width_in: int, width_out: int, top: Positive = 4, skip: Annotated[int, Field(ge=0)] = 0) -> None:
        super().__init__()
        self.top, self.skip = top, skip
        self.certainty = nn.Parameter(torch.randn(width_out) * 0.02)

    def speak(self, vocabulary: Vocabulary, writing: Writing | None = None) -> None:
        if writing is None:
            raise RecipeError("projector 'posteriors' needs an encoder that writes, such as 'whisper-decoder'")
        self.vocabulary, self.writing = vocabulary, writing
        self.spelled: dict[int, list[int]] = {}

    def length(self, n: int) -> int:
        return n - self.skip

    def forward(self, features: Features) -> list[Tensor]:
        tokens = [rows[self.skip :] for rows in features.tokens]
        rows = torch.cat(tokens)
        if not len(rows):  # of a batch whose items are only what is skipped
            return [self.certainty[None, :][:0] for _ in tokens]
        sure, best = self.writing.logits(rows).float().softmax(-1).topk(self.top)
        weight = sure / sure.sum(-1, keepdim=True)
        said = (weight[..., None] * self._words(best)).sum(-2) + sure[:, :1] * self.certainty
        lengths = [len(x) for x in tokens]
        whole = zip(said.split(lengths), best[:, 0].split(lengths), weight[:, 0].split(lengths), strict=True)
        return [self._apart(*item) for item in whole]

    def _apart(self, said: Tensor, best: Tensor, weight: Tensor) -> Tensor:
        """Positions [N, D] of one item, its likeliest tokens [N] and their weights [N] -> [N, D], in which as many of those
        tokens as there is room for have their pieces in a row."""
        tokens = best.tolist()
        wrote = [bool(self.writing.texts[token]) for token in tokens]
        free = len(tokens) - max((i + 1 for i, word in enumerate(wrote) if word), default=0)
        source: list[int] = []  # of each position, the one that it was
        apart: list[tuple[int, list[int]]] = []  # where a token's pieces begin
        for i, token in enumerate(tokens):
            pieces = self._spell(token)
            many = wrote[i] and 1 < len(pieces) <= free + 1
            if many:
                free -= len(pieces) - 1
                apart.append((len(source), pieces))
            source += [i] * (len(pieces) if many else 1)
        if not apart:
            return said
        words = self.vocabulary.embed(torch.tensor([p for _, pieces in apart for p in pieces], device=said.device))
        own = torch.cat([word - word.mean(0) for word in words.to(said.dtype).split([len(pieces) for _, pieces in apart])])
        places = torch.tensor([at + n for at, pieces in apart for n in range(len(pieces))], device=said.device)
        old = torch.tensor(source[: len(said)], device=said.device)
        return said[old].index_add(0, places, weight[old][places, None] * own)

    def _words(self, ids: Tensor) -> Tensor:
        """[..] tokens of the encoder -> [.., D], each the mean of the pieces that the backbone spells it with."""
        kinds, place = ids.unique(return_inverse=True)
        pieces = [self._spell(i) for i in kinds.tolist()]
        flat = self.vocabulary.embed(torch.tensor([p for word in pieces for p in word], device=ids.device))
        words = [rows.mean(0) for rows in flat.split([len(word) for word in pieces])]
        return torch.stack(words)[place]

    def _spell(self, token: int) -> list[int]:
        if token not in self.spelled:
            text = self.writing.texts[token]
            self.spelled[token] = (self.vocabulary.ids(text) if text else []) or self.vocabulary.ids(FILLER)[-1:]
        return self.spelled[token]
