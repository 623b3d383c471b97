"""Standardising features by running statistics. Decides that a projector meets features of equal scale, whatever encoder
they come from: pooled features of a convolutional network are all positive, Whisper's have dimensions ten times as loud as
others, and a projector's learning rate should not have to know."""

from __future__ import annotations

import torch
from torch import Tensor

from polymodal.parts.input_projectors.running import Running


class Standardize(Running):
    """(x - mean) / std by statistics of everything seen in training before, in training as in use, so that an item never
    depends on its batch."""

    mean: Tensor
    var: Tensor
    count: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("var", torch.ones(width))
        self.register_buffer("count", torch.zeros((), dtype=torch.long))  # float16, as checkpoints round, ends at 65504

    def forward(self, x: Tensor) -> Tensor:  # [S, De]
        out = (x - self.mean) / self._std()
        if self.training:
            self.see(self._moments(x.detach().float()))
        return out

    def back(self, x: Tensor) -> Tensor:
        """Of what `forward` gave, what it was given."""
        return x * self._std() + self.mean

    def _std(self) -> Tensor:
        return self.var.clamp(min=4e-4).sqrt()

    def nothing(self) -> Tensor:
        return torch.zeros(3, *self.mean.shape, device=self.mean.device)

    def learn(self, seen: Tensor) -> None:
        """`seen` [3, De]: how many, and the sums of what is above the mean and of its squares."""
        self.held = None
        n, first, second = seen
        if not n[0]:
            return
        total = self.count + n[0].long()
        shift = first / total  # of the mean; sums about the mean are of small numbers
        if total > 1:
            self.var.copy_(((self.var * self.count + second) / total - shift**2).clamp(min=0))
        self.mean += shift
        self.count.copy_(total)

    def _moments(self, x: Tensor) -> Tensor:
        away = x - self.mean
        return torch.stack([torch.full_like(self.mean, len(x)), away.sum(0), away.pow(2).sum(0)])
