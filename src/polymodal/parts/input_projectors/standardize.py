"""Standardising features by running statistics. Decides that a projector meets features of equal scale, whatever encoder
they come from: pooled features of a convolutional network are all positive, Whisper's have dimensions ten times as loud as
others, and a projector's learning rate should not have to know."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Standardize(nn.Module):
    """(x - mean) / std by statistics of everything seen in training before, in training as in use, so that an item never
    depends on its batch. What a training pass sees is learned when it is over; inside `hold`, which training puts around a
    step, when the step is."""

    mean: Tensor
    var: Tensor
    count: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("var", torch.ones(width))
        self.register_buffer("count", torch.zeros((), dtype=torch.long))  # float16, as checkpoints round, ends at 65504
        self.held: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:  # [S, De]
        out = (x - self.mean) / self.var.clamp(min=4e-4).sqrt()
        if self.training:
            seen = self._moments(x.detach().float())
            if self.held is None:
                self.learn(seen)
            else:
                self.held += seen
        return out

    def hold(self) -> None:
        """From now on nothing is learned, and what is seen is summed in `held` [3, De] until it is given to `learn`."""
        self.held = torch.zeros(3, *self.mean.shape, device=self.mean.device)

    def learn(self, seen: Tensor) -> None:
        """Learn what was seen, [3, De]: sums may be added up over batches and processes that began with the same mean."""
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
