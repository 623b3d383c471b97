"""Networks of diffusers. Decides that each is read from safetensors, whole, and rebuilt from its config."""

from __future__ import annotations

import inspect
import json
from typing import Any

from torch import nn

from polymodal.errors import RecipeError, nearest
from polymodal.parts.sources import pretrained


def network(cls: Any, path: str | None, config: dict[str, Any] | None, subfolder: str | None = None) -> Any:
    """A `ModelMixin` of diffusers from `path` (a Hub id, folder or `asset:`, and a `subfolder` of it), or with random
    weights from `config`, its constructor's arguments. Raises `RecipeError` naming the tensor or argument that does not
    fit."""
    if (path is None) == (config is None):
        raise RecipeError("generator needs either 'path' (pretrained) or 'config' (random weights), and not both")
    if path is not None:
        options = {"use_safetensors": True, "low_cpu_mem_usage": False, "ignore_mismatched_sizes": True}
        place = {} if subfolder is None else {"subfolder": subfolder}
        module, info = pretrained(cls, path, "generator.path", output_loading_info=True, **options, **place)
        absent = sorted([*info["missing_keys"], *(key for key, *_ in info["mismatched_keys"])])
        if absent:
            raise RecipeError(f"generator.path '{path}' lacks weights: '{absent[0]}' is missing or misshapen")
        return module
    known = inspect.signature(cls).parameters
    for key in config or {}:
        if key not in known:
            raise RecipeError(f"generator.config: {cls.__name__} has no '{key}'{nearest(key, known)}")
    try:
        return cls(**(config or {}))
    except (TypeError, ValueError) as error:
        raise RecipeError(f"generator.config: {' '.join(str(error).split())}") from error


def config_of(module: nn.Module) -> dict[str, Any]:
    """What rebuilds a network of diffusers, as JSON has it."""
    held: Any = module.config
    return json.loads(json.dumps({key: value for key, value in held.items() if not key.startswith("_")}))


def grid(module: nn.Module, size: int) -> int:
    """Cells on a side of a picture of `size` pixels, behind a network that halves between its blocks. Raises `RecipeError`
    for a size that it does not divide."""
    config: Any = module.config
    return cells(size, 2 ** (len(config["block_out_channels"]) - 1))


def cells(size: int, stride: int) -> int:
    """How many cells of `stride` pixels are on a side of `size`. Raises `RecipeError` if some are not whole."""
    if size % stride:
        raise RecipeError(f"generator.size: {size} pixels are no whole cells of {stride}; take a multiple of it")
    return size // stride
