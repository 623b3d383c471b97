"""A manual in DocBook's HTML as plain pages for the source `interleaved`. Decides what of a page is the document.

Kept is what a reader of the page reads: headings, paragraphs, tables, and figures between them. Left out are what the
stylesheet adds for browsing (the bars above and below, tables of contents, links to report a bug, the signs beside notes),
pictures of under SMALLEST pixels (icons in a line), and pages without any other picture: they are an index, or plain text,
of which there is no lack. Marks around single words are dropped, so that no reader takes them for ends of paragraphs.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from xml.etree import ElementTree

from polymodal.errors import AssetError

SMALLEST = 48  # pixels
_XHTML = "{http://www.w3.org/1999/xhtml}"
_BROWSING = {"navheader", "navfooter", "toc", "list-of-figures", "list-of-tables", "list-of-examples"}
_WORDS = {"acronym", "abbr", "span"}


def docbook(kept: Path, ready: Path) -> None:
    """Every page of `kept` that has a picture, and its pictures, below `ready` where they were.

    Raises AssetError if a page is not XHTML, names a picture that is missing, or none is left.
    """
    pages = 0
    for page in sorted(kept.rglob("*.html")):
        try:
            root = ElementTree.fromstring(page.read_bytes())
        except ElementTree.ParseError as error:
            raise AssetError(f"{page.name}: not a page of DocBook's XHTML ({error})") from error
        _plain(root, page)
        shown = [page.parent / image.attrib["src"] for image in root.iter("img")]
        if shown:
            place = ready / page.relative_to(kept)
            place.parent.mkdir(parents=True, exist_ok=True)
            body = root.find("body")
            place.write_text(ElementTree.tostring(root if body is None else body, "unicode", method="html"), "utf-8")
            for picture in shown:
                copy = ready / picture.relative_to(kept)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(picture, copy)
            pages += 1
    if not pages:
        raise AssetError("expected pages with pictures to convert, found none")


def _plain(parent: ElementTree.Element, page: Path) -> None:
    """Takes out of `parent` what is not the document; names become those of HTML."""
    parent.tag = parent.tag.removeprefix(_XHTML)
    for child in list(parent):
        _plain(child, page)
        if child.get("class") in _BROWSING or (child.tag == "img" and not _shows(page, child)):
            _replace(parent, child, [], child.tail)
        elif child.tag in _WORDS:
            _replace(parent, child, list(child), child.tail, child.text)


def _replace(
    parent: ElementTree.Element,
    child: ElementTree.Element,
    by: list[ElementTree.Element],
    tail: str | None,
    text: str | None = None,
) -> None:
    """`child` by what was in it: `text`, then the elements `by`, and behind them `tail`."""
    place = list(parent).index(child)
    parent.remove(child)
    _append(parent, place, text)
    for offset, element in enumerate(by):
        parent.insert(place + offset, element)
    _append(parent, place + len(by), tail)


def _append(parent: ElementTree.Element, place: int, text: str | None) -> None:
    """Text in front of the child at `place`."""
    if place:
        parent[place - 1].tail = (parent[place - 1].tail or "") + (text or "")
    else:
        parent.text = (parent.text or "") + (text or "")


def _shows(page: Path, image: ElementTree.Element) -> bool:
    """Whether a picture is worth showing. Raises AssetError if it is missing or is none."""
    from PIL import Image, UnidentifiedImageError

    if re.fullmatch(r"\[\w+\]", image.get("alt", "")):
        return False  # [Note], [Tip], ...
    source = image.get("src", "")
    try:
        with Image.open(page.parent / source) as picture:
            return max(picture.size) >= SMALLEST
    except (OSError, UnidentifiedImageError) as error:
        raise AssetError(f"{page.name}: the picture '{Path(source).name}' cannot be read") from error
