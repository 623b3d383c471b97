"""BEATs' network (arXiv 2212.09058): patches of a filter bank through a post-norm transformer whose attention is biased by
gated relative positions (WavLM's, arXiv 2110.13900). Decides that its names and shapes are those of the authors' state
dict, so that their weights load by name; dropout and layer drop, matters of training, are left out.
"""

from __future__ import annotations

from math import log

import torch
from torch import Tensor, nn
from torch.nn import functional

PATCH = 16  # frames and bins
KERNEL, GROUPS = 128, 16  # of the convolution that says where a patch is
BUCKETS, DISTANCE = 320, 800  # of relative positions: half of them to either side


class Beats(nn.Module):
    def __init__(self, width: int, depth: int, heads: int, hidden: int, embedding: int) -> None:
        super().__init__()
        self.patch_embedding = nn.Conv2d(1, embedding, PATCH, PATCH, bias=False)
        self.layer_norm = nn.LayerNorm(embedding)
        self.post_extract_proj = nn.Linear(embedding, width) if embedding != width else nn.Identity()
        self.encoder = Layers(width, depth, heads, hidden)

    def forward(self, bank: Tensor) -> Tensor:
        """A standardised filter bank [B, frames, bins] -> states [B, N, width] of its patches, those of a time together."""
        patches = self.patch_embedding(bank.unsqueeze(1)).flatten(2).transpose(1, 2)
        return self.encoder(self.post_extract_proj(self.layer_norm(patches)))


class Layers(nn.Module):
    def __init__(self, width: int, depth: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.pos_conv = nn.Sequential(Places(width), nn.GELU())
        self.layer_norm = nn.LayerNorm(width)
        layers = [Layer(width, heads, hidden, (2 * depth) ** 0.25) for _ in range(depth)]
        for layer in layers:  # one table: the authors' file has it under each layer's name
            layer.self_attn.relative_attention_bias = layers[0].self_attn.relative_attention_bias
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer_norm(x + self.pos_conv(x.transpose(1, 2)).transpose(1, 2))
        bias = biases(self.layers.get_parameter("0.self_attn.relative_attention_bias.weight"), x.shape[1])
        for layer in self.layers:
            x = layer(x, bias)
        return x


class Places(nn.Module):
    """A grouped convolution over [B, width, N] with weight normalisation (arXiv 1602.07868) of each place of its kernel."""

    def __init__(self, width: int) -> None:
        super().__init__()
        start = torch.randn(width, width // GROUPS, KERNEL) * (4 / (KERNEL * width)) ** 0.5
        self.bias = nn.Parameter(torch.zeros(width))
        self.weight_g = nn.Parameter(start.norm(dim=(0, 1), keepdim=True))
        self.weight_v = nn.Parameter(start)

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight_v * (self.weight_g / self.weight_v.norm(dim=(0, 1), keepdim=True))
        out = functional.conv1d(x, weight, self.bias, padding=KERNEL // 2, groups=GROUPS)
        return out[..., : x.shape[-1]]  # an even kernel makes one too many


class Layer(nn.Module):
    """Post-norm, its residuals times `alpha` (DeepNorm, arXiv 2203.00555)."""

    def __init__(self, width: int, heads: int, hidden: int, alpha: float) -> None:
        super().__init__()
        self.alpha = alpha
        self.self_attn = Attention(width, heads)
        self.self_attn_layer_norm = nn.LayerNorm(width)
        self.fc1, self.fc2 = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.final_layer_norm = nn.LayerNorm(width)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        x = self.self_attn_layer_norm(self.alpha * x + self.self_attn(x, bias))
        return self.final_layer_norm(self.alpha * x + self.fc2(functional.gelu(self.fc1(x))))


class Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.k_proj, self.v_proj, self.q_proj, self.out_proj = (nn.Linear(width, width) for _ in range(4))
        self.grep_linear = nn.Linear(width // heads, 8)
        self.grep_a = nn.Parameter(torch.ones(1, heads, 1, 1))
        self.relative_attention_bias = nn.Embedding(BUCKETS, heads)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """`bias` [H, N, N] of the distances. Each query says how much of it counts, by two gates from 0 to 1."""
        q, k, v = (
            project(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        first, second = self.grep_linear(q).unflatten(-1, (2, 4)).sum(-1).sigmoid().chunk(2, dim=-1)  # [B, H, N, 1]
        gate = first * (second * self.grep_a - 1) + 2
        out = functional.scaled_dot_product_attention(q, k, v, attn_mask=gate * bias)
        return self.out_proj(out.transpose(1, 2).flatten(2))


def biases(table: Tensor, length: int) -> Tensor:
    """A table [BUCKETS, H] -> what it adds to the attention between any two of so many positions, [H, length, length]."""
    places = torch.arange(length, device=table.device)
    return functional.embedding(buckets(places - places[:, None]), table).permute(2, 0, 1)


def buckets(distances: Tensor) -> Tensor:
    """How far a key is behind its query -> its bucket: one for each of 80 distances, then ever longer ones in logarithms up
    to DISTANCE, and one for all beyond; keys in front use the first half of the buckets (T5's, arXiv 1910.10683)."""
    half = BUCKETS // 2
    exact = half // 2
    far = distances.abs()
    coarse = exact + ((far.clamp(min=1) / exact).log() / log(DISTANCE / exact) * (half - exact)).long()
    return half * (distances > 0) + torch.where(far < exact, far, coarse.clamp(max=half - 1))
