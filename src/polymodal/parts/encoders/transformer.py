"""A small transformer encoder, for encoders that are trained here. Decides its shape: pre-norm, GELU, no dropout."""

from __future__ import annotations

from typing import Any

from torch import nn

from polymodal.errors import RecipeError


def transformer(kind: str, width: int, depth: int, heads: int) -> nn.Sequential:
    """`depth` layers and a final norm over [B, N, width]. Raises `RecipeError`, which names the encoder's `kind`."""
    if width % heads:
        raise RecipeError(f"encoder '{kind}', option 'width': {width} is no multiple of its {heads} heads")
    options: dict[str, Any] = {"dropout": 0.0, "activation": "gelu", "batch_first": True, "norm_first": True}
    # Layers made one by one: nn.TransformerEncoder copies the first, and so begins with equal weights in all.
    layers = [nn.TransformerEncoderLayer(width, heads, 4 * width, **options) for _ in range(depth)]
    return nn.Sequential(*layers, nn.LayerNorm(width))
