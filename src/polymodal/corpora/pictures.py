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
    import resvg_py

    try:
        rendered = resvg_py.svg_to_bytes(svg_string=svg, width=SIDE, dpi=DPI, skip_system_fonts=True)
    except ValueError as error:
        raise MediaError(f"{name}: not a drawing that can be rendered ({error})") from error
    return _png(load_image(bytes(rendered)), name)


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
    out = io.BytesIO()
    square(picture).save(out, "PNG")
    return out.getvalue()
