"""Points as patches, by Point-BERT's tokenisation (arXiv 2111.14819): centres by farthest point sampling, their nearest
neighbours, a small PointNet (arXiv 1612.00593) over each group, a transformer over the groups. No package holds pretrained
weights, so these are trained; norms are over layers and not batches, so that a cloud's features are its own."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from polymodal.errors import MediaError
from polymodal.parts.base import Encoder, Features, Inputs, run_by_shape
from polymodal.parts.encoders.grouping import grouped
from polymodal.parts.encoders.transformer import transformer


class PointPatches(Encoder):
    """`groups` features per cloud, of `size` neighbours each. `points`: of a larger cloud, this many are drawn, always the
    same ones. `color`: read r g b as well. The order of the points in the file changes no bit."""

    modality = "points"

    def __init__(
        self,
        groups: int = 64,
        size: int = 32,
        points: int = 1024,
        color: bool = False,
        width: int = 192,
        depth: int = 4,
        heads: int = 6,
    ) -> None:
        super().__init__()
        self.options = {"groups": groups, "size": size, "points": points, "color": color}
        self.options |= {"width": width, "depth": depth, "heads": heads}
        self.groups, self.size, self.points, self.color, self.width = groups, size, points, color, width
        read, both = 6 if color else 3, 2 * width
        self.each = nn.Sequential(nn.Linear(read, width), nn.LayerNorm(width), nn.GELU(), nn.Linear(width, width))
        self.group = nn.Sequential(nn.Linear(both, both), nn.LayerNorm(both), nn.GELU(), nn.Linear(both, width))
        self.place = nn.Sequential(nn.Linear(3, width), nn.GELU(), nn.Linear(width, width))
        self.blocks = transformer("point-patches", width, depth, heads)

    def prepare(self, media: Any) -> Inputs:
        """A cloud [N, 6] in the unit sphere -> centres [groups, 3] and patches [groups, size, 3 or 6] around them."""
        if len(media) < (least := max(self.groups, self.size)):
            raise MediaError(f"a cloud of {len(media)} points is too small for this encoder, which needs {least} of them")
        centres, patches = grouped(media, self.points, self.groups, self.size)
        # By the radius that holds `size` of `points` even ones on the sphere (PointNeXt, arXiv 2206.04670, does so with
        # its own radius): otherwise the biases behind them are louder than places within a group.
        patches[..., :3] /= 2 * (self.size / self.points) ** 0.5
        return {"centres": torch.from_numpy(centres), "patches": torch.from_numpy(patches[..., : 6 if self.color else 3])}

    def length(self, inputs: Inputs) -> int:
        return len(inputs["centres"])

    def forward(self, items: list[Inputs]) -> Features:
        def run(batch: Inputs) -> Tensor:  # [B, groups, De]
            points = self.each(batch["patches"])  # [B, groups, size, De]
            whole = points.amax(2, keepdim=True).expand_as(points)
            groups = self.group(torch.cat((whole, points), dim=-1)).amax(2)
            return self.blocks(groups + self.place(batch["centres"]))

        return Features(run_by_shape(items, run))
