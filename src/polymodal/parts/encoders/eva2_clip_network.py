"""EVA-02-CLIP-E's vision transformer (arXiv 2303.15389, 2303.11331): of EVA-02's family the largest, with learned places,
and norms behind attention and feed-forward, before each is added. Decides that its names and shapes are those of the
authors' state dict, so that their weights load by name; drop path, a matter of training, is left out.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional


class EvaVision(nn.Module):
    def __init__(self, width: int, depth: int, heads: int, hidden: int, image: int, patch: int, space: int) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(0.02 * torch.randn(1, 1, width))
        self.pos_embed = nn.Parameter(0.02 * torch.randn(1, 1 + (image // patch) ** 2, width))
        self.patch_embed = nn.Sequential(OrderedDict(proj=nn.Conv2d(3, width, patch, patch)))
        self.blocks = nn.ModuleList(Block(width, heads, hidden) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.head = nn.Linear(width, space)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Pictures [B, 3, image, image] -> what the last block is given, [B, 1 + N, width], the class token's before the
        patches', and embeddings [B, space]."""
        patches = self.patch_embed(pixels).flatten(2).transpose(1, 2)
        x = torch.cat((self.cls_token.expand(len(patches), -1, -1), patches), dim=1) + self.pos_embed
        given = x
        for block in self.blocks:
            given, x = x, block(x)
        return given, self.head(self.norm(x)[:, 0])


class Block(nn.Module):
    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.attn = Attention(width, heads)
        inner = OrderedDict(fc1=nn.Linear(width, hidden), act=nn.GELU(), fc2=nn.Linear(hidden, width))
        self.mlp = nn.Sequential(inner)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.norm1(self.attn(x))
        return x + self.norm2(self.mlp(x))


class Attention(nn.Module):
    """Keys have no bias: it would shift all of a query's scores alike."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_bias, self.v_bias = nn.Parameter(torch.zeros(width)), nn.Parameter(torch.zeros(width))
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        bias = torch.cat((self.q_bias, torch.zeros_like(self.q_bias), self.v_bias))
        q, k, v = (self.qkv(x) + bias).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.proj(functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
