"""Items: one picture or recording with its text. Decides the format of a built corpus on disk.

    <root>/corpora/NAME/items.jsonl       one item per line, in the order of the builder
    <root>/corpora/NAME/quarantine.jsonl  what could not be made, with the reason
    <root>/corpora/NAME/manifest.json     counts, builder version, digests of the assets it was built from
    <root>/corpora/NAME/...               media files, named by `file` of the items

Pictures are PNG, RGB, 224 x 224 pixels; recordings are FLAC, mono, 16,000 samples per second.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from polymodal import assets
from polymodal.corpora.concepts import ConceptSplit
from polymodal.errors import DataError

SIDE = 224  # pixels of a picture
RATE = 16_000  # samples per second of a recording
CATEGORIES = (
    "bird",
    "mammal",
    "insect",
    "fish",
    "fruit",
    "vegetable",
    "flower",
    "tree",
    "vehicle",
    "clothing",
    "tool",
    "music",
)


class Item(BaseModel):
    """One media file and what is known about it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str  # unique in its corpus
    modality: Literal["image", "audio"]
    file: str  # relative to the folder of the corpus
    caption: str  # as its source words it
    concept: str  # the key that decides the split: `concepts.concept(caption)`
    category: str | None = None  # one of CATEGORIES
    tags: list[str] = Field(default_factory=list)
    group: str | None = None  # the source's own classification, coarse and fine
    subgroup: str | None = None
    source: str  # the corpus that made it
    vendor: str  # who drew or spoke it
    licence: str
    split: Literal["train", "val", "test", "held-out", "excluded"]
    concept_split: ConceptSplit  # by the concept alone: tells seen from unseen concepts in `held-out`
    text: str | None = None  # what is spoken
    voice: str | None = None
    path: Path = Field(default=Path(), exclude=True)  # absolute; set by `read`


def folder(name: str, root: Path | None = None) -> Path:
    """Where a corpus lies once it is built."""
    return (root or assets.root()).absolute() / "corpora" / name


def is_built(name: str, root: Path | None = None) -> bool:
    """Whether `read` would find the corpus."""
    return (folder(name, root) / "manifest.json").is_file()


def read(name: str, root: Path | None = None) -> list[Item]:
    """The items of a built corpus, with absolute `path`. Raises DataError if it is not built or a line is not an item."""
    home = _built(name, root)
    items = []
    with (home / "items.jsonl").open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                item = Item.model_validate_json(line)
            except ValidationError as error:
                first = error.errors()[0]
                field = ".".join(map(str, first["loc"])) or "line"
                raise DataError(f"{home / 'items.jsonl'}:{number}: {field}: {first['msg']}") from error
            items.append(item.model_copy(update={"path": home / item.file}))
    return items


def manifest(name: str, root: Path | None = None) -> dict[str, Any]:
    """The manifest of a built corpus. Raises DataError if it is not built."""
    home = _built(name, root)
    return json.loads((home / "manifest.json").read_text("utf-8"))


def count(items: Collection[Item], field: str) -> dict[str, int]:
    """How many items have each value of `field`, most frequent first; items without a value are left out."""
    found: dict[str, int] = {}
    for item in items:
        value = getattr(item, field)
        if value is not None:
            found[value] = found.get(value, 0) + 1
    return dict(sorted(found.items(), key=lambda pair: (-pair[1], pair[0])))


def _built(name: str, root: Path | None) -> Path:
    home = folder(name, root)
    if not is_built(name, root):
        raise DataError(f"corpus {name} is not built in {home}; build it with: polymodal corpus build {name}")
    return home
