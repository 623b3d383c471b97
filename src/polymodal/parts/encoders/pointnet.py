"""PointNet (arXiv 1612.00593): each point by itself, and what is extreme among them, twice. At about a tenth of the cost of
patches and a transformer it can be trained on one core; norms are over layers and not batches."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from polymodal.errors import MediaError
from polymodal.parts.base import Encoder, Features, Inputs, run_by_shape
from polymodal.parts.encoders.augment import seen_anew
from polymodal.parts.encoders.grouping import drawn


class PointNet(Encoder):
    """One feature per cloud: of 3 x `width` values each, the largest among its points and their mean. Of a larger cloud,
    `points` are drawn, always the same ones. `color`: read r g b as well. `augment`: in training, each cloud is seen turned
    about the vertical, mirrored, stretched, tinted or grey, and thinned (`encoders.augment`)."""

    modality = "points"

    def __init__(self, points: int = 512, color: bool = False, width: int = 96, augment: bool = False) -> None:
        super().__init__()
        self.options = {"points": points, "color": color, "width": width, "augment": augment}
        self.points, self.read, self.augment, self.width = points, 6 if color else 3, augment, 6 * width
        self.each = nn.Sequential(_layer(self.read, width // 2), _layer(width // 2, width))
        self.among = nn.Sequential(_layer(2 * width, 2 * width), nn.Linear(2 * width, 3 * width))
        self.norm = nn.LayerNorm(6 * width)

    def prepare(self, media: Any) -> Inputs:
        """A cloud [N, 6] in the unit sphere -> points [at most `points`, 3 or 6]."""
        if not len(media):
            raise MediaError("a cloud without points")
        return {"points": torch.from_numpy(drawn(media, self.points)[:, : self.read].copy())}

    def length(self, inputs: Inputs) -> int:
        return 1

    def forward(self, items: list[Inputs]) -> Features:
        return Features(run_by_shape(items, lambda batch: self._run(batch["points"])))

    def _run(self, clouds: Tensor) -> Tensor:  # [B, P, 3 or 6] -> [B, 1, De]
        if self.augment and self.training:
            clouds = seen_anew(clouds)
        each = self.each(clouds)
        among = self.among(torch.cat((each, each.amax(1, keepdim=True).expand_as(each)), dim=-1))
        return self.norm(torch.cat((among.amax(1), among.mean(1)), dim=-1))[:, None]


def _layer(width: int, wide: int) -> nn.Module:
    return nn.Sequential(nn.Linear(width, wide), nn.LayerNorm(wide), nn.GELU())
