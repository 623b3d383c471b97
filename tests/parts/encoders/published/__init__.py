"""The names and shapes of state dicts as their authors published them: what a module of ours has to have, no more, no less.

Each list was read off the authors' code at the commit that it names, and not off a module of ours. A line is a name and a
shape; `{0..31}` stands for each number from 0 to 31, `{a,b}` for each of its words.
"""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path

import torch
from torch import nn


def published(name: str) -> dict[str, tuple[int, ...]]:
    """Name -> shape of one list."""
    shapes: dict[str, tuple[int, ...]] = {}
    for line in (Path(__file__).parent / f"{name}.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            pattern, shape = line.split(maxsplit=1)
            for key in _spelled(pattern):
                assert key not in shapes, f"{name}.txt has {key} twice"
                shapes[key] = tuple(json.loads(shape))
    return shapes


def shapes(module: nn.Module) -> dict[str, tuple[int, ...]]:
    return {key: tuple(tensor.shape) for key, tensor in module.state_dict().items()}


def save(module: nn.Module, file: Path, *inside: str, prefix: str = "", **others: object) -> dict[str, torch.Tensor]:
    """Writes a module's weights as a released pickle: below the keys `inside`, names behind `prefix`, beside `others`."""
    held: object = {prefix + key: tensor for key, tensor in module.state_dict().items()} | others
    for key in reversed(inside):
        held = {key: held}
    torch.save(held, file)
    return module.state_dict()


def _spelled(pattern: str) -> list[str]:
    pieces = re.split(r"\{(.*?)\}", pattern)
    for i in range(1, len(pieces), 2):
        first, dots, last = pieces[i].partition("..")
        words = map(str, range(int(first), int(last) + 1)) if dots else pieces[i].split(",")
        pieces[i] = list(words)  # type: ignore[call-overload]
    return ["".join(parts) for parts in itertools.product(*([p] if isinstance(p, str) else p for p in pieces))]
