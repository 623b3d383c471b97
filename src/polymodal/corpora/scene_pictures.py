"""How sticker scenes are drawn. Decides where things may stand and how large they are.

Nothing overlaps and everything is large (64 to 110 of 224 pixels), so that an encoder with a coarse grid can tell
places apart. A layout gives each place a cell; a thing lies in its cell, jittered. Stickers are drawings cut to what
is visible, so that a box is exact and "bigger" is about what is seen.

    row, column     grid          cross         one
    [ ][ ]([ ])     [ ][ ]        [ ]   [ ]      a cell at the left, right,
                    [ ][ ]          [ ]          top, bottom or middle
                                  [ ]   [ ]
"""

from __future__ import annotations

import io
import math
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from polymodal.corpora import emoji
from polymodal.corpora.items import SIDE
from polymodal.corpora.scene_things import BACKGROUNDS, COLORS, THINGS
from polymodal.errors import DataError

if TYPE_CHECKING:
    from PIL import Image

Xyxy = tuple[int, int, int, int]
_THIRDS = ((2, 74), (76, 148), (150, 222))
_HALVES = ((4, 110), (114, 220))
_RENDERED = 128  # pixels a sticker is rendered at, the largest it is shown

LAYOUTS: dict[str, dict[str, Xyxy]] = {
    "one": {
        "left": (4, 52, 116, 172),
        "right": (108, 52, 220, 172),
        "top": (52, 4, 172, 116),
        "bottom": (52, 108, 172, 220),
        "middle": (56, 56, 168, 168),
    },
    "row": {"left": (4, 30, 110, 194), "right": (114, 30, 220, 194)},
    "column": {"top": (30, 4, 194, 110), "bottom": (30, 114, 194, 220)},
    "row of three": {p: (a, 40, b, 184) for p, (a, b) in zip(("left", "middle", "right"), _THIRDS, strict=True)},
    "column of three": {p: (40, a, 184, b) for p, (a, b) in zip(("top", "middle", "bottom"), _THIRDS, strict=True)},
    "grid": {
        f"{v} {h}": (a, c, b, d)
        for v, (c, d) in zip(("top", "bottom"), _HALVES, strict=True)
        for h, (a, b) in zip(("left", "right"), _HALVES, strict=True)
    },
    "cross": {
        "top left": (2, 2, 74, 74),
        "top right": (150, 2, 222, 74),
        "bottom left": (2, 150, 74, 222),
        "bottom right": (150, 150, 222, 222),
        "middle": (76, 76, 148, 148),
    },
}
LAYOUTS_OF = {
    1: ("one",),
    2: ("row", "column"),
    3: ("row of three", "column of three", "grid"),
    4: ("grid",),
    5: ("cross",),
}


@dataclass(frozen=True)
class Thing:
    """One thing in a scene. `xyxy`: the box of its visible pixels. `color`: of a plain shape; None for a sticker."""

    name: str
    place: str
    xyxy: Xyxy
    color: str | None = None

    @property
    def side(self) -> int:
        left, top, right, bottom = self.xyxy
        return max(right - left, bottom - top)

    @property
    def area(self) -> int:
        left, top, right, bottom = self.xyxy
        return (right - left) * (bottom - top)


def stickers(vendor: str, folders: Mapping[str, Path]) -> dict[str, Image.Image]:
    """An RGBA picture for each of THINGS, cut to its visible pixels. `folders`: the packages of emoji by asset name.

    Raises DataError if the vendor does not draw one of them.
    """
    from PIL import Image
    from resvg_py import svg_to_bytes

    keys = {entry["label"]: entry["key"] for entry in emoji.labels(folders["emojibase"])}
    drawn = emoji.drawn(vendor, folders[emoji.VENDORS[vendor].asset])
    found = {}
    for name, label in THINGS.items():
        drawing = drawn.get(keys.get(label, ""))
        if drawing is None:
            raise DataError(f"corpus scenes: {vendor} has no drawing of '{label}'")
        svg = drawing.read_text("utf-8") if isinstance(drawing, Path) else drawing
        rendered = bytes(svg_to_bytes(svg_string=svg, width=_RENDERED, skip_system_fonts=True))
        picture = Image.open(io.BytesIO(rendered)).convert("RGBA")
        found[name] = picture.crop(picture.getchannel("A").point(lambda a: 255 * (a > 40)).getbbox())
    return found


def fitted(size: tuple[int, int], side: int) -> tuple[int, int]:
    """`size` scaled so that its longer side is `side`."""
    width, height = size
    scale = side / max(size)
    return max(1, round(width * scale)), max(1, round(height * scale))


def within(cell: Xyxy, size: tuple[int, int], rng: random.Random) -> Xyxy:
    """A box of `size` somewhere in the cell."""
    left = rng.randint(cell[0], cell[2] - size[0])
    top = rng.randint(cell[1], cell[3] - size[1])
    return left, top, left + size[0], top + size[1]


def page(background: str, rng: random.Random) -> Image.Image:
    """A SIDE x SIDE picture of one color, a little lighter or darker towards the bottom."""
    import numpy as np
    from PIL import Image

    slope = rng.choice((0, 0, rng.uniform(-14, 14)))
    rows = np.array(BACKGROUNDS[background], float) + np.linspace(-slope, slope, SIDE)[:, None]
    pixels = np.broadcast_to(rows.clip(0, 255).round().astype(np.uint8)[:, None], (SIDE, SIDE, 3))
    return Image.fromarray(np.ascontiguousarray(pixels))


def draw(background: str, things: Iterable[Thing], art: Mapping[str, Image.Image], rng: random.Random) -> bytes:
    """A scene as PNG bytes. `art`: the stickers by name."""
    from PIL import Image

    picture = page(background, rng)
    for thing in things:
        if thing.color is not None:
            shape(picture, thing.name, thing.color, thing.xyxy)
            continue
        left, top, right, bottom = thing.xyxy
        sticker = art[thing.name].resize((right - left, bottom - top), Image.Resampling.LANCZOS)
        picture.paste(sticker, (left, top), sticker)
    return png(picture)


def shape(picture: Image.Image, name: str, color: str, xyxy: Xyxy) -> None:
    """Draw one of SHAPES into its box, antialiased by drawing it four times as large."""
    from PIL import Image, ImageDraw

    left, top, right, bottom = xyxy
    width, height = 4 * (right - left), 4 * (bottom - top)
    mask = Image.new("L", (width, height))
    pencil = ImageDraw.Draw(mask)
    outline = [(x * (width - 1), y * (height - 1)) for x, y in _outline(name)]
    pencil.polygon(outline, fill=255)
    mask = mask.resize((right - left, bottom - top), Image.Resampling.BOX)
    picture.paste(COLORS[color], xyxy, mask)


def png(picture: Image.Image) -> bytes:
    out = io.BytesIO()
    picture.save(out, "PNG")
    return out.getvalue()


def _outline(name: str) -> list[tuple[float, float]]:
    """Corners of a shape in the unit square."""
    around = [2 * math.pi * i / 120 for i in range(120)]
    if name == "circle":
        points = [(math.cos(t), math.sin(t)) for t in around]
    elif name == "square":
        points = [(0, 0), (1, 0), (1, 1), (0, 1)]
    elif name == "triangle":
        points = [(0, 1), (0.5, 0), (1, 1)]
    elif name == "star":
        radii = (1, 0.42)
        points = [(radii[i % 2] * math.sin(math.pi * i / 5), -radii[i % 2] * math.cos(math.pi * i / 5)) for i in range(10)]
    elif name == "heart":
        points = [
            (math.sin(t) ** 3, -(13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)) / 16)
            for t in around
        ]
    else:
        raise ValueError(f"no shape is called {name!r}")
    low = [min(point[axis] for point in points) for axis in (0, 1)]
    high = [max(point[axis] for point in points) for axis in (0, 1)]
    return [((x - low[0]) / (high[0] - low[0]), (y - low[1]) / (high[1] - low[1])) for x, y in points]
