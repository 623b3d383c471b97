"""Q learned queries that attend to the states of a span (SEED-X, arXiv 2404.14396). Decides that there is one resampler:
the input projector's, of Idefics2's layers, with fixed numbers on both sides."""

from __future__ import annotations

import torch
from torch import Tensor

from polymodal.parts.base import Positive
from polymodal.parts.input_projectors.resampler import PerceiverResampler
from polymodal.parts.output import OutputProjector


class Resampler(OutputProjector):
    """A linear layer D -> Dg, then `depth` layers of cross-attention. `hidden`: of this width instead of Dg, with a linear
    layer to Dg behind."""

    def __init__(
        self,
        n: int,
        width_in: int,
        positions: int,
        width_out: int,
        depth: Positive = 1,
        heads: Positive | None = None,
        hidden: Positive | None = None,
    ) -> None:
        super().__init__()
        self.resampler = PerceiverResampler(width_in, width_out, positions, depth, heads, hidden)

    def forward(self, states: Tensor) -> Tensor:
        mask = torch.ones(
            states.shape[:2], dtype=torch.long, device=states.device
        )  # spans are of one length: none is padded
        return self.resampler.leave(self.resampler.resampler(self.resampler.enter(states), mask))
