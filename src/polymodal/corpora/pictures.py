"""Pictures of the corpora. Decides how a drawing becomes pixels: whole, centred on a white square of 224 pixels.

White, because most transparent drawings are made for a page, and because `media` does the same with a user's picture.
SVG is rendered by resvg without the fonts of the machine: the same drawing gives the same pixels everywhere.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

from polymodal.corpora.items import SIDE
from polymodal.errors import MediaError
from polymodal.media.image import load_image

if TYPE_CHECKING:
    from PIL import Image

DPI = 96  # CSS's; resvg's own default of 0 gives drawings measured in pt or mm no size


def from_file(path: Path) -> bytes:
    """A picture or SVG file as PNG bytes, RGB, SIDE x SIDE. Raises MediaError if it is damaged or blank."""
    if path.suffix == ".svg":
        return from_svg(path.read_text("utf-8", errors="replace"), path.name)
    return _png(load_image(path), path.name)


def from_svg(svg: str, name: str) -> bytes:
    """SVG text as PNG bytes, RGB, SIDE x SIDE. Raises MediaError if it cannot be rendered or is blank."""
    return _png(rendered(svg, name), name)


def cropped(svg: str, name: str) -> bytes:
    """As `from_svg`, cut to what is drawn: for drawings that lie somewhere on a large page."""
    picture = rendered(svg, name, 2 * SIDE)
    return _png(picture.crop(drawn_box(picture, name)), name)


def rendered(svg: str, name: str, width: int = SIDE) -> Image.Image:
    """SVG text as a picture `width` pixels wide, RGB on white. Raises MediaError if it cannot be rendered."""
    import resvg_py

    try:
        png = resvg_py.svg_to_bytes(svg_string=svg, width=width, dpi=DPI, skip_system_fonts=True)
    except ValueError as error:
        raise MediaError(f"{name}: not a drawing that can be rendered ({error})") from error
    return load_image(bytes(png))


def drawn_box(picture: Image.Image, name: str) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of what is not white. Raises MediaError if all of it is."""
    from PIL import ImageOps

    box = ImageOps.invert(picture.convert("L")).point(lambda value: 255 if value > 4 else 0).getbbox()
    if box is None:
        raise MediaError(f"{name}: blank, every pixel is white")
    return box


def looks(picture: Image.Image) -> int:
    """A perceptual hash of 256 bits: whether each of 16 x 16 areas is brighter than the one to its right. Alike pictures
    differ in few bits (dHash, N. Krawetz, 2013)."""
    import numpy as np

    small = np.asarray(square(picture, 136).convert("L").resize((17, 16)), np.int16)
    return int.from_bytes(np.packbits(small[:, 1:] > small[:, :-1]).tobytes(), "big")


def as_is(path: Path) -> bytes:
    """A picture file as PNG bytes, RGB, of its own size, so that boxes in pixels stay exact. Raises MediaError."""
    return encoded(load_image(path))


def square(picture: Image.Image, side: int = SIDE) -> Image.Image:
    """An RGB picture scaled to fit into `side` x `side` pixels, centred on white."""
    from PIL import Image

    scale = side / max(picture.size)
    width, height = (max(1, round(length * scale)) for length in picture.size)
    page = Image.new("RGB", (side, side), "white")
    fitted = picture.resize((width, height), Image.Resampling.LANCZOS)
    page.paste(fitted, ((side - width) // 2, (side - height) // 2))
    return page


def _png(picture: Image.Image, name: str) -> bytes:
    if picture.convert("L").getextrema() == (255, 255):
        raise MediaError(f"{name}: blank, every pixel is white")
    return encoded(square(picture))


def encoded(picture: Image.Image) -> bytes:
    """A picture as PNG bytes."""
    out = io.BytesIO()
    picture.save(out, "PNG")
    return out.getvalue()
