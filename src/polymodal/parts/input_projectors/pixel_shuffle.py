"""Pixel-shuffle projector (Idefics3, arXiv 2408.12637; InternVL): `ratio`^2 fewer positions, `ratio`^2 wider features."""

from __future__ import annotations

from torch import Tensor

from polymodal.parts.base import Features, InputProjector, Positive
from polymodal.parts.input_projectors.grid import grid, side
from polymodal.parts.input_projectors.mlp import MLP


class PixelShuffle(InputProjector):
    """Joins `ratio` x `ratio` neighbours of a square feature grid, then an MLP. A side that `ratio` does not divide is
    padded by repeating its edge (7 x 7 at ratio 2 gives 4 x 4)."""

    def __init__(
        self, width_in: int, width_out: int, ratio: Positive = 2, depth: Positive = 1, hidden: Positive | None = None
    ) -> None:
        super().__init__()
        self.ratio = ratio
        self.mlp = MLP(width_in * ratio * ratio, width_out, depth=depth, hidden=hidden)

    def length(self, n: int) -> int:
        return (-(-side(n, "pixel-shuffle") // self.ratio)) ** 2

    def forward(self, features: Features) -> list[Tensor]:
        return self.mlp(Features([self._shuffle(x) for x in features.tokens]))

    def _shuffle(self, x: Tensor) -> Tensor:  # [N, De] -> [N', De * ratio^2]
        r = self.ratio
        blocks = grid(x, r, "pixel-shuffle").unflatten(1, (-1, r)).unflatten(0, (-1, r)).transpose(1, 2)
        return blocks.reshape(blocks.shape[0] * blocks.shape[1], -1)  # of [h/r, w/r, r, r, De]
