"""The corpus `openclipart`: drawings by hundreds of people, nearly all in the public domain. Decides which titles count.

Titles and keywords are what the artists typed. A third is the name of a collection ("Part of the Flat Icon Collection")
or of another drawing of the same artist, and many are Italian. What a title says must be understood before it may decide
a split, because "Anatra" shows a duck as "duck" does. So a drawing is taken only if half of the words of its title (of its
file's name, where many files share the title) are English: words of emojibase, or the drawing's own keywords. The one
prolific artist who writes Italian is left out, and so is the folder `unsorted`, where the rest of his work is. A drawing
is excluded if its title or a keyword names, or has words in a row that name, what a test photograph shows.

Files that look the same are taken once, the one with the shortest caption, before anything is split: the set has numbered
variants, and copies in several folders.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from xml.etree import ElementTree

from polymodal.corpora import pictures
from polymodal.corpora.building import Job
from polymodal.corpora.categories import of_clipart
from polymodal.corpora.concepts import concept, exclusions, phrases, singular, split_of
from polymodal.corpora.items import Item
from polymodal.errors import DataError, MediaError

VERSION = 1
ASSETS = ("openclipart", "emojibase")
SHARED = 8  # files with one title, from which on it is that of a collection
LONGEST = 6  # words of a caption
_COLLECTIONS = (
    *("gramastar", "part of the flat", "lemon svg", "etiquette icons", "aiga_symbol", "svg gradient", "various cliparts"),
    *("svg road signs", "blueberry", "untitled", "card", "drawing", "plastik", "gold-theme"),
)
_ITALIAN = "archit"  # in the name of the file or a keyword: Architetto Francesco Rollandin
_SILENT = frozenset(("the", "and", "with", "for", "from"))
_CC = "{http://web.resource.org/cc/}"
_DC = "{http://purl.org/dc/elements/1.1/}"
_RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"


@dataclass(frozen=True)
class Drawing:
    """A file with what its RDF says. `name`: its path below svg/, without the suffix."""

    name: str
    file: Path
    title: str
    keywords: tuple[str, ...]
    licence: str


def jobs(folders: Mapping[str, Path]) -> list[Job]:
    """One job per drawing that is taken. `folders`: of ASSETS. Raises DataError if there is none."""
    home = folders["openclipart"] / "svg"
    if not home.is_dir():
        raise DataError(f"corpus openclipart: no folder {home}")
    drawings = [drawing for file in sorted(home.rglob("*.svg")) if (drawing := _read(home, file))]
    taken = _distinct(captioned(drawings, _english(folders["emojibase"])))
    if not taken:
        raise DataError(f"corpus openclipart: no drawing in {home} has a title that can be believed")
    return [Job([_item(drawing, caption)], partial(_one, drawing)) for drawing, caption in taken]


def captioned(drawings: Collection[Drawing], english: Collection[str]) -> list[tuple[Drawing, str]]:
    """The drawings whose caption is understood, with it. `english`: words that are."""
    shared = Counter(drawing.title.lower() for drawing in drawings)
    found = []
    for drawing in drawings:
        title = drawing.title
        if shared[title.lower()] >= SHARED or title.lower().startswith("clipart by"):
            title = drawing.name.rpartition("/")[2]
        caption = clean(title)
        own = {word for text in drawing.keywords for word in _words(text)}
        words = _words(caption)
        known = sum(word in english or singular(word) in english or word in own for word in words)
        if 0 < len(words) <= LONGEST and 2 * known >= len(words):
            flag = "flag" in drawing.keywords and "flag" not in caption.lower()
            found.append((drawing, f"flag: {caption}" if flag else caption))
    return found


def clean(title: str) -> str:
    """A title without what numbers and credits the drawing.

    >>> clean("lcd_monitor_02 (B and W)"), clean("Dog 01 | side")
    ('lcd monitor', 'Dog')
    """
    text = re.sub(r"\([^)]*\)?|\|.*|- rpg map elements", " ", title, flags=re.IGNORECASE)
    text = re.sub(r"[_\d]+", " ", text)
    text = re.sub(r"(?<=\s)[b-z](?=\s|$)", " ", f" {text}", flags=re.IGNORECASE)
    return " ".join(text.split()).strip(" -.,#")


def _english(emojibase: Path) -> set[str]:
    entries = json.loads((emojibase / "en" / "data.json").read_text("utf-8"))
    words = {word for entry in entries for text in (entry["label"], *entry.get("tags", ())) for word in _words(text)}
    return words | {singular(word) for word in words}


def _words(text: str) -> list[str]:
    return [word for word in re.findall(r"[a-z]+", text.lower()) if len(word) > 2 and word not in _SILENT]


def _distinct(captioned: Collection[tuple[Drawing, str]]) -> list[tuple[Drawing, str]]:
    """One drawing of each look, in their order. What cannot be rendered is kept: the build counts it."""
    seen: dict[int | str, tuple[Drawing, str]] = {}
    for drawing, caption in captioned:
        try:
            picture = pictures.rendered(drawing.file.read_text("utf-8", errors="replace"), drawing.name, 96)
            look: int | str = pictures.looks(picture.crop(pictures.drawn_box(picture, drawing.name)))
        except MediaError:
            look = drawing.name
        if len(caption) < len(seen.setdefault(look, (drawing, caption))[1]):
            seen[look] = (drawing, caption)
    return list(seen.values())


def _item(drawing: Drawing, caption: str) -> Item:
    key = concept(caption)
    shown = {phrase for text in (caption, *drawing.keywords) for phrase in phrases(text)}
    split = "excluded" if shown & exclusions() else split_of(key)
    folder = drawing.name.rpartition("/")[0]
    return Item(
        id=drawing.name,
        modality="image",
        file=f"{drawing.name.replace('.', '-')}.png",
        caption=caption,
        concept=key,
        category=of_clipart(drawing.name, caption),
        tags=list(drawing.keywords),
        group=folder.partition("/")[0],
        subgroup=folder,
        source="openclipart",
        vendor="openclipart",
        licence=drawing.licence,
        split=split,
        concept_split=split,
    )


def _one(drawing: Drawing) -> Iterator[bytes]:
    yield pictures.cropped(drawing.file.read_text("utf-8", errors="replace"), drawing.name)


def _read(home: Path, file: Path) -> Drawing | None:
    """A drawing, or None without a title of its own."""
    name = file.relative_to(home).with_suffix("").as_posix()
    try:
        work = ElementTree.parse(file).getroot().find(f".//{_CC}Work")
    except ElementTree.ParseError:
        return None
    title = (work.findtext(f"{_DC}title") or "").strip() if work is not None else ""
    if work is None or not title or title.lower().startswith(_COLLECTIONS) or name.startswith(("special/", "unsorted/")):
        return None
    subject, licence = work.find(f"{_DC}subject"), work.find(f"{_CC}license")
    said = [(entry.text or "").strip().lower() for entry in subject.iter(f"{_RDF}li")] if subject is not None else []
    keywords = dict.fromkeys(word for word in said if word and not re.match(r"hash|0x|unsorted", word))
    if any(_ITALIAN in text for text in (name, *keywords)):
        return None
    terms = licence.get(f"{_RDF}resource", "") if licence is not None else ""
    return Drawing(name, file, title, tuple(keywords), "GPL-2.0" if "GPL" in terms else "public domain")
