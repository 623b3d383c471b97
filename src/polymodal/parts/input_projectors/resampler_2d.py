"""Position-aware resampler (Qwen-VL, arXiv 2308.12966): a square of learned queries reads a square of features once, and
both say where they stand, in two dimensions. Positions of a larger grid lie between those of the queries (bicubic), as in
the authors' code, which also has the two norms in front, one behind, and a last square matrix. Of a picture and its tiles
each can be read alone, by the same weights (Monkey, 2311.06607)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from polymodal.errors import RecipeError
from polymodal.parts.base import Features, InputProjector, Positive, run_by_shape
from polymodal.parts.input_projectors.grid import side


class Resampler2D(InputProjector):
    """A linear layer De -> D, then one layer of cross-attention from `queries` x `queries` learned queries. Heads of width
    128 or less. `views`: how many squares an item's features are, one behind the other."""

    places: Tensor

    def __init__(
        self, width_in: int, width_out: int, queries: Positive = 16, heads: Positive | None = None, views: Positive = 1
    ) -> None:
        super().__init__()
        self.views = views
        heads = heads or max(1, width_out // 128)
        if width_out % heads or width_out % 4:
            raise RecipeError(
                f"resampler-2d: 'heads' and 4 must divide the backbone's width, {width_out}; heads is {heads}"
            )
        self.enter = nn.Linear(width_in, width_out, bias=False)
        self.queries = nn.Parameter(torch.randn(queries**2, width_out) * 0.02)
        self.norm_queries, self.norm = nn.LayerNorm(width_out, 1e-6), nn.LayerNorm(width_out, 1e-6)
        self.attention = nn.MultiheadAttention(width_out, heads, batch_first=True)
        self.leave = nn.Sequential(nn.LayerNorm(width_out, 1e-6), nn.Linear(width_out, width_out, bias=False))
        self.register_buffer("places", waves(queries, width_out), persistent=False)

    def length(self, n: int) -> int:
        if n % self.views:
            raise RecipeError(f"resampler-2d: {n} features are not those of {self.views} views of a picture")
        side(n // self.views, "resampler-2d")
        return self.views * len(self.queries)

    def forward(self, features: Features) -> list[Tensor]:
        def run(batch: dict[str, Tensor]) -> Tensor:  # [B, V * N, De] -> [B, V * N', D]
            views = batch["features"].unflatten(1, (self.views, -1)).flatten(0, 1)
            return self._read(views).unflatten(0, (-1, self.views)).flatten(1, 2)

        return run_by_shape([{"features": x} for x in features.tokens], run)

    def _read(self, x: Tensor) -> Tensor:  # [B, N, De] -> [B, N', D]
        n = side(x.shape[1], "resampler-2d")
        places = nn.functional.interpolate(self.places[None], (n, n), mode="bicubic")[0].flatten(1).T.to(x.dtype)
        x = self.norm(self.enter(x))
        queries = self.norm_queries(self.queries) + self.places.flatten(1).T.to(x.dtype)
        return self.leave(self.attention(queries.expand(len(x), -1, -1), x + places, x, need_weights=False)[0])


def waves(n: int, width: int) -> Tensor:
    """Where each cell of an n x n grid stands [width, n, n]: a quarter each of sine and cosine of its column, then row."""
    angles = torch.arange(n).float()[:, None] * 10000.0 ** -(torch.arange(width // 4).float() / (width // 4))  # [n, w / 4]
    line = torch.cat([angles.sin(), angles.cos()], 1).T  # [w / 2, n]
    return torch.cat([line[:, None].expand(-1, n, -1), line[:, :, None].expand(-1, -1, n)])
