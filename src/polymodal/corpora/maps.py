"""The corpus `maps`: 154 maps with named regions, from KGeography. Decides how a place in a picture is asked for and told.

Each region of a map has a colour of its own, so its box is exact. A box is written as Shikra writes it (arXiv 2306.15195):
[left, top, right, bottom] as shares of the picture's width and height, two digits. Regions under SMALLEST of a side of the
map have a box but no questions: an encoder of 224 pixels sees nothing there. Splits are by map, and two maps of one country
are one concept.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from xml.etree import ElementTree

from polymodal.corpora import pictures
from polymodal.corpora.building import Job
from polymodal.corpora.concepts import concept, split_of
from polymodal.corpora.items import QA, Box, Item
from polymodal.errors import DataError, MediaError

VERSION = 1
ASSETS = ("kgeography",)
LICENCE = "GPL-2.0-or-later"
SMALLEST = 0.04  # share of the map's width or height
_ASKED = (None, "no", "allowClickMode")  # values of <ignore> of regions that have a name of their own


@dataclass(frozen=True)
class Region:
    """A named region. `box`: left, top, right, bottom in pixels."""

    name: str
    capital: str | None
    box: tuple[int, int, int, int]


def jobs(folders: Mapping[str, Path]) -> list[Job]:
    """One job per map. `folders`: of ASSETS. Raises DataError if there is none, or one lacks its picture."""
    found = [_job(file) for file in sorted(folders["kgeography"].glob("*.kgm"))]
    if not found:
        raise DataError(f"corpus maps: no map in {folders['kgeography']}")
    return found


def _job(file: Path) -> Job:
    try:
        root = ElementTree.parse(file).getroot()
        name, picture = (root.findtext(tag, "") for tag in ("name", "mapFile"))
        size, regions = read_regions(root, file.with_name(picture))
    except (ElementTree.ParseError, MediaError, ValueError) as error:
        raise DataError(f"corpus maps: {file.name} is no map with its picture ({error})") from error
    key = concept(re.sub(r"\s(by|districts|provinces|regions)\b.*", "", name, flags=re.IGNORECASE))
    split = split_of(key)
    item = Item(
        id=file.stem,
        modality="image",
        file=f"{file.stem.replace('.', '-')}.png",
        caption=f"map of {name}",
        concept=key,
        group="map",
        source="maps",
        vendor="kgeography",
        licence=LICENCE,
        split=split,
        concept_split=split,
        questions=[question for region in regions for question in ask(region, size)],
        boxes=[Box(name=region.name, xyxy=region.box) for region in regions],
    )
    return Job([item], partial(_one, file.with_name(picture)))


def read_regions(root: ElementTree.Element, picture: Path) -> tuple[tuple[int, int], list[Region]]:
    """Width and height of a map's picture, and its named regions that can be seen, in their order."""
    import numpy as np

    from polymodal.media.image import load_image

    pixels = np.asarray(load_image(picture), np.int64)
    codes = pixels[..., 0] << 16 | pixels[..., 1] << 8 | pixels[..., 2]
    regions = []
    for entry in root.iter("division"):
        if entry.findtext("ignore") in _ASKED and (name := (entry.findtext("name") or "").strip()):
            red, green, blue = (int(entry.findtext(f"color/{part}", "")) for part in ("red", "green", "blue"))
            rows, columns = np.nonzero(codes == (red << 16 | green << 8 | blue))
            if len(rows):
                box = (int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1)
                regions.append(Region(name, entry.findtext("capital") or None, box))
    height, width = codes.shape
    return (width, height), regions


def ask(region: Region, size: tuple[int, int]) -> Iterator[QA]:
    """What is asked about a region of a map of `size` (width, height); nothing if it is too small."""
    left, top, right, bottom = region.box
    width, height = size
    if right - left < SMALLEST * width or bottom - top < SMALLEST * height:
        return
    box = shares(region.box, size)
    place = _third((left + right) / 2 / width, ("left", "center", "right"))
    level = _third((top + bottom) / 2 / height, ("top", "middle", "bottom"))
    where = {"middle center": "center"}.get(f"{level} {place}", f"{level} {place}")
    yield QA(ask=f"Where is {region.name}? Answer with a box.", answer=box, type="box")
    yield QA(ask=f"In which part of the map is {region.name}?", answer=where, type="place")
    yield QA(ask=f"What is at {box}?", answer=region.name, type="region")
    if region.capital:
        yield QA(ask=f"What is the capital of the region at {box}?", answer=region.capital, type="capital")


def shares(box: tuple[int, int, int, int], size: tuple[int, int]) -> str:
    """A box in pixels as text.

    >>> shares((93, 167, 178, 260), (500, 356))
    '[0.19, 0.47, 0.36, 0.73]'
    """
    return f"[{', '.join(f'{value / size[side % 2]:.2f}' for side, value in enumerate(box))}]"


def _third(share: float, names: tuple[str, str, str]) -> str:
    return names[min(int(3 * share), 2)]


def _one(file: Path) -> Iterator[bytes]:
    yield pictures.as_is(file)
