"""Pages of the corpus `web-pages` as HTML, laid out and drawn. Decides how a page may look.

A page is real HTML and CSS and is laid out and painted by Blitz (Stylo, the style engine of Firefox, with Taffy; no
browser, no network), which also tells the box of each element. Nothing floats: Blitz 0.5 does not return from a float.
Fonts are Blitz's own (Inter) and those that come with matplotlib, given to the page by file under one name, so that no
machine's own are taken for them.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polymodal.corpora.items import Box
from polymodal.corpora.scene_things import COLORS
from polymodal.errors import DataError

if TYPE_CHECKING:
    from PIL import Image

SIDE = 448  # pixels of a page: twice those of a drawing, since its letters are smaller
FONTS = {  # name -> files of matplotlib, plain and bold
    "DejaVu Sans": ("DejaVuSans", "DejaVuSans-Bold"),
    "DejaVu Serif": ("DejaVuSerif", "DejaVuSerif-Bold"),
    "Computer Modern": ("cmss10", "cmb10"),
}
HELD_OUT_FONTS = {"STIX": ("STIXGeneral", "STIXGeneralBol"), "Inter": ()}
LAYOUTS = ("bar", "centered", "card")
HELD_OUT_LAYOUTS = ("sidebar", "footer")
PLACES = ("left", "right", "top", "bottom")  # of the picture
_CSS = """
* { box-sizing: border-box; margin: 0; padding: 0 }
body { width: 448px; height: 448px; display: flex; flex-direction: column; font: 19px/1.3 page, sans-serif; color: #222 }
h1 { width: fit-content; font-size: 46px; line-height: 1.15; font-weight: 700 }
nav { display: flex; gap: 16px; font-size: 18px }
nav a { text-decoration: underline }
main { flex: 1; display: flex; flex-direction: column; gap: 12px; padding: 12px 18px; align-items: flex-start }
.beside { display: flex; gap: 16px; align-items: flex-start; width: 100% }
.text { flex: 1; display: flex; flex-direction: column; gap: 12px; align-items: flex-start }
button { border: 0; padding: 7px 22px; font: 700 24px/1.3 page, sans-serif }
table { border-collapse: collapse }
td { border: 1px solid #999; padding: 3px 12px }
.bar nav, .footer nav { padding: 9px 18px; color: #fff; background: #3a4048 }
.bar nav a, .footer nav a { color: #fff; text-decoration: none }
.centered main { align-items: center; text-align: center }
.card { padding: 12px; background: #d9dde2 }
.card nav { padding: 2px 8px 10px }
.card main { background: #fff; border: 1px solid #b5bac1; border-radius: 10px }
.sidebar { flex-direction: row }
.sidebar nav { flex-direction: column; gap: 10px; padding: 18px 12px; background: #e3e6ea }
.footer h1 { color: #fff; background: #59616b; padding: 2px 14px }
"""


@dataclass(frozen=True)
class Page:
    """What a page shows. `table`: rows of a word and a number, none without a table. `place`: of the picture, in PLACES;
    `color`: of the button, in COLORS; `round`: the radius of its corners in pixels; `paper`: the background in CSS."""

    layout: str
    font: str
    heading: str
    menu: Sequence[str]
    text: str
    button: str
    color: str
    place: str
    table: Sequence[tuple[str, int]] = ()
    round: int = 6
    paper: str = "#fff"
    sky: str = "#a9d3ee"
    hill: str = "#7d9c6c"


def html(page: Page) -> str:
    """The page as HTML, each element that a question can be about with an id."""
    links = "".join(f"<a>{word}</a>" for word in page.menu)
    menu, heading = f'<nav id="menu">{links}</nav>', f'<h1 id="heading">{page.heading}</h1>'
    wide = page.place in ("top", "bottom")
    picture = _picture(page, *((300, 92) if wide else (130, 150)))
    parts = [f'<p id="text">{page.text}</p>', _table(page), _button(page)]
    if not wide:
        both = [picture, f'<div class="text">{"".join(parts)}</div>']
        parts = [f'<div class="beside">{"".join(both if page.place == "left" else both[::-1])}</div>']
    centered = page.layout == "centered"
    parts = [heading, *([menu] if centered else []), *parts]
    parts = [picture, *parts] if page.place == "top" else [*parts, picture] if page.place == "bottom" else parts
    around = [f"<main>{''.join(parts)}</main>"]
    if not centered:  # a side menu stands across from the picture
        last = page.layout == "footer" or (page.layout == "sidebar" and page.place == "left")
        around = [*around, menu] if last else [menu, *around]
    style = f"{_faces(page.font)}{_CSS}{'' if page.layout == 'card' else f'body {{ background: {page.paper} }}'}"
    return f'<style>{style}</style><body class="{page.layout}">{"".join(around)}</body>'


def boxes(page: Page) -> list[Box]:
    """Where the elements of a page are, in pixels. Raises DataError if blitz-py is not installed, or if one is not whole
    on the page."""
    found = []
    for name, (x, y, width, height) in sorted(_laid_out(page).boxes().items()):
        left, top, right, bottom = round(x), round(y), round(x + width), round(y + height)
        if min(left, top) < 0 or max(right, bottom) > SIDE:
            raise DataError(f"corpus web-pages: the {name} of a page '{page.layout}' ends at {right}, {bottom} of {SIDE}")
        found.append(Box(name=name, xyxy=(left, top, right, bottom)))
    return found


def draw(page: Page) -> Image.Image:
    """The page as a picture, SIDE x SIDE, RGB."""
    from PIL import Image

    width, height, pixels = _laid_out(page).render_rgba()
    return Image.frombytes("RGBA", (width, height), pixels).convert("RGB")


def _laid_out(page: Page) -> Any:
    try:
        from blitz_py import Template
    except ImportError as error:
        wanted = "pip install 'polymodal[corpora]'"
        raise DataError(f"corpus web-pages needs blitz-py; install it with: {wanted}") from error
    return Template(html(page), width=SIDE, height=SIDE)


@cache
def _faces(font: str) -> str:
    """CSS that names a font's files `page`; nothing for Blitz's own font."""
    import matplotlib

    folder, faces = Path(matplotlib.get_data_path(), "fonts", "ttf"), ""
    for file, weight in zip({**FONTS, **HELD_OUT_FONTS}[font], (400, 700), strict=False):
        data = base64.b64encode((folder / f"{file}.ttf").read_bytes()).decode()
        source = f"url(data:font/ttf;base64,{data}) format(truetype)"
        faces += f"@font-face {{ font-family: page; font-weight: {weight}; src: {source} }}\n"
    return faces


def _button(page: Page) -> str:
    red, green, blue = COLORS[page.color]
    ink = "#fff" if 0.3 * red + 0.59 * green + 0.11 * blue < 150 else "#111"
    style = f"background: rgb({red}, {green}, {blue}); color: {ink}; border-radius: {page.round}px"
    return f'<button id="button" style="{style}">{page.button}</button>'


def _table(page: Page) -> str:
    rows = "".join(f"<tr><td>{word}</td><td>{number}</td></tr>" for word, number in page.table)
    return f'<table id="table">{rows}</table>' if rows else ""


def _picture(page: Page, width: int, height: int) -> str:
    """A landscape, as pages have photographs."""
    hill = f"M0 {height} Q{width * 0.3:.0f} {height * 0.2:.0f} {width * 0.6:.0f} {height} Z"
    other = f"M{width * 0.35:.0f} {height} Q{width * 0.8:.0f} {height * 0.35:.0f} {width} {height} Z"
    drawn = f'<rect width="{width}" height="{height}" fill="{page.sky}"/><path d="{hill}" fill="{page.hill}"/>'
    sun = f'<circle cx="{width * 0.75:.0f}" cy="{height * 0.25:.0f}" r="12" fill="#fff3c4"/>'
    drawn += f'<path d="{other}" fill="#56704a"/>{sun}'
    return f'<svg id="picture" width="{width}" height="{height}" viewBox="0 0 {width} {height}">{drawn}</svg>'
