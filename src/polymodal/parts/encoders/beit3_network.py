"""The vision branch of BEiT-3 (arXiv 2208.10442): a multiway transformer keeps each of its layers twice, `A` for pictures
and `B` for text, and a picture passes through `A` alone. Decides that its names and shapes are those of that half of the
authors' state dict, so that their weights load by name; drop path, a matter of training, is left out.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

FIRST = 2  # the place of the first token: the numbers before it are fairseq's, and stand for nothing here


class Beit3Vision(nn.Module):
    def __init__(self, width: int, depth: int, heads: int, image: int, patch: int) -> None:
        super().__init__()
        self.beit3 = nn.ModuleDict()
        self.beit3["vision_embed"] = Patches(width, patch)
        self.beit3["encoder"] = Layers(width, depth, heads, 1 + (image // patch) ** 2)

    def forward(self, pixels: Tensor) -> Tensor:
        """Pictures [B, 3, image, image] -> normalised states [B, 1 + N, width], the class token's before the patches'."""
        return self.beit3["encoder"](self.beit3["vision_embed"](pixels))


class Patches(nn.Module):
    """`mask_token` stands for hidden patches in pre-training; it is here because it is in the authors' file."""

    def __init__(self, width: int, patch: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, patch, patch)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.mask_token = nn.Parameter(torch.zeros(1, 1, width), requires_grad=False)

    def forward(self, pixels: Tensor) -> Tensor:
        patches = self.proj(pixels).flatten(2).transpose(1, 2)
        return torch.cat((self.cls_token.expand(len(patches), -1, -1), patches), dim=1)


class Layers(nn.Module):
    def __init__(self, width: int, depth: int, heads: int, places: int) -> None:
        super().__init__()
        self.embed_positions = _way(nn.Embedding(FIRST + places, width))
        self.layers = nn.ModuleList(Layer(width, heads) for _ in range(depth))
        self.layer_norm = _way(nn.LayerNorm(width))
        nn.init.normal_(self.embed_positions.get_parameter("A.weight"), std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.embed_positions.get_parameter("A.weight")[FIRST:]
        for layer in self.layers:
            x = layer(x)
        return self.layer_norm["A"](x)


class Layer(nn.Module):
    """Pre-norm, with a second norm inside attention and feed-forward (Magneto's sub-layer norm, arXiv 2210.06423)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.self_attn = Attention(width, heads)
        self.self_attn_layer_norm = _way(nn.LayerNorm(width))
        self.ffn = _way(FeedForward(width))
        self.final_layer_norm = _way(nn.LayerNorm(width))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.self_attn(self.self_attn_layer_norm["A"](x))
        return x + self.ffn["A"](self.final_layer_norm["A"](x))


class Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.k_proj, self.v_proj, self.q_proj, self.out_proj = (_way(nn.Linear(width, width)) for _ in range(4))
        self.inner_attn_ln = _way(nn.LayerNorm(width))

    def forward(self, x: Tensor) -> Tensor:
        ways = self.q_proj, self.k_proj, self.v_proj
        q, k, v = (way["A"](x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for way in ways)
        out = functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        return self.out_proj["A"](self.inner_attn_ln["A"](out))


class FeedForward(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.ffn_layernorm = nn.LayerNorm(4 * width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.ffn_layernorm(functional.gelu(self.fc1(x))))


def _way(module: nn.Module) -> nn.ModuleDict:
    return nn.ModuleDict({"A": module})
