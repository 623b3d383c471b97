"""InternVideo's encoder of its two halves' second (arXiv 2212.03191), a UniFormerV2 (2211.09552): CLIP's vision transformer
sees each frame by itself; behind some of its last blocks a learned query reads the states of all frames, to which a
convolution over time and place was added. Decides that names and shapes are those of the authors' state dict; dropout, a
matter of training, is left out."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn
from transformers.activations import QuickGELUActivation


class InternVideo(nn.Module):
    def __init__(
        self, width: int, depth: int, heads: int, readers: int, image: int, patch: int, space: int, frames: int
    ) -> None:
        super().__init__()
        self.visual = FrameTransformer(width, depth, heads, readers, image, patch)
        self.visual_ln_post = nn.LayerNorm(width)
        self.visual_proj = nn.Parameter(torch.randn(width, space) / width**0.5)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Clips [B, 3, T, image, image] -> states of the patches [B, T, cells, width] and embeddings [B, space]."""
        states, read = self.visual(pixels)
        return states[:, :, 1:], self.visual_ln_post(read) @ self.visual_proj


class FrameTransformer(nn.Module):
    def __init__(self, width: int, depth: int, heads: int, readers: int, image: int, patch: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(3, width, (1, patch, patch), (1, patch, patch), bias=False)
        self.class_embedding = nn.Parameter(torch.randn(width) / width**0.5)
        self.positional_embedding = nn.Parameter(torch.randn(1 + (image // patch) ** 2, width) / width**0.5)
        self.ln_pre = nn.LayerNorm(width)
        self.transformer = Transformer(width, depth, heads, readers)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        patches = self.conv1(pixels).flatten(3).permute(0, 2, 3, 1)  # [B, T, cells, width]
        x = torch.cat((self.class_embedding.expand(*patches.shape[:2], 1, -1), patches), dim=2)
        return self.transformer(self.ln_pre(x + self.positional_embedding))


class Transformer(nn.Module):
    """Behind each of the last `readers` blocks the query reads."""

    def __init__(self, width: int, depth: int, heads: int, readers: int) -> None:
        super().__init__()
        self.resblocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.temporal_cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.dpe = nn.ModuleList(nn.Conv3d(width, width, 3, padding=1, groups=width) for _ in range(readers))
        self.dec = nn.ModuleList(Reader(width, heads) for _ in range(readers))
        self.balance = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:  # [B, T, 1 + cells, width] -> the same, and [B, width]
        batch, frames, length, _ = x.shape
        side = round((length - 1) ** 0.5)
        query = self.temporal_cls_token.expand(batch, -1, -1)
        for number, block in enumerate(self.resblocks, len(self.dec) - len(self.resblocks)):
            x = block(x.flatten(0, 1)).unflatten(0, (batch, frames))
            if number >= 0:
                grid = x[:, :, 1:].unflatten(2, (side, side)).permute(0, 4, 1, 2, 3)
                moved = x[:, :, 1:] + self.dpe[number](grid).permute(0, 2, 3, 4, 1).flatten(2, 3)
                query = self.dec[number](query, torch.cat((x[:, :, :1], moved), dim=2).flatten(1, 2))
        weight = self.balance.sigmoid()
        return x, (1 - weight) * query[:, 0] + weight * x[:, :, 0].mean(1)


class Block(nn.Module):
    """CLIP's."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        inner = {"c_fc": nn.Linear(width, 4 * width), "gelu": QuickGELUActivation(), "c_proj": nn.Linear(4 * width, width)}
        self.mlp = nn.Sequential(OrderedDict(inner))

    def forward(self, x: Tensor) -> Tensor:
        normed = self.ln_1(x)
        return self._fed(x + self.attn(normed, normed, normed, need_weights=False)[0])

    def _fed(self, x: Tensor) -> Tensor:
        return x + self.mlp(self.ln_2(x))


class Reader(Block):
    """The same, which asks with `x` and reads `states`."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__(width, heads)
        self.ln_3 = nn.LayerNorm(width)

    def forward(self, x: Tensor, states: Tensor) -> Tensor:  # type: ignore[override]
        read = self.ln_3(states)
        return self._fed(x + self.attn(self.ln_1(x), read, read, need_weights=False)[0])
