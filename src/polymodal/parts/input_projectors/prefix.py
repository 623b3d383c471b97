"""Prefix projector (ClipCap's mapping network, arXiv 2111.09734; Frozen, 2106.13884): one pooled feature becomes several
positions. Features are standardised by their running mean and variance first: pooled features of a convolutional network
are positive and of very unequal scale."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from polymodal.parts.base import Features, InputProjector, Positive
from polymodal.parts.input_projectors.standardize import Standardize


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
