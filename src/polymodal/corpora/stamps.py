"""The corpora `stamps` and `photos12`: Tux Paint's rubber stamps with English captions. Decides which are the test.

`photos12` is a fixed list of 206 stamps that are photographs of things in 12 classes; it is only ever tested on.
`stamps` is all the others; those that show the same things are in it with the split `excluded`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from polymodal.corpora import pictures
from polymodal.corpora.building import Job
from polymodal.corpora.categories import of_stamp
from polymodal.corpora.concepts import Photo, concept, photos, split_of
from polymodal.corpora.items import Item
from polymodal.errors import DataError

VERSION = 1
LICENCE = "GPL-2.0"
VENDOR = "tuxpaint"
_SUFFIXES = (".png", ".svg")  # of a stamp in both forms the PNG is taken: it is what the photographs are


def jobs(stamps: Path) -> list[Job]:
    """One job per stamp with a picture and an English caption that is not in `photos12`. `stamps`: the folder of
    Tux Paint's categories. Raises DataError if there is none."""
    tested = {photo.file for photo in photos()}
    found = [job for file, caption in captioned(stamps) if (job := _stamp(stamps, file, caption, tested))]
    if not found:
        raise DataError(f"corpus stamps: no captioned stamp in {stamps}")
    return found


def photo_jobs(stamps: Path) -> list[Job]:
    """One job per photograph of the fixed list. Raises DataError if one is missing or captioned otherwise."""
    return [_photo(stamps, photo) for photo in photos()]


def _stamp(stamps: Path, file: Path, caption: str, tested: set[str]) -> Job | None:
    name = file.relative_to(stamps).as_posix()
    if name in tested:
        return None
    stem = name.removesuffix(file.suffix)
    key = concept(caption)
    item = _item("stamps", stem, caption, of_stamp(stem))
    split = split_of(key)
    return Job([item.model_copy(update={"split": split, "concept_split": split})], partial(_one, file))


def _photo(stamps: Path, photo: Photo) -> Job:
    file = stamps / photo.file
    caption = caption_of(file.with_suffix(".txt")) if file.is_file() else None
    if caption is None or concept(caption) != photo.concept:
        raise DataError(f"{file}: expected the photograph of '{photo.concept}', found {caption or 'none'}")
    item = _item("photos12", photo.file.removesuffix(file.suffix), caption, photo.category)
    return Job([item], partial(_one, file))


def _item(source: str, stem: str, caption: str, category: str | None) -> Item:
    folder = stem.rpartition("/")[0]
    return Item(
        id=stem,
        modality="image",
        file=f"{stem}.png",
        caption=caption,
        concept=concept(caption),
        category=category,
        group=stem.partition("/")[0],
        subgroup=folder,
        source=source,
        vendor=VENDOR,
        licence=LICENCE,
        split="test",
        concept_split="excluded",
    )


def _one(file: Path) -> Iterator[bytes]:
    yield pictures.from_file(file)


def captioned(stamps: Path) -> Iterator[tuple[Path, str]]:
    """(picture, caption) of every stamp that has both, by path. `stamps`: the folder of Tux Paint's categories."""
    for text in sorted(stamps.rglob("*.txt")):
        picture = next((file for suffix in _SUFFIXES if (file := text.with_suffix(suffix)).is_file()), None)
        caption = caption_of(text)
        if picture and caption:
            yield picture, caption


def caption_of(text: Path) -> str | None:
    """The English caption: the first line; the translations follow it as `fr.utf8=...`."""
    lines = text.read_text("utf-8", errors="replace").splitlines()
    caption = re.sub(r"\s+", " ", lines[0]).strip() if lines else ""
    return caption or None
