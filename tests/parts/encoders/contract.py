"""What every encoder promises, as functions that the tests of each encoder call."""

from __future__ import annotations

import json
from typing import Any

import torch
from torch import Tensor

from polymodal.parts.base import Encoder, build
from polymodal.parts.encoders import ENCODERS


def make(kind: str, **options: Any) -> Encoder:
    """A random encoder, built as a recipe builds it. Seeded: two calls give equal weights."""
    torch.manual_seed(0)
    return build("encoder", ENCODERS, {"kind": kind, **options}).eval()


def features(encoder: Encoder, media: list[Any]) -> list[Tensor]:
    with torch.no_grad():
        return encoder([encoder.prepare(item) for item in media]).tokens


def check_lengths_and_neighbours(encoder: Encoder, media: list[Any], tolerance: float = 1e-4) -> None:
    """`length` is what comes out, the width is right, and no item's features depend on the rest of the batch."""
    together = features(encoder, media)
    for item, tokens in zip(media, together, strict=True):
        assert tokens.shape == (encoder.length(encoder.prepare(item)), encoder.width)
        assert torch.isfinite(tokens).all()
        (alone,) = features(encoder, [item])
        assert torch.allclose(tokens, alone, atol=tolerance)
    assert not torch.allclose(together[0][:1], together[-1][:1], atol=1e-4)  # different media, different features


def check_options_rebuild(encoder: Encoder, kind: str, media: list[Any]) -> None:
    """What a checkpoint keeps (`options`, as JSON, and the weights) makes the same encoder without its source."""
    options = json.loads(json.dumps(encoder.options, default=str))
    torch.manual_seed(99)
    again = build("encoder", ENCODERS, {"kind": kind, **options}).eval()
    again.load_state_dict(encoder.state_dict())
    assert again.options == encoder.options
    for a, b in zip(features(encoder, media), features(again, media), strict=True):
        assert torch.equal(a, b)
