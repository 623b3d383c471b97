"""Zero-initialised adaption prompts (LLaMA-Adapter, arXiv 2303.16199): learned vectors to which the features of a picture
are added, and which each upper layer's own frozen attention attends to, beside its tokens and behind a gate per head that
begins at 0. Text without a picture sees the learned vectors alone. The authors' code has: the tanh of gates, and queries
that are rotated while prompts are not. It is for Llama's attention, whose queries the `peft` library computes again."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from polymodal.errors import RecipeError
from polymodal.parts.backbones import Backbone
from polymodal.parts.base import Positive
from polymodal.parts.fusion.attention import Attention, Media

FAMILIES = ("llama", "mistral")


class AdaptionPrompts(Attention):
    """An item takes one position; its one feature, or `length` features, are added to the `length` prompts of each of the
    last `layers` layers of the backbone, by default of all."""

    def __init__(self, backbone: Backbone, length: Positive = 10, layers: Positive | None = None) -> None:
        config = backbone.lm.config
        if config.model_type not in FAMILIES:
            raise RecipeError(
                f"fusion 'adaption-prompts': the backbone is a '{config.model_type}', not {' or '.join(FAMILIES)}"
            )
        if layers is not None and layers > len(backbone.layers):
            raise RecipeError(f"fusion: 'layers' is {layers}, but the backbone has {len(backbone.layers)}")
        super().__init__(backbone)
        self.prompts = length
        places = range(len(backbone.layers) - (layers or len(backbone.layers)), len(backbone.layers))
        heads = config.num_attention_heads
        self.layers = nn.ModuleDict({str(i): Prompts(length, backbone.width, heads) for i in places})
        for i in places:
            attention = backbone.layers[i].get_submodule("self_attn")
            attention.register_forward_hook(functools.partial(self._after, str(i)), with_kwargs=True)

    def length(self, n: int) -> int:
        """Raises `RecipeError` for another number of features than one or `length`."""
        if n not in (1, self.prompts):
            raise RecipeError(
                f"fusion 'adaption-prompts': the projector gives {n} features for {self.prompts} prompts; let it give one, "
                f"or set 'length' to {n}"
            )
        return 1

    @contextmanager
    def attending(self, features: list[Tensor], latest: Tensor, own: Tensor) -> Iterator[None]:
        """What looks at nothing looks at item 0, of which nothing is added to the prompts."""
        each = [rows.expand(self.prompts, -1) for rows in features]
        with super().attending([torch.zeros_like(each[0]), *each] if each else [], latest + 1, own):
            yield

    def _after(self, key: str, attention: nn.Module, args: Any, kwargs: Any, output: Any) -> tuple[Any, ...]:
        """After the attention of a layer: what it gives, and what it attends to in the prompts."""
        states, *rest = output
        return (states + self.layers[key](attention, kwargs, *self.running).to(states.dtype), *rest)


class Prompts(nn.Module):
    """The prompts of a layer, and the gates of its heads."""

    def __init__(self, length: int, width: int, heads: int) -> None:
        super().__init__()
        self.prompts = nn.Parameter(torch.randn(length, width))
        self.gate = nn.Parameter(torch.zeros(heads, 1, 1))

    def forward(self, attention: Any, kwargs: dict[str, Any], media: Media | None, first: int) -> Tensor:
        """[B, T, D] of what `attention` was given as `kwargs`, whose first column is `first`."""
        from peft.tuners.adaption_prompt.utils import llama_compute_query_states

        query = llama_compute_query_states(model=attention, **kwargs)  # [B, heads, T, width of a head]

        def projected(rows: Tensor) -> Tensor:
            prompts = (rows.unflatten(1, (-1, len(self.prompts))) + self.prompts).flatten(1, 2).to(query.dtype)
            return torch.cat([attention.k_proj(prompts), attention.v_proj(prompts)], -1)

        seen = None
        if media is None:
            context = projected(torch.zeros_like(self.prompts)[None])
        else:
            context, seen = media.once(self, projected), media.seen(first, query.shape[2])
            seen = seen.repeat_interleave(len(query) // len(media), 0)[:, None]
        context = context.repeat_interleave(len(query) // len(context), 0)
        key, value = (x.unflatten(-1, (-1, attention.head_dim)).transpose(1, 2) for x in context.chunk(2, -1))
        out = self.gate.tanh() * F.scaled_dot_product_attention(query, key, value, seen, enable_gqa=True)
        flat = out.transpose(1, 2).flatten(2).to(query.dtype)
        bias = attention.o_proj(torch.zeros_like(flat[:1, :1]))  # it is in the output of the layer already
        return attention.o_proj(flat) - bias
