"""Point-BERT's network (arXiv 2111.14819) as its authors and ULIP-2's (2305.08275) have it. Decides that its names and
shapes are those of their state dicts, so that their weights load by name. Drop path, a matter of training, is left out.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional

from polymodal.parts.encoders.batch_norm import FixedBatchNorm

HIDDEN = 256  # width of a group's own network, and of what places are embedded by half of it


class PointTransformer(nn.Module):
    """`channels`: 3, or 6 with colour."""

    def __init__(self, width: int, depth: int, heads: int, channels: int) -> None:
        super().__init__()
        self.encoder = Groups(channels)
        self.reduce_dim = nn.Linear(HIDDEN, width)
        self.cls_token = nn.Parameter(0.02 * torch.randn(1, 1, width))
        self.cls_pos = nn.Parameter(0.02 * torch.randn(1, 1, width))
        self.pos_embed = nn.Sequential(nn.Linear(3, HIDDEN // 2), nn.GELU(), nn.Linear(HIDDEN // 2, width))
        self.blocks = Blocks(width, depth, heads)
        self.norm = nn.LayerNorm(width)

    def forward(self, centres: Tensor, patches: Tensor) -> Tensor:
        """Centres [B, G, 3] and the points around them [B, G, size, channels] -> states [B, 1 + G, width], the class
        token's before the groups'."""
        groups = self.reduce_dim(self.encoder(patches))
        x = torch.cat((self.cls_token.expand(len(groups), -1, -1), groups), dim=1)
        places = torch.cat((self.cls_pos.expand(len(groups), -1, -1), self.pos_embed(centres)), dim=1)
        return self.norm(self.blocks(x, places))


class Ulip(nn.Module):
    """The same, with a projection into the space of OpenCLIP's ViT-bigG/14."""

    def __init__(self, width: int, depth: int, heads: int, channels: int, space: int) -> None:
        super().__init__()
        self.point_encoder = PointTransformer(width, depth, heads, channels)
        self.pc_projection = nn.Parameter(space**-0.5 * torch.randn(2 * width, space))

    def forward(self, centres: Tensor, patches: Tensor) -> tuple[Tensor, Tensor]:
        """-> embeddings [B, space], of the class token beside the largest of the groups, and states [B, 1 + G, width]."""
        states = self.point_encoder(centres, patches)
        return torch.cat((states[:, 0], states[:, 1:].amax(1)), dim=-1) @ self.pc_projection, states


class Groups(nn.Module):
    """A small PointNet (arXiv 1612.00593) over the points of each group."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first_conv = _pointwise(channels, 128, HIDDEN)
        self.second_conv = _pointwise(2 * HIDDEN, 2 * HIDDEN, HIDDEN)

    def forward(self, patches: Tensor) -> Tensor:  # [B, G, size, channels] -> [B, G, HIDDEN]
        points = self.first_conv(patches.flatten(0, 1).transpose(1, 2))
        whole = points.amax(2, keepdim=True).expand_as(points)
        return self.second_conv(torch.cat((whole, points), dim=1)).amax(2).unflatten(0, patches.shape[:2])


class Blocks(nn.Module):
    """Pre-norm blocks, each of which is told the places again."""

    def __init__(self, width: int, depth: int, heads: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))

    def forward(self, x: Tensor, places: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x + places)
        return x


class Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        inner = OrderedDict(fc1=nn.Linear(width, 4 * width), act=nn.GELU(), fc2=nn.Linear(4 * width, width))
        self.mlp = nn.Sequential(inner)
        self.attn = Attention(width, heads)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.proj(functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


def _pointwise(read: int, hidden: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv1d(read, hidden, 1), FixedBatchNorm(hidden), nn.ReLU(), nn.Conv1d(hidden, width, 1))
