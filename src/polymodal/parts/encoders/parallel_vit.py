"""ViT-22B (arXiv 2302.05442), of which no weights were published: attention and feed-forward part read one norm and are
added at once, queries and keys have norms of their own, norms have no mean and no bias, and neither have queries, keys and
values. PaLI-X (2305.18565) reads its patches before they are pooled."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from polymodal.parts import released
from polymodal.parts.base import Encoder, Features, Inputs, run_by_shape

VIT_22B = {"width": 6144, "depth": 48, "heads": 48, "hidden": 24576, "image": 224, "patch": 14}


class ParallelViT(Encoder):
    """`config`: sizes other than the paper's: `width`, `depth`, `heads`, `hidden`, `image`, `patch`. Features: the patches,
    behind a last norm. All weights are random."""

    modality = "image"

    def __init__(self, config: dict[str, int]) -> None:
        super().__init__()
        size = released.sizes("parallel-vit", VIT_22B, None, config)
        self.image, self.width, self.cells = size["image"], size["width"], (size["image"] // size["patch"]) ** 2
        self.patches = nn.Conv2d(3, self.width, size["patch"], size["patch"])
        self.places = nn.Parameter(torch.randn(self.cells, self.width) * 0.02)
        block = (self.width, size["heads"], size["hidden"])
        self.layers = nn.Sequential(*(ParallelLayer(*block) for _ in range(size["depth"])), nn.RMSNorm(self.width, 1e-6))
        self.options: dict[str, Any] = {"config": size}

    def prepare(self, media: Any) -> Inputs:
        """A `PIL.Image` -> pixel_values [3, image, image], squashed (bicubic) and scaled to -1..1."""
        from PIL import Image

        pixels = np.array(media.resize((self.image, self.image), Image.Resampling.BICUBIC), np.float32)
        return {"pixel_values": torch.from_numpy(pixels / 127.5 - 1).permute(2, 0, 1).contiguous()}

    def length(self, inputs: Inputs) -> int:
        return self.cells

    def forward(self, items: list[Inputs]) -> Features:
        def run(batch: Inputs) -> Tensor:  # [B, N, De]
            return self.layers(self.patches(batch["pixel_values"]).flatten(2).transpose(1, 2) + self.places)

        return Features(run_by_shape(items, run))


class ParallelLayer(nn.Module):
    """x + attention(norm(x)) + feed_forward(norm(x)), of one norm."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.RMSNorm(width, 1e-6)
        self.query_key_value = nn.Linear(width, 3 * width, bias=False)
        self.norm_query, self.norm_key = nn.RMSNorm(width // heads, 1e-6), nn.RMSNorm(width // heads, 1e-6)
        self.leave = nn.Linear(width, width)
        self.feed_forward = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))

    def forward(self, x: Tensor) -> Tensor:
        """[B, N, D] -> [B, N, D]"""
        states = self.norm(x)
        parts = self.query_key_value(states).chunk(3, -1)
        query, key, value = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts)
        seen = F.scaled_dot_product_attention(self.norm_query(query), self.norm_key(key), value)
        return x + self.leave(seen.transpose(1, 2).flatten(2)) + self.feed_forward(states)
