"""Weights as their authors released them, in a layout that no library of ours writes. Decides that every tensor of a
network is found by its own name and in its own shape, and that what else a file holds is named or refused.

Pickles are read as tensors and plain values and nothing more: no code of a file is run.
"""

from __future__ import annotations

import pickle
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from polymodal.errors import RecipeError, nearest
from polymodal.parts.sources import locate

FORMATS = (".safetensors", ".pth", ".pt", ".bin", ".ckpt")


def sizes(kind: str, published: dict[str, int], path: str | None, config: dict[str, int] | None) -> dict[str, int]:
    """The sizes of a network: the published ones, but for those that `config` gives. Raises `RecipeError` for one that it
    has not, and if there is neither a `path` to weights nor a `config`."""
    if path is None and config is None:
        raise RecipeError(f"encoder '{kind}' needs a 'path' (pretrained) or a 'config' (random weights)")
    for name in config or {}:
        if name not in published:
            raise RecipeError(f"encoder '{kind}', option 'config' has no '{name}'{nearest(name, published)}")
    return published | (config or {})


def read(path: str, *inside: str) -> dict[str, Any]:
    """What a released file holds. `path`: the file, or a folder or asset with exactly one such file; `inside`: the keys
    that lead to the tensors in it, for example "model". Raises `RecipeError`."""
    file = _file(path)
    try:
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file

            return dict(load_file(file))
        held = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    except (OSError, RuntimeError, ValueError, pickle.UnpicklingError) as error:
        raise RecipeError(f"encoder.path '{path}' cannot be read as weights: {str(error).splitlines()[0]}") from error
    for key in inside:
        if not isinstance(held, dict) or key not in held:
            raise RecipeError(f"encoder.path '{path}' has no '{key}', in which its authors keep the weights")
        held = held[key]
    return dict(held)


def without(tensors: dict[str, Any], prefix: str) -> dict[str, Any]:
    """The tensors whose names begin with `prefix`, by the rest of their names."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def load(network: nn.Module, tensors: dict[str, Any], path: str, beside: Collection[str] = ()) -> None:
    """Puts `tensors` into `network`. `beside`: how the names begin of other parts of the model that were released with it.
    Raises `RecipeError` naming the first tensor that is missing, misshapen or of no known part."""
    expected: dict[str, Tensor] = network.state_dict()
    for name, tensor in expected.items():
        if name not in tensors or tensors[name].shape != tensor.shape:
            found = f"is {list(tensors[name].shape)}" if name in tensors else "is missing"
            raise RecipeError(f"encoder.path '{path}': tensor '{name}' {found}, and should be {list(tensor.shape)}")
    if unknown := [name for name in tensors if name not in expected and not name.startswith(tuple(beside))]:
        raise RecipeError(f"encoder.path '{path}': tensor '{min(unknown)}' belongs to nothing in this encoder")
    network.load_state_dict({name: tensors[name] for name in expected})


def _file(path: str) -> Path:
    if Path(path).is_file():
        return Path(path)
    folder = Path(locate(path))
    files = [file for file in sorted(folder.glob("*")) if file.suffix in FORMATS]
    if len(files) != 1:
        found = f"{len(files)} files of weights" if folder.is_dir() else "nothing"
        raise RecipeError(f"encoder.path '{path}' is {found}; give the released file, one of {', '.join(FORMATS)}")
    return files[0]
