"""Features as the grid they were cut from. Decides what every projector that joins neighbours makes of a grid: it must be
a square (an encoder says how many features an item has, not how they lie), and a side that does not divide repeats its
edge."""

from __future__ import annotations

from math import isqrt

import torch
from torch import Tensor

from polymodal.errors import RecipeError


def side(n: int, kind: str) -> int:
    """The side of a square of N features. Raises `RecipeError` in the name of the projector `kind` if there is none."""
    side = isqrt(n)
    if side * side != n:
        raise RecipeError(f"{kind} needs a square grid of features, but the encoder emits {n} per item")
    return side


def grid(x: Tensor, ratio: int, kind: str) -> Tensor:
    """[N, D] -> [S, S, D] in reading order, S the side rounded up to a multiple of `ratio` by repeating the edge."""
    n = side(len(x), kind)
    index = torch.arange(n + -n % ratio, device=x.device).clamp(max=n - 1)
    return x.reshape(n, n, -1)[index][:, index]
