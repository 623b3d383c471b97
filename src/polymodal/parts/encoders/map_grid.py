"""A map of depth or temperature by its numbers: a small convolutional network sees what is in each cell, and a transformer
compares them, since near and warm are said of one thing among others. No package holds weights for such maps; this one can
be trained on one core.

Beside what the network makes of it, each cell brings its least, mean and largest number, and how these stand among the
other cells': from a few thousand maps a network learns their order by heart, and not how to compare (docs/log.md)."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from polymodal.parts.base import Encoder, Features, Inputs, Positive, run_by_shape
from polymodal.parts.encoders.augment import measured_anew
from polymodal.parts.encoders.shading import Shading
from polymodal.parts.encoders.transformer import transformer

PLAIN = 0.02  # of the range: shades that differ by more differ plainly


class MapGrid(Encoder):
    """1 + `cells` x `cells` features: of the whole, then row by row. `unit` and `range` say what the map's numbers are, as
    of `maps`: what lies beyond the range is as its ends. Maps are brought to `pixels` x `pixels`, so a cell is a share of
    the map whatever its shape. `augment`: in training maps are nearer or warmer as a whole, which keeps their order."""

    def __init__(
        self,
        modality: Literal["depth", "thermal"],
        unit: str,
        range: tuple[float, float],
        pixels: Positive = 96,
        cells: Positive = 3,
        width: Positive = 96,
        depth: Positive = 2,
        heads: Positive = 4,
        augment: bool = False,
    ) -> None:
        super().__init__()
        self.modality, self.shading = modality, Shading(modality, unit, range)
        self.pixels, self.cells, self.width, self.augment = pixels, cells, width, augment
        self.options = {"modality": modality, "unit": unit, "range": list(range), "pixels": pixels, "cells": cells}
        self.options |= {"width": width, "depth": depth, "heads": heads, "augment": augment}
        self.layers = nn.Sequential(_layer(1, width // 2, 4), _layer(width // 2, width, 2), _layer(width, width, 1))
        self.enter = nn.Linear(2 * width + 6, width)
        self.positions = nn.Parameter(0.02 * torch.randn(1 + cells**2, width))
        self.compare = transformer("map-grid", width, depth, heads)

    def prepare(self, media: Any) -> Inputs:
        """A map [height, width] in `unit` -> shades [1, `pixels`, `pixels`], from 0 to 1; what was not measured is 0."""
        shades = torch.from_numpy(self.shading.shades(media)).float()[None, None]
        return {"shades": F.interpolate(shades, (self.pixels, self.pixels), mode="bilinear", antialias=True)[0]}

    def length(self, inputs: Inputs) -> int:
        return 1 + self.cells**2

    def forward(self, items: list[Inputs]) -> Features:
        return Features(run_by_shape(items, lambda batch: self._run(batch["shades"])))

    def _run(self, shades: Tensor) -> Tensor:  # [B, 1, P, P] -> [B, 1 + cells^2, De]
        if self.augment and self.training:
            shades = measured_anew(shades)
        seen = self.layers(shades)
        levels = [torch.cat((_pooled(seen, n), _numbers(shades, n)), 1) for n in (1, self.cells)]
        return self.compare(self.enter(torch.cat(levels, dim=-1).transpose(1, 2)) + self.positions)


def _pooled(seen: Tensor, n: int) -> Tensor:  # [B, C, ...] -> [B, 2C, n^2]
    return torch.cat((F.adaptive_max_pool2d(seen, n), F.adaptive_avg_pool2d(seen, n)), 1).flatten(2)


def _numbers(shades: Tensor, n: int) -> Tensor:  # [B, 1, P, P] -> [B, 6, n^2]
    """The most, least and mean of each cell, and of each by how many cells it plainly exceeds others."""
    most, least = F.adaptive_max_pool2d(shades, n), -F.adaptive_max_pool2d(-shades, n)
    own = torch.cat((most, least, F.adaptive_avg_pool2d(shades, n)), 1).flatten(2)
    standing = torch.tanh((own[..., :, None] - own[..., None, :]) / PLAIN).mean(-1)
    return torch.cat((own, standing), 1)


def _layer(width: int, wide: int, stride: int) -> nn.Module:  # no norm, which would forget how far and how warm
    return nn.Sequential(nn.Conv2d(width, wide, stride + 1 | 1, stride, stride // 2 or 1), nn.GELU())
