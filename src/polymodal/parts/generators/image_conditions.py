"""What an image encoder sees in a picture, as a condition. Decides that it stands beside a generator and not in it, as
a text encoder does (`text_conditions`): it is built for the first picture, never learns, and is no part of any
state."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from math import isqrt
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from polymodal.errors import RecipeError
from polymodal.parts.base import Encoder, Positive
from polymodal.parts.encoders.pictures import image_encoder

BATCH = 16  # pictures that are seen at once


class ImageConditions:
    """`of`: an image encoder as a recipe names it, its `path` within. `positions`: Q, to which its N features are averaged:
    by squares where both make squares (SEED-X, arXiv 2404.14396: 256 to 64), else along the row. Raises `RecipeError` for
    more positions than features."""

    def __init__(self, of: dict[str, Any], positions: Positive = 1) -> None:
        self.of, self.positions = of, positions

    def __call__(self, pictures: Sequence[Any]) -> Tensor:
        """S `PIL.Image`s -> float32 [S, Q, De]."""
        rows: list[Tensor] = []
        with torch.no_grad():
            for first in range(0, len(pictures), BATCH):
                inputs = [self._encoder.prepare(picture) for picture in pictures[first : first + BATCH]]
                rows += [averaged(tokens, self.positions).float() for tokens in self._encoder(inputs).tokens]
        return torch.stack(rows) if rows else torch.zeros(0, self.positions, self.width)

    @property
    def width(self) -> int:
        """De. Builds the encoder."""
        return self._encoder.width

    @cached_property
    def _encoder(self) -> Encoder:
        of = {key: value for key, value in self.of.items() if key != "path"}
        with torch.random.fork_rng(devices=[]):  # when it is built must not change what else is random
            torch.manual_seed(0)
            return image_encoder("conditions", of, self.of.get("path"))[0].eval().requires_grad_(False)


def averaged(tokens: Tensor, positions: int) -> Tensor:
    """[N, De] -> [Q, De]."""
    if positions > len(tokens):
        raise RecipeError(f"generator.positions: {positions} are more than the {len(tokens)} features of a picture")
    side, wanted = isqrt(len(tokens)), isqrt(positions)
    if side**2 == len(tokens) and wanted**2 == positions:
        return functional.adaptive_avg_pool2d(tokens.T.unflatten(1, (side, side)), wanted).flatten(1).T
    return functional.adaptive_avg_pool1d(tokens.T, positions).T
