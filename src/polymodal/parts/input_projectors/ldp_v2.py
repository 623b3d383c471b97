"""LDPv2 (MobileVLM V2, arXiv 2402.03766): an MLP, the mean of each 2 x 2 neighbours, and where they lie by a depthwise
convolution with a skip. The authors' code pools any grid to 12 x 12, a quarter of its own; here it is always a quarter."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from polymodal.parts.base import Features, InputProjector, run_by_shape
from polymodal.parts.input_projectors.grid import grid, side
from polymodal.parts.input_projectors.mlp import MLP


class LDPv2(InputProjector):
    """Two linear layers De -> D, then a quarter of the positions: 24 x 24 features become 12 x 12, 7 x 7 become 4 x 4 (an
    odd side repeats its edge)."""

    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__()
        self.mlp = MLP(width_in, width_out)
        self.place = nn.Conv2d(width_out, width_out, 3, padding=1, groups=width_out)

    def length(self, n: int) -> int:
        return (-(-side(n, "ldp-v2") // 2)) ** 2

    def forward(self, features: Features) -> list[Tensor]:
        grids = [{"grid": grid(x, 2, "ldp-v2").movedim(-1, 0)} for x in self.mlp(features)]  # [D, S, S]
        return run_by_shape(grids, lambda batch: self._cut(batch["grid"]))

    def _cut(self, x: Tensor) -> Tensor:  # [B, D, S, S] -> [B, N', D]
        x = avg_pool2d(x, 2)
        return (x + self.place(x)).flatten(2).transpose(1, 2)
