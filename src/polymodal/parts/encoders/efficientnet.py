"""EfficientNet-Lite (Tan & Le, arXiv 1905.11946; Lite variants without squeeze-and-excitation): a 4.7 M parameter
image encoder that runs in 40 ms on one core. Its last feature map is the features: a 7 x 7 grid of width 1280."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from polymodal.parts.base import Encoder, Features, Inputs, run_by_shape
from polymodal.parts.encoders.tiles import Tiles, cut, square
from polymodal.parts.sources import locate

SIZES = {"efficientnet-lite0": 224, "efficientnet-lite2": 260}


class EfficientNetLite(Encoder):
    """`tiles: n` cuts the picture into n x n squares of full resolution each (n*n times the features)."""

    modality = "image"
    width = 1280

    def __init__(
        self,
        path: str | None = None,
        variant: Literal["efficientnet-lite0", "efficientnet-lite2"] = "efficientnet-lite0",
        tiles: Tiles = 1,
    ) -> None:
        super().__init__()
        from efficientnet_lite_pytorch import EfficientNet

        self.options = {"variant": variant, "tiles": tiles}
        self.size, self.tiles = SIZES[variant], tiles
        self.network = EfficientNet.from_name(variant)
        if path is not None:
            from safetensors.torch import load_file

            self.network.load_state_dict(load_file(f"{locate(path)}/model.safetensors"))

    def prepare(self, media: Any) -> Inputs:
        """A `PIL.Image` -> pixel_values [tiles^2, 3, S, S], scaled (x - 127) / 128 as these weights were trained."""
        tiles = cut(square(media, self.size * self.tiles), self.tiles)
        pixels = np.stack([np.asarray(tile, dtype=np.float32) for tile in tiles])
        return {"pixel_values": torch.from_numpy((pixels - 127) / 128).permute(0, 3, 1, 2).contiguous()}

    def length(self, inputs: Inputs) -> int:
        return len(inputs["pixel_values"]) * (-(-self.size // 32)) ** 2

    def forward(self, items: list[Inputs]) -> Features:
        def run(batch: Inputs) -> Tensor:  # [B, tiles^2, 3, S, S] -> [B, N, 1280]
            pixels = batch["pixel_values"]
            grid = self.network.extract_features(pixels.flatten(0, 1))
            return grid.flatten(2).transpose(1, 2).reshape(len(pixels), -1, self.width)

        return Features(run_by_shape(items, run))
