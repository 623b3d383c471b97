"""Prefix projector (ClipCap's mapping network, arXiv 2111.09734; Frozen, 2106.13884): one pooled feature becomes several
positions. Features are standardised by their running mean and variance first: pooled features of a convolutional network
are positive and of very unequal scale."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from polymodal.parts.base import Features, InputProjector
from polymodal.parts.input_projectors.mlp import Positive


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


class Prefix(InputProjector):
    """Each feature through a two-layer MLP to `tokens` positions of width D. In training only: `dropout`, and relative
    Gaussian `noise` on the features."""

    def __init__(
        self,
        width_in: int,
        width_out: int,
        tokens: Positive = 8,
        hidden: Positive = 1024,
        dropout: float = 0.0,
        noise: float = 0.0,
    ) -> None:
        super().__init__()
        self.tokens, self.noise = tokens, noise
        self.standardize = Standardize(width_in)
        self.enter = nn.Linear(width_in, hidden)
        self.leave = nn.Linear(hidden, tokens * width_out)
        self.drop = nn.Dropout(dropout)
        nn.init.normal_(self.leave.weight, std=0.002)  # positions start alike and near zero: embeddings are small

    def length(self, n: int) -> int:
        return n * self.tokens

    def forward(self, features: Features) -> list[Tensor]:
        x = torch.cat(features.tokens)
        if self.training and self.noise:
            x = x * (1 + self.noise * torch.randn_like(x))
        x = self.drop(self.standardize(x))
        x = self.leave(self.drop(nn.functional.gelu(self.enter(x))))
        return [rows.reshape(rows.shape[0] * self.tokens, -1) for rows in x.split([len(f) for f in features.tokens])]
