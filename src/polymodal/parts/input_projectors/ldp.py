"""Lightweight downsample projector (MobileVLM, arXiv 2312.16886): an MLP, then convolutions that leave a quarter of the
positions. Squeeze-and-excitation and Hardswish are those of the authors' code; the paper's figure does not draw them."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import hardsigmoid, hardswish, relu

from polymodal.parts.base import Features, InputProjector, run_by_shape
from polymodal.parts.input_projectors.grid import grid, side
from polymodal.parts.input_projectors.mlp import MLP


class LDP(InputProjector):
    """Two linear layers De -> D and two blocks of convolutions over the square grid, the second of stride 2: 24 x 24
    features become 12 x 12 positions, 7 x 7 become 4 x 4."""

    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__()
        self.mlp = MLP(width_in, width_out)
        self.blocks = nn.Sequential(Block(width_out, stride=1), Block(width_out, stride=2))

    def length(self, n: int) -> int:
        return (-(-side(n, "ldp") // 2)) ** 2

    def forward(self, features: Features) -> list[Tensor]:
        grids = [{"grid": grid(x, 1, "ldp").movedim(-1, 0)} for x in self.mlp(features)]  # [D, S, S]
        return run_by_shape(grids, lambda batch: self.blocks(batch["grid"]).flatten(2).transpose(1, 2))


class Block(nn.Module):
    """MobileNetV3's inverted residual without expansion, with layer norm over channels: [B, D, S, S] -> [B, D, S', S']."""

    def __init__(self, width: int, stride: int) -> None:
        super().__init__()
        squeezed = max(8, width // 4)
        self.residual = stride == 1
        self.depthwise = nn.Conv2d(width, width, 3, stride, padding=1, groups=width, bias=False)
        self.norm, self.norm_out = ChannelNorm(width), ChannelNorm(width)
        self.squeeze, self.excite = nn.Conv2d(width, squeezed, 1), nn.Conv2d(squeezed, width, 1)
        self.pointwise = nn.Conv2d(width, width, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = hardswish(self.norm(self.depthwise(x)))
        y = y * hardsigmoid(self.excite(relu(self.squeeze(y.mean((2, 3), keepdim=True)))))
        y = self.norm_out(self.pointwise(y))
        return x + y if self.residual else y


class ChannelNorm(nn.LayerNorm):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)
