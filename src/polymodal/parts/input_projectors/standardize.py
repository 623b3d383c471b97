"""Standardising features by running statistics. Decides that a projector meets features of equal scale, whatever encoder
they come from: pooled features of a convolutional network are all positive, Whisper's have dimensions ten times as loud as
others, and a projector's learning rate should not have to know."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Standardize(nn.Module):
    """(x - mean) / std by statistics of everything seen in training so far (Chan et al. 1979), in training as in use, so
    that an item never depends on its batch."""

    mean: Tensor
    var: Tensor
    count: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("var", torch.ones(width))
        self.register_buffer("count", torch.zeros((), dtype=torch.long))  # float16, as checkpoints round, ends at 65504

    def forward(self, x: Tensor) -> Tensor:  # [S, De]
        if self.training and len(x) > 1:
            self._update(x.detach().float())
        return (x - self.mean) / self.var.clamp(min=4e-4).sqrt()

    @torch.no_grad()
    def _update(self, x: Tensor) -> None:
        total = self.count + len(x)
        gap = x.mean(0) - self.mean
        spread = self.var * self.count + x.var(0, correction=0) * len(x) + gap**2 * self.count * len(x) / total
        self.mean += gap * len(x) / total
        self.var.copy_(spread / total)
        self.count.copy_(total)
