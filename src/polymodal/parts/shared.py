"""Parts that several inputs share. Decides that what is shared has a name of its own in a recipe, and is in the model once.

    shared: {experts: {kind: upm-experts, width: 1024}}
    inputs:
      image: {..., projector: {kind: upm, experts: "shared:experts"}}
      audio: {..., projector: {kind: upm, experts: "shared:experts"}}

Its weights are `shared.experts.*` in patterns and one file of a checkpoint. A projector that is given it uses it and does
not own it: it keeps it out of its own modules.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from polymodal.errors import RecipeError, nearest

SHARED = {
    "upm-experts": "polymodal.parts.input_projectors.upm.Experts",
    "p-former": "polymodal.parts.p_former.PFormer",
    "projector": "polymodal.parts.input_projectors.shared.SharedProjector",
}
_PREFIX = "shared:"


def names(options: Mapping[str, Any]) -> list[str]:
    """What the options of a projector refer to."""
    said = [value for value in options.values() if isinstance(value, str) and value.startswith(_PREFIX)]
    return [value.removeprefix(_PREFIX) for value in said]


def resolved(role: str, options: Mapping[str, Any], shared: Mapping[str, nn.Module]) -> dict[str, Any]:
    """The options of a projector with parts in place of what refers to them. Raises `RecipeError` for an unknown name."""
    out = dict(options)
    for key, value in options.items():
        if isinstance(value, str) and value.startswith(_PREFIX):
            name = value.removeprefix(_PREFIX)
            if name not in shared:
                raise RecipeError(f"{role}.{key}: nothing is shared by the name '{name}'{nearest(name, shared)}")
            out[key] = shared[name]
    return out
