"""BEiT-3's vision branch (arXiv 2208.10442). *Unverified on real weights*: names and shapes are those of the authors' code,
and their checkpoints (MIT) were never loaded here."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from polymodal.parts import released
from polymodal.parts.base import Encoder, Features, Inputs, run_by_shape
from polymodal.parts.encoders.beit3_network import Beit3Vision

BASE = {"width": 768, "depth": 12, "heads": 12, "image": 224, "patch": 16}


class Beit3(Encoder):
    """`path`: one of the authors' files, such as `beit3_base_itc_patch16_224.pth`, of which the branch of pictures is read;
    `config`: `width`, `depth`, `heads`, `image`, `patch` of another size (large: 1024, 24, 16). Features: the patches."""

    modality = "image"

    def __init__(self, path: str | None = None, config: dict[str, int] | None = None) -> None:
        super().__init__()
        size = released.sizes("beit3", BASE, path, config)
        self.network = Beit3Vision(**size)
        if path is not None:
            held = released.read(path, "model")
            # What stands outside are heads; the B of a pair is that of text.
            ours = {n: tensor for n, tensor in held.items() if n.startswith("beit3.") and "B" not in n.split(".")}
            released.load(self.network, ours, path, beside=["beit3.text_embed."])
        self.image, self.patch, self.width = size["image"], size["patch"], size["width"]
        self.options: dict[str, Any] = {"config": size}

    def prepare(self, media: Any) -> Inputs:
        """A `PIL.Image` -> pixel_values [3, image, image], squashed (bicubic) and scaled to -1..1, as the authors do."""
        from PIL import Image

        pixels = np.array(media.resize((self.image, self.image), Image.Resampling.BICUBIC), np.float32)
        return {"pixel_values": torch.from_numpy(pixels / 127.5 - 1).permute(2, 0, 1).contiguous()}

    def length(self, inputs: Inputs) -> int:
        return (self.image // self.patch) ** 2

    def forward(self, items: list[Inputs]) -> Features:
        def run(batch: Inputs) -> Tensor:  # [B, N, De]
            return self.network(batch["pixel_values"])[:, 1:]

        return Features(run_by_shape(items, run))
