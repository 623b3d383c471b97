"""BEiT-3 (arXiv 2208.10442): its branch of pictures or, with learned queries, both (Muffin, 2310.00653). *Unverified on
real weights*: names and shapes are those of the authors' code, and their checkpoints (MIT) were never loaded here."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from polymodal.parts import released
from polymodal.parts.base import Encoder, Features, Inputs, run_by_shape
from polymodal.parts.encoders.beit3_network import FIRST, WORDS, Beit3Network

BASE = {"width": 768, "depth": 12, "heads": 12, "image": 224, "patch": 16}


class Beit3(Encoder):
    """`path`: one of the authors' files, such as `beit3_base_itc_patch16_224.pth`; `config`: `width`, `depth`, `heads`,
    `image`, `patch` of another size (large: 1024, 24, 16). Features: the patches or, with `queries`, those behind them."""

    modality = "image"

    def __init__(
        self,
        path: str | None = None,
        config: dict[str, int] | None = None,
        queries: Annotated[int, Field(ge=1, le=WORDS - FIRST)] | None = None,
    ) -> None:
        super().__init__()
        size = released.sizes("beit3", BASE, path, config)
        self.network = Beit3Network(**size, both=queries is not None)
        self.queries = None if queries is None else nn.Parameter(torch.randn(queries, size["width"]) * 0.02)
        if path is not None:
            held = released.read(path, "model")
            # What stands outside are heads; the B of a pair is that of text.
            read = ("A", "B") if queries else ("A",)
            ours = {n: t for n, t in held.items() if n.startswith("beit3.") and {"A", "B"} & {*n.split(".")} <= {*read}}
            released.load(self.network, ours, path, beside=["beit3.text_embed."])
        self.image, self.patch, self.width = size["image"], size["patch"], size["width"]
        self.options: dict[str, Any] = {"config": size, "queries": queries}

    def prepare(self, media: Any) -> Inputs:
        """A `PIL.Image` -> pixel_values [3, image, image], squashed (bicubic) and scaled to -1..1, as the authors do."""
        from PIL import Image

        pixels = np.array(media.resize((self.image, self.image), Image.Resampling.BICUBIC), np.float32)
        return {"pixel_values": torch.from_numpy(pixels / 127.5 - 1).permute(2, 0, 1).contiguous()}

    def length(self, inputs: Inputs) -> int:
        return (self.image // self.patch) ** 2 if self.queries is None else len(self.queries)

    def forward(self, items: list[Inputs]) -> Features:
        def run(batch: Inputs) -> Tensor:  # [B, N, De]
            return self.network(batch["pixel_values"], self.queries)[:, 1 if self.queries is None else -len(self.queries) :]

        return Features(run_by_shape(items, run))
