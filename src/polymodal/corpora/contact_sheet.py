"""Contact sheets: one page of samples for the eye and the ear. Decides that nobody has to trust a corpus unseen.

A PNG shows pictures with caption, category and split; an HTML page, complete in one file, also plays recordings.
"""

from __future__ import annotations

import base64
import html
import io
import random
from collections.abc import Sequence
from pathlib import Path

from polymodal.corpora.building import write
from polymodal.corpora.items import Item
from polymodal.errors import DataError

TILE = 112  # pixels of a picture on the page
LINE = 12


def sample(items: Sequence[Item], count: int, seed: int = 0) -> list[Item]:
    """`count` items at random, or all if there are fewer, in the order of the corpus."""
    chosen = random.Random(seed).sample(range(len(items)), min(count, len(items)))
    return [items[index] for index in sorted(chosen)]


def save(items: Sequence[Item], file: Path) -> None:
    """One page with these items. Raises DataError if there are none, or if the page cannot show them: `.png` shows
    pictures, `.html` shows everything."""
    if not items:
        raise DataError("no item to show: no item of the corpus has all of these properties")
    if file.suffix == ".html":
        write(file, _page(items).encode())
    elif file.suffix == ".png":
        if any(item.modality != "image" for item in items):
            raise DataError(f"{file}: recordings cannot be heard on a picture; name a file that ends in .html")
        write(file, _grid(items))
    else:
        raise DataError(f"{file}: a contact sheet ends in .png or .html")


def _grid(items: Sequence[Item]) -> bytes:
    from PIL import Image, ImageDraw

    columns = min(len(items), 12)
    rows = -(-len(items) // columns)
    width, height = TILE + 4, TILE + 3 * LINE + 4
    page = Image.new("RGB", (columns * width, rows * height), "white")
    draw = ImageDraw.Draw(page)
    for index, item in enumerate(items):
        x, y = index % columns * width, index // columns * height
        with Image.open(item.path) as picture:
            page.paste(picture.resize((TILE, TILE)), (x + 2, y))
        for line, text in enumerate(_lines(item)):
            fitting = text
            while draw.textlength(fitting) > TILE:
                fitting = fitting[:-1]
            draw.text((x + 2, y + TILE + line * LINE), fitting, fill="black" if line == 0 else "gray")
        draw.rectangle((x, y, x + width - 1, y + height - 1), outline="lightgray")
    out = io.BytesIO()
    page.save(out, "PNG")
    return out.getvalue()


def _page(items: Sequence[Item]) -> str:
    figures = "\n".join(map(_figure, items))
    return (
        "<!doctype html><meta charset='utf-8'><title>Contact sheet</title>"
        "<style>body{font:13px sans-serif}figure{display:inline-block;width:240px;margin:6px;vertical-align:top}"
        f"small{{color:gray}}</style>\n{figures}\n"
    )


def _figure(item: Item) -> str:
    data = base64.b64encode(item.path.read_bytes()).decode()
    if item.modality == "image":
        shown = f"<img width='224' src='data:image/png;base64,{data}'>"
    else:
        shown = f"<audio controls src='data:audio/flac;base64,{data}'></audio>"
    caption, *details = map(html.escape, _lines(item))
    return f"<figure>{shown}<figcaption>{caption}<br><small>{'<br>'.join(details)}</small></figcaption></figure>"


def _lines(item: Item) -> tuple[str, str, str]:
    return item.caption, f"{item.vendor} {item.category or item.subgroup or ''}", f"{item.split} [{item.concept}]"
