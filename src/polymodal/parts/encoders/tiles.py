"""Squaring and cutting pictures. Decides that a picture keeps its shape (padded on white, never squashed), and that
higher resolution means the whole picture and n x n tiles of it (LLaVA-NeXT; Monkey, arXiv 2311.06607)."""

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


def views(image: Image, size: int, n: int) -> list[Image]:
    """The whole picture at `size`, followed for n > 1 by its n x n tiles at `size` each, row by row."""
    whole = [square(image, size)]
    if n == 1:
        return whole
    large = square(image, size * n)
    corners = [(x * size, y * size) for y in range(n) for x in range(n)]
    return whole + [large.crop((x, y, x + size, y + size)) for x, y in corners]
