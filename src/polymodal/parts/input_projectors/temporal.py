"""Temporal projector: what each frame of a clip shows, and what has changed since the one before (TSN, arXiv 1608.00859,
takes the difference of pictures; this one of features). For encoders that emit one frame's features behind another's
(`frames`)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from polymodal.errors import RecipeError
from polymodal.parts.base import Features, InputProjector, Positive
from polymodal.parts.input_projectors.prefix import Prefix


class Temporal(InputProjector):
    """F <= `frames` frames of `cells` features each -> F * `cells` * `tokens` positions of width D. A feature goes through
    a prefix network together with its difference from the same cell of the frame before (of the first frame: zero);
    learned vectors, from zero, say which frame it is of and which cell."""

    def __init__(
        self,
        width_in: int,
        width_out: int,
        cells: Positive = 1,
        tokens: Positive = 1,
        frames: Positive = 32,
        hidden: Positive = 512,
        dropout: float = 0.0,
        noise: float = 0.0,
    ) -> None:
        super().__init__()
        self.cells, self.tokens = cells, tokens
        self.enter = Prefix(2 * width_in, width_out, tokens, hidden, dropout, noise)
        self.time = nn.Parameter(torch.zeros(frames, 1, 1, width_out))
        self.place = nn.Parameter(torch.zeros(cells, 1, width_out))

    def length(self, n: int) -> int:
        """Raises `RecipeError` if the N features are no whole frames, or of too many."""
        frames, rest = divmod(n, self.cells)
        if rest:
            raise RecipeError(f"projector 'temporal': {n} features are no frames of {self.cells}; set its 'cells'")
        if frames > len(self.time):
            raise RecipeError(f"projector 'temporal': {frames} frames are over {len(self.time)}; set its 'frames'")
        return n * self.tokens

    def forward(self, features: Features) -> list[Tensor]:
        clips = [x.unflatten(0, (-1, self.cells)) for x in features.tokens]  # [F, cells, De]
        pairs = [torch.cat([x, x - torch.cat([x[:1], x[:-1]])], dim=-1) for x in clips]
        rows = self.enter(Features([pair.flatten(0, 1) for pair in pairs]))
        out = [row.unflatten(0, (-1, self.cells, self.tokens)) for row in rows]
        return [(x + self.time[: len(x)] + self.place).flatten(0, 2) for x in out]
