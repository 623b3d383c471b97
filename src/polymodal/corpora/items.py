"""Items: one medium with its text. Decides the format of a built corpus.

    <root>/corpora/NAME/items.jsonl       one item per line, in the order of the builder, and where its medium lies
    <root>/corpora/NAME/*.tar             the media and the items again, as WebDataset has them; see shards.py
    <root>/corpora/NAME/quarantine.jsonl  what could not be made, with the reason
    <root>/corpora/NAME/manifest.json     counts, builder version, digests of the shards and of the assets it was built from

Drawings are PNG, RGB, 224 x 224 pixels; maps and pictures with questions are PNG of their own size; recordings are FLAC,
mono, 16,000 samples per second; motion is safetensors, [T, C] in SI units, with rate, units and channels in its metadata;
points are safetensors, [1024, 6]: metres and colour.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from polymodal import assets
from polymodal.corpora import shards
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


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class QA(_Strict):
    """A question about the item's medium and its answer. `type`: what it takes to answer, such as `count`, for scores
    by type; `options`: the answers it offers, `answer` among them."""

    ask: str = Field(min_length=1)
    answer: str = Field(min_length=1)
    type: str = Field(min_length=1)
    options: list[str] | None = None

    @model_validator(mode="after")
    def _offered(self) -> QA:
        if self.options is not None and self.answer not in self.options:
            raise ValueError(f"the answer '{self.answer}' is not among the options")
        return self


class Box(_Strict):
    """Where something is in a picture. `xyxy`: left, top, right, bottom in pixels; right and bottom are the first column
    and row outside, so that the width is right - left."""

    name: str = Field(min_length=1)
    xyxy: tuple[int, int, int, int]

    @model_validator(mode="after")
    def _ordered(self) -> Box:
        left, top, right, bottom = self.xyxy
        if not (0 <= left < right and 0 <= top < bottom):
            raise ValueError(f"{self.xyxy} is no box: left < right and top < bottom are wanted, none below 0")
        return self


class Item(_Strict):
    """One medium and what is known about it."""

    id: str  # unique in its corpus
    modality: Literal[  # content.PART_TYPES
        "text", "image", "audio", "video", "points", "imu", "depth", "thermal", "segmentation"
    ]
    file: str = Field(pattern=r"^([^/]+/)*[^/.]+\.[a-z0-9]+$")  # in its shard: KEY.suffix, as WebDataset splits it
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
    text: str | None = None  # what is spoken or written
    voice: str | None = None
    questions: list[QA] = Field(default_factory=list)
    boxes: list[Box] = Field(default_factory=list)
    place: shards.Place | None = Field(default=None, exclude=True)  # set by `read` of a corpus

    def read(self) -> bytes:
        """The bytes of the medium, from wherever it lies. Raises DataError if they cannot be read."""
        if self.place is None:
            raise DataError(f"{self.id}: belongs to no built corpus, so its {self.modality} is nowhere")
        return shards.read(self.place)


def folder(name: str, root: Path | None = None) -> Path:
    """Where a corpus lies once it is built here."""
    return (root or assets.root()).absolute() / "corpora" / name


def is_built(name: str, root: Path | None = None) -> bool:
    """Whether `read` would find the corpus."""
    return (folder(name, root) / "manifest.json").is_file()


def read(name: str, root: Path | None = None) -> list[Item]:
    """The items of a corpus, which know where their media lie. `name`: of a corpus that is built here, or the URL of the
    folder of one that lies elsewhere (`s3://BUCKET/emoji`; whatever fsspec opens).

    Raises DataError if it is not built, cannot be read, or a line is not an item.
    """
    home = name.rstrip("/") if "://" in name else str(_built(name, root))
    items = []
    try:
        lines = shards.fetch(f"{home}/items.jsonl").decode("utf-8").rstrip("\n").split("\n")  # at no other separator
    except UnicodeDecodeError as error:
        raise DataError(f"{home}/items.jsonl: not UTF-8 at byte {error.start}") from error
    for number, line in enumerate(lines, 1):
        try:
            fields = json.loads(line)
            place = shards.Place(f"{home}/{fields.pop('shard')}", fields.pop("offset"), fields.pop("size"))
            items.append(Item.model_validate({**fields, "place": place}))
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(map(str, first["loc"])) or "line"
            raise DataError(f"{home}/items.jsonl:{number}: {field}: {first['msg']}") from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(f"{home}/items.jsonl:{number}: not an item with its place ({error})") from error
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
