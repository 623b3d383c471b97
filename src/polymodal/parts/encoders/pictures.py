"""An image encoder inside another: of frames, of maps. Decides how a recipe names it and its weights."""

from __future__ import annotations

from typing import Any

from polymodal.errors import RecipeError
from polymodal.parts.base import Encoder, build


def image_encoder(kind: str, of: dict[str, Any], path: str | None) -> tuple[Encoder, dict[str, Any]]:
    """The encoder that a recipe calls `of`, and the options that rebuild it without its source. `path`: its weights; beside
    `of` and not in it, because a checkpoint links to the `path` of a part. Raises `RecipeError`, which names the outer
    encoder's `kind`."""
    from polymodal.parts.encoders import ENCODERS

    if "path" in of:
        raise RecipeError(f"encoder '{kind}': 'path' stands beside 'of', not in it")
    encoder: Encoder = build("encoder.of", ENCODERS, of if path is None else {**of, "path": path})
    if encoder.modality != "image":
        raise RecipeError(f"encoder '{kind}': 'of' is an image encoder, and '{of['kind']}' takes {encoder.modality}")
    return encoder, {**of, **getattr(encoder, "options", {})}
