"""Visual abstractor (mPLUG-Owl, arXiv 2304.14178): learned queries read themselves and the features, layer by layer. The
authors' code has: norms in front of queries and features, of which those of the queries are what is added to; a gated
feed-forward part with a norm inside; and a last learned position that ends the picture. Their features are as wide as the
abstractor; those of another width pass a linear layer first."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from polymodal.errors import RecipeError
from polymodal.parts.base import Features, InputProjector, Positive
from polymodal.parts.input_projectors.padding import pad


class VisualAbstractor(InputProjector):
    """Any N features -> `queries` + 1 positions, through `depth` layers of width `hidden`."""

    def __init__(
        self,
        width_in: int,
        width_out: int,
        queries: Positive = 64,
        depth: Positive = 6,
        hidden: Positive = 1024,
        heads: Positive = 16,
        inner: Positive = 2816,
    ) -> None:
        super().__init__()
        if hidden % heads:
            raise RecipeError(f"visual-abstractor: 'heads' must divide 'hidden', and {heads} does not divide {hidden}")
        self.enter = nn.Identity() if width_in == hidden else nn.Linear(width_in, hidden)
        self.queries = nn.Parameter(torch.randn(queries, hidden) * 0.02)
        self.layers = nn.ModuleList(Layer(hidden, heads, inner) for _ in range(depth))
        self.leave = nn.Linear(hidden, width_out)
        self.end = nn.Parameter(torch.randn(1, width_out) * 0.02)

    def length(self, n: int) -> int:
        return len(self.queries) + 1

    def forward(self, features: Features) -> list[Tensor]:
        context, mask = pad(features)
        context = self.enter(context)
        seen = torch.cat([mask.new_ones(len(mask), len(self.queries)), mask], 1).bool()[:, None, None]
        x = self.queries.expand(len(context), -1, -1)
        for layer in self.layers:
            x = layer(x, context, seen)
        return [torch.cat([row, self.end]) for row in self.leave(x)]


class Layer(nn.Module):
    """Queries [B, Q, D], features [B, N, D] and which of both there are, `seen` [B, 1, 1, Q + N] -> queries [B, Q, D]."""

    def __init__(self, width: int, heads: int, inner: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_queries, self.norm_features, self.norm = nn.LayerNorm(width), nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.key_value, self.out = nn.Linear(width, width), nn.Linear(width, 2 * width), nn.Linear(width, width)
        self.gate, self.up, self.down = nn.Linear(width, inner), nn.Linear(width, inner), nn.Linear(inner, width)
        self.norm_inner = nn.LayerNorm(inner, 1e-6)

    def forward(self, queries: Tensor, features: Tensor, seen: Tensor) -> Tensor:
        x = self.norm_queries(queries)
        key_value = self.key_value(torch.cat([x, self.norm_features(features)], 1)).chunk(2, -1)
        query, key, value = (y.unflatten(-1, (self.heads, -1)).transpose(1, 2) for y in (self.query(x), *key_value))
        x = x + self.out(F.scaled_dot_product_attention(query, key, value, seen).transpose(1, 2).flatten(2))
        y = self.norm(x)
        return x + self.down(self.norm_inner(F.silu(self.gate(y)) * self.up(y)))
