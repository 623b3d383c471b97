"""Contact sheets: one page of samples for the eye and the ear. Decides that nobody has to trust a corpus unseen.

A PNG shows a preview of each item with caption, category, split and its first question; an HTML page, complete in one
file, shows all of its questions and plays recordings.
"""

from __future__ import annotations

import base64
import html
import io
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

from polymodal.corpora.building import write
from polymodal.corpora.items import Item
from polymodal.corpora.previews import preview
from polymodal.errors import DataError

TILE = 160  # pixels of a preview on a picture
LARGE = 320  # on a page
LINE = 12
COLUMNS = 8
QUESTIONS = 8  # of an item on a page


def sample(items: Sequence[Item], count: int, seed: int = 0) -> list[Item]:
    """`count` items at random, or all if there are fewer, in the order of the corpus."""
    chosen = random.Random(seed).sample(range(len(items)), min(count, len(items)))
    return [items[index] for index in sorted(chosen)]


def save(items: Sequence[Item], file: Path) -> None:
    """One page with these items. Raises DataError if there are none, or `file` ends neither in `.png` nor in `.html`."""
    if not items:
        raise DataError("no item to show: no item of the corpus has all of these properties")
    if file.suffix == ".html":
        write(file, _page(items).encode())
    elif file.suffix == ".png":
        write(file, _grid(items))
    else:
        raise DataError(f"{file}: a contact sheet ends in .png or .html")


def _grid(items: Sequence[Item]) -> bytes:
    from PIL import Image, ImageDraw

    columns = min(len(items), COLUMNS)
    rows = -(-len(items) // columns)
    width, height = TILE + 4, TILE + 5 * LINE + 4
    page = Image.new("RGB", (columns * width, rows * height), "white")
    draw = ImageDraw.Draw(page)
    for index, item in enumerate(items):
        x, y = index % columns * width, index // columns * height
        page.paste(preview(item, TILE), (x + 2, y + 1))
        for line, text in enumerate(_lines(item)):
            fitting = text.encode("latin-1", "replace").decode("latin-1")  # all that Pillow's own font has
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
        f"<style>body{{font:13px sans-serif}}figure{{display:inline-block;width:{LARGE + 10}px;margin:6px;"
        "vertical-align:top}audio{width:100%}small{color:gray}dl{margin:4px 0}dd{margin:0 0 0 12px;color:#1f6f3f}</style>\n"
        f"{figures}\n"
    )


def _figure(item: Item) -> str:
    png = io.BytesIO()
    preview(item, LARGE).save(png, "PNG")
    shown = f"<img src='data:image/png;base64,{base64.b64encode(png.getvalue()).decode()}'>"
    if item.modality == "audio":
        shown += f"<audio controls src='data:audio/flac;base64,{base64.b64encode(item.read()).decode()}'></audio>"
    caption, *details = (html.escape(line) for line in _lines(item)[:3])
    asked = "".join(
        f"<dt>{html.escape(qa.ask)} <small>{html.escape(qa.type)}</small><dd>{html.escape(qa.answer)}"
        for qa in item.questions[:QUESTIONS]
    )
    more = len(item.questions) - QUESTIONS
    rest = f"<small>and {more} more questions</small>" if more > 0 else ""
    about = f"{caption}<br><small>{'<br>'.join(details)}</small><dl>{asked}</dl>{rest}"
    return f"<figure>{shown}<figcaption>{about}</figcaption></figure>"


def _lines(item: Item) -> list[str]:
    lines = [item.caption, f"{item.vendor} {item.category or item.subgroup or ''}", f"{item.split} [{item.concept}]"]
    return [*lines, *_asked(item)]


def _asked(item: Item) -> Iterator[str]:
    for question in item.questions[:1]:
        yield question.ask
        yield f"  {question.answer}"
