"""The way in and out of a flow in the backbone (Transfusion, arXiv 2408.11039; BAGEL, arXiv 2505.14683): noisy latents
become embeddings, and states velocities. The way out begins at zero, as BAGEL's `llm2vae`."""

from __future__ import annotations

import torch
from diffusers.models.embeddings import TimestepEmbedding, Timesteps
from torch import Tensor, nn

from polymodal.parts.output import OutputProjector


class FlowProjector(OutputProjector):
    """n latents of width Dg. A learned vector says which latent stands at a position."""

    def __init__(self, n: int, width_in: int, positions: int, width_out: int) -> None:
        super().__init__()
        self.enter = nn.Linear(width_out, width_in)
        self.place = nn.Parameter(torch.randn(n, width_in) * 0.5)
        self.phases = Timesteps(128, flip_sin_to_cos=True, downscale_freq_shift=0)
        self.time = TimestepEmbedding(128, width_in)
        self.leave = nn.Linear(width_in, width_out)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def embed(self, latents: Tensor, time: Tensor) -> Tensor:
        """[S, n, Dg] at times [S] (0: noise, 1: latents) -> [S, n, D]."""
        return self.enter(latents) + self.place + self.time(self.phases(time * 1000).to(latents.dtype))[:, None]

    def forward(self, states: Tensor) -> Tensor:
        """Velocities [S, n, Dg]."""
        return self.leave(states)
