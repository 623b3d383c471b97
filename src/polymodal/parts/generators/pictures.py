"""Pictures as numbers between -1 and 1, and back. Decides that what a codec learns is a square of its own size: as
much of a picture as fits, from its middle, and never squashed."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from polymodal.errors import MediaError
from polymodal.parts.output import Generator


def pixels(picture: Any, size: tuple[int, int]) -> Tensor:
    """A `PIL.Image` -> [3, height, width] from -1 to 1: as much of its middle as has the shape of `size`, width and height.
    Raises `MediaError` for what is no picture."""
    if not isinstance(picture, Image.Image):
        raise MediaError(f"a picture is learned from a PIL.Image, not from a {type(picture).__name__}")
    square = ImageOps.fit(picture.convert("RGB"), size, Image.Resampling.LANCZOS)
    return torch.from_numpy(np.asarray(square, np.float32)).permute(2, 0, 1).contiguous() / 127.5 - 1


def pictures(batch: Tensor) -> list[Image.Image]:
    """[S, 3, H, W] from -1 to 1 -> S pictures; what lies beyond is black or full."""
    levels = ((batch.detach().float().cpu().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return [Image.fromarray(picture.numpy()) for picture in levels.permute(0, 2, 3, 1).contiguous()]


def squared(made: Tensor, targets: Tensor) -> Tensor:
    """[S, ...] twice -> [S]: the mean squared error of each."""
    return (made - targets).pow(2).flatten(1).mean(1)


class PictureCodec(Generator):
    """What makes pictures [size, size] of codes or latents by `decode`. Nothing in that is random."""

    modality = "image"
    size: int

    @abstractmethod
    def decode(self, given: Tensor) -> Tensor:
        """Codes [S, N] or latents [S, N, Dg] -> pixels [S, 3, size, size], from about -1 to about 1."""

    def prepare(self, media: Any) -> Tensor:
        """A `PIL.Image` -> [3, size, size] from -1 to 1. Raises `MediaError` for what is no picture."""
        return pixels(media, (self.size, self.size))

    def make(
        self,
        given: Tensor | Sequence[str],
        random: torch.Generator,
        on_step: Callable[[int, int], None] | None = None,
    ) -> list[Any]:
        """S codes or latents -> S `PIL.Image`s."""
        assert isinstance(given, Tensor)  # of all that a generator takes, a codec takes no text
        with torch.no_grad():
            made = pictures(self.decode(given))
        if on_step is not None:
            on_step(1, 1)
        return made
