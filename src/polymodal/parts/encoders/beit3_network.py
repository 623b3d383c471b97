"""BEiT-3 (arXiv 2208.10442): a multiway transformer keeps each of its layers twice, `A` for pictures and `B` for text, and
a picture passes through `A` alone. With learned queries behind it (Muffin, 2310.00653), these pass through `B` in place of
text, and attention is over both. Decides that its names and shapes are those of one half or of both of the authors' state
dict, so that their weights load by name; words have no table here, and drop path, a matter of training, is left out.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

FIRST = 2  # the place of the first token: the numbers before it are fairseq's, and stand for nothing here
WORDS = 1024  # rows of the table of places in a text


class Beit3Network(nn.Module):
    """`both`: with the branch of text, which queries pass through."""

    def __init__(self, width: int, depth: int, heads: int, image: int, patch: int, both: bool = False) -> None:
        super().__init__()
        self.beit3 = nn.ModuleDict()
        self.beit3["vision_embed"] = Patches(width, patch)
        self.beit3["encoder"] = Layers(width, depth, heads, 1 + (image // patch) ** 2, both)

    def forward(self, pixels: Tensor, queries: Tensor | None = None) -> Tensor:
        """Pictures [B, 3, image, image] and queries [Q, width] -> normalised states [B, 1 + N + Q, width]: the class
        token's, the patches', the queries'."""
        x = self.beit3["vision_embed"](pixels)
        if queries is not None:
            x = torch.cat([x, queries.expand(len(x), -1, -1)], 1)
        return self.beit3["encoder"](x)


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


class Ways(nn.ModuleDict):
    """A module twice: `A` for the first `split` columns, `B` for those behind them. Without `split`, `A` for all."""

    def __init__(self, make: Callable[[], nn.Module], split: int | None) -> None:
        super().__init__({name: make() for name in ("A" if split is None else "AB")})
        self.split = split

    def forward(self, x: Tensor) -> Tensor:
        if self.split is None:
            return self["A"](x)
        return torch.cat([self["A"](x[:, : self.split]), self["B"](x[:, self.split :])], 1)


class Layers(nn.Module):
    def __init__(self, width: int, depth: int, heads: int, places: int, both: bool) -> None:
        super().__init__()
        split = places if both else None
        rows = {"A": FIRST + places} | ({"B": WORDS} if both else {})
        self.embed_positions = nn.ModuleDict({name: nn.Embedding(count, width) for name, count in rows.items()})
        self.layers = nn.ModuleList(Layer(width, heads, split) for _ in range(depth))
        self.layer_norm = Ways(lambda: nn.LayerNorm(width), split)
        self.places = places
        for table in self.embed_positions.parameters():
            nn.init.normal_(table, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        picture, *text = self.embed_positions.parameters()
        behind = [table[FIRST : FIRST + x.shape[1] - self.places] for table in text]
        x = x + torch.cat([picture[FIRST:], *behind])
        for layer in self.layers:
            x = layer(x)
        return self.layer_norm(x)


class Layer(nn.Module):
    """Pre-norm, with a second norm inside attention and feed-forward (Magneto's sub-layer norm, arXiv 2210.06423)."""

    def __init__(self, width: int, heads: int, split: int | None = None) -> None:
        super().__init__()
        self.self_attn = Attention(width, heads, split)
        self.self_attn_layer_norm = Ways(lambda: nn.LayerNorm(width), split)
        self.ffn = Ways(lambda: FeedForward(width), split)
        self.final_layer_norm = Ways(lambda: nn.LayerNorm(width), split)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.self_attn(self.self_attn_layer_norm(x))
        return x + self.ffn(self.final_layer_norm(x))


class Attention(nn.Module):
    def __init__(self, width: int, heads: int, split: int | None = None) -> None:
        super().__init__()
        self.heads = heads
        self.k_proj, self.v_proj, self.q_proj, self.out_proj = (
            Ways(lambda: nn.Linear(width, width), split) for _ in range(4)
        )
        self.inner_attn_ln = Ways(lambda: nn.LayerNorm(width), split)

    def forward(self, x: Tensor) -> Tensor:
        ways = self.q_proj, self.k_proj, self.v_proj
        q, k, v = (way(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for way in ways)
        out = functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        return self.out_proj(self.inner_attn_ln(out))


class FeedForward(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.ffn_layernorm = nn.LayerNorm(4 * width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.ffn_layernorm(functional.gelu(self.fc1(x))))
