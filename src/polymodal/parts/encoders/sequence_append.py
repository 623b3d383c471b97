"""Encoders one behind the other: all read the same medium, and their features follow each other in the sequence (Eagle,
arXiv 2408.15998, calls it sequence append; Lyrics, 2312.05278, has its queries read four encoders). Decides how a projector
knows whose a feature is: it stands in columns of its own, zeros in the others, behind a column of marks for each encoder.
So a linear layer over all is one of each encoder, and their numbers and widths are free to differ."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from polymodal.parts.base import Features, Inputs
from polymodal.parts.encoders.channel_concat import ChannelConcat, own


class SequenceAppend(ChannelConcat):
    """`of`: {name: encoder}, K of them, each as a recipe names it, with its own `path`. De: K and the sum of their widths.
    Each encoder's features are normalised, as in `channel-concat`."""

    kind = "sequence-append"

    def __init__(self, of: dict[str, dict[str, Any]]) -> None:
        super().__init__(of)
        self.widths = [part.width for _, part in self.each()]
        self.width += len(self.widths)
        del self.options["pad"]

    def length(self, inputs: Inputs) -> int:
        return sum(part.length(own(name, inputs)) for name, part in self.each())

    def forward(self, items: list[Inputs]) -> Features:
        each = [part([own(name, item) for item in items]).tokens for name, part in self.each()]
        return Features([torch.cat([self._placed(k, x) for k, x in enumerate(item)]) for item in zip(*each, strict=True)])

    def _placed(self, number: int, x: Tensor) -> Tensor:  # [N, De of an encoder] -> [N, De]
        before = len(self.widths) + sum(self.widths[:number])
        row = F.pad(F.layer_norm(x, x.shape[-1:]), (before, self.width - before - x.shape[-1]))
        row[:, number] = 1
        return row
