"""EfficientNet-Lite (Tan & Le, arXiv 1905.11946; the variants without squeeze-and-excitation): a 4.7 M parameter image
encoder that runs in 40 ms on one core."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d as pool

from polymodal.parts.base import Encoder, Features, Inputs, run_by_shape
from polymodal.parts.encoders.tiles import Tiles, views
from polymodal.parts.sources import locate, read_tensors

SIZES = {"efficientnet-lite0": 224, "efficientnet-lite2": 260}
CELLS = 3  # of a pyramid's second level, along each side


class EfficientNetLite(Encoder):
    """`features: grid` emits the last feature map (7 x 7 of width 1280), `pooled` its mean: what its own classifier reads,
    `pyramid` the mean and behind it the means of 3 x 3 overlapping cells, row by row (spatial pyramid pooling, He et al.,
    arXiv 1406.4729). `tiles: n` > 1 adds n x n tiles at full resolution to the whole picture: 1 + n*n views, each with its
    features."""

    modality = "image"
    width = 1280

    def __init__(
        self,
        path: str | None = None,
        variant: Literal["efficientnet-lite0", "efficientnet-lite2"] = "efficientnet-lite0",
        features: Literal["grid", "pooled", "pyramid"] = "grid",
        tiles: Tiles = 1,
    ) -> None:
        super().__init__()
        from efficientnet_lite_pytorch import EfficientNet

        self.options = {"variant": variant, "features": features, "tiles": tiles}
        self.size, self.tiles, self.features = SIZES[variant], tiles, features
        self.network = EfficientNet.from_name(variant)
        if path is not None:
            read_tensors(Path(locate(path)) / "model.safetensors", self.network)

    def prepare(self, media: Any) -> Inputs:
        """A `PIL.Image` -> pixel_values [views, 3, S, S], scaled (x - 127) / 128 as these weights were trained."""
        pixels = np.stack([np.asarray(view, dtype=np.float32) for view in views(media, self.size, self.tiles)])
        return {"pixel_values": torch.from_numpy((pixels - 127) / 128).permute(0, 3, 1, 2).contiguous()}

    def length(self, inputs: Inputs) -> int:
        cells = {"grid": (-(-self.size // 32)) ** 2, "pooled": 1, "pyramid": 1 + CELLS**2}
        return len(inputs["pixel_values"]) * cells[self.features]

    def forward(self, items: list[Inputs]) -> Features:
        def run(batch: Inputs) -> Tensor:  # [B, views, 3, S, S] -> [B, N, 1280]
            pixels = batch["pixel_values"]
            maps = self.network.extract_features(pixels.flatten(0, 1))  # [B * views, 1280, 7, 7]
            levels = {"grid": [maps], "pooled": [pool(maps, 1)], "pyramid": [pool(maps, 1), pool(maps, CELLS)]}
            rows = torch.cat([level.flatten(2) for level in levels[self.features]], dim=2).transpose(1, 2)
            return rows.reshape(len(pixels), -1, self.width)

        return Features(run_by_shape(items, run))
