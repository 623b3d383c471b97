"""Squaring and cutting pictures. Decides that a picture keeps its shape (padded on white, never squashed), and that
higher resolution means n x n tiles of the encoder's own size (the sub-image scheme of Monkey, arXiv 2311.06607)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

if TYPE_CHECKING:
    from PIL.Image import Image

Tiles = Annotated[int, Field(ge=1, le=6)]


def square(image: Image, size: int) -> Image:
    """The picture centred on a white square, resized (bicubic) to `size` x `size` pixels."""
    from PIL import Image as PIL

    side = max(image.size)
    canvas = PIL.new("RGB", (side, side), "white")
    canvas.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return canvas.resize((size, size), PIL.Resampling.BICUBIC)


def cut(image: Image, n: int) -> list[Image]:
    """n x n tiles of a square picture, row by row."""
    side = image.width // n
    corners = [(x * side, y * side) for y in range(n) for x in range(n)]
    return [image.crop((x, y, x + side, y + side)) for x, y in corners]
