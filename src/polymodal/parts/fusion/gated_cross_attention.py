"""Gated cross-attention (Flamingo, arXiv 2204.14198): before every n-th layer of the backbone, new layers in which text
attends to the picture before it. Both of their residual branches are scaled by the tanh of a gate that begins at 0, so that
the backbone begins as it was. Sizes, norms and places are OpenFlamingo's (2308.01390)."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from polymodal.errors import RecipeError
from polymodal.parts.backbones import Backbone
from polymodal.parts.base import Positive
from polymodal.parts.fusion.attention import Attention, Media


class GatedCrossAttention(Attention):
    """An item takes one position; its features are attended to before every `every`-th layer of the backbone, by `heads`
    heads of `head_width`. `expansion`: of the feed-forward part, which text without media passes, too."""

    def __init__(
        self,
        backbone: Backbone,
        every: Positive = 4,
        heads: Positive = 8,
        head_width: Positive = 64,
        expansion: Positive = 4,
    ) -> None:
        places = range(every - 1, len(backbone.layers), every)
        if not places:
            raise RecipeError(f"fusion: 'every' is {every}, but the backbone has {len(backbone.layers)} layers")
        widths = backbone.lm.config.hidden_size, backbone.width
        super().__init__(backbone)
        self.layers = nn.ModuleDict({str(i): GatedLayer(*widths, heads, head_width, expansion) for i in places})
        for i in places:
            backbone.layers[i].register_forward_pre_hook(functools.partial(self._before, str(i)), with_kwargs=True)

    def _before(self, key: str, layer: nn.Module, args: Any, kwargs: Any) -> tuple[Any, Any]:
        """Before a layer of the backbone: its hidden states, changed in the precision of what changes them."""
        hidden, *rest = args
        changed = self.layers[key](hidden.to(self.marker.dtype), *self.running)
        return (changed.to(hidden.dtype), *rest), kwargs


class GatedLayer(nn.Module):
    """x + tanh(a) attention(x, media), then that + tanh(b) feed_forward(that). `width`: of the backbone's states, which is
    not always that of its embeddings and so of features, `width_media` (OPT-350m)."""

    def __init__(self, width: int, width_media: int, heads: int, head_width: int, expansion: int) -> None:
        super().__init__()
        inner = heads * head_width
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.query = nn.Linear(width, inner, bias=False)
        self.key_value = nn.Linear(width_media, 2 * inner, bias=False)
        self.leave = nn.Linear(inner, width, bias=False)
        self.attention_gate = nn.Parameter(torch.zeros(1))
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, expansion * width, bias=False),
            nn.GELU(),
            nn.Linear(expansion * width, width, bias=False),
        )
        self.feed_forward_gate = nn.Parameter(torch.zeros(1))

    def forward(self, hidden: Tensor, media: Media | None, first: int) -> Tensor:
        """Hidden states [B, T, D] of the columns from `first` on. Rows may be those of `media`, repeated: beams, or several
        answers to one prompt."""
        if media is not None:
            hidden = hidden + self.attention_gate.tanh() * self._attended(self.norm(hidden), media, first)
        return hidden + self.feed_forward_gate.tanh() * self.feed_forward(hidden)

    def _attended(self, hidden: Tensor, media: Media, first: int) -> Tensor:
        seen, context = media.seen(first, hidden.shape[1]), media.once(self, self.key_value)
        times = len(hidden) // len(media)
        seen, context = seen.repeat_interleave(times, 0), context.repeat_interleave(times, 0)
        query, key, value = (
            x.unflatten(-1, (self.heads, -1)).transpose(1, 2) for x in (self.query(hidden), *context.chunk(2, -1))
        )
        some = seen.any(-1, keepdim=True)  # what precedes all media sees nothing: a softmax over nothing is no number
        out = F.scaled_dot_product_attention(query, key, value, (seen | ~some)[:, None])
        return self.leave(out.transpose(1, 2).flatten(2) * some)
