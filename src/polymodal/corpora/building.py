"""Building a corpus. Decides that a corpus is absent or complete, and that a killed build continues where it stopped.

A builder only lists jobs: the items, and a function that makes their bytes. `run` does the rest, alike for all. Media
are made in <root>/staging/corpora-NAME/, one file each, and stay there when the process dies; in the end they are packed
into shards, and the finished folder is renamed into place. A staging folder made from other inputs (its `key` differs) is
thrown away, a corpus with the same key is kept.

What cannot be made is set aside with its reason in quarantine.jsonl and left out, never replaced; above the corpus's share
(2 % unless it states another) something is wrong with the source as a whole, and the build stops. Two items with equal
bytes but different concepts would teach a contradiction and could straddle the splits (emoji draw Norway's flag for Bouvet
Island too): the one with the shorter caption is kept.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from polymodal.assets.sources import sha256
from polymodal.corpora import items as format
from polymodal.corpora import shards
from polymodal.corpora.items import Item
from polymodal.errors import DataError, MediaError

MAX_QUARANTINED = 0.02  # share of the items
FORMAT = 2  # of the folder
Report = Callable[[int, int], None]  # items done, items in all


@dataclass(frozen=True)
class Job:
    """Items that are made together, and `make`, which yields the bytes of each in order. MediaError refuses them all."""

    items: Sequence[Item]
    make: Callable[[], Iterable[bytes]]


@dataclass(frozen=True)
class Recipe:
    """What decides the bytes of a corpus: change any field and it is built anew."""

    name: str
    version: int
    assets: dict[str, str] = field(default_factory=dict)  # asset -> digest
    seed: int = 0

    @property
    def key(self) -> str:
        known = [FORMAT, self.name, self.version, sorted(self.assets.items()), self.seed]
        return hashlib.sha256(json.dumps(known).encode()).hexdigest()


def run(
    recipe: Recipe,
    jobs: Callable[[], Sequence[Job]],
    root: Path,
    report: Report | None = None,
    share: float = MAX_QUARANTINED,
) -> Path:
    """Build a corpus and return its folder; at once if it is there already. `jobs` is called only if it is not.

    Raises DataError if more than `share` of its items cannot be made, or if two items share an id or a file.
    """
    from filelock import FileLock

    home = format.folder(recipe.name, root)
    staging = root.absolute() / "staging" / f"corpora-{recipe.name}"
    locks = root.absolute() / "locks"
    locks.mkdir(parents=True, exist_ok=True)
    with FileLock(locks / f"corpora-{recipe.name}.lock"):
        if _key(home / "manifest.json") != recipe.key:
            _prepare(staging, recipe.key)
            planned = jobs()
            _check_unique(recipe.name, planned)
            quarantined = _make(recipe.name, planned, staging, report or (lambda done, total: None), share)
            kept, dropped = _unambiguous(planned, quarantined, staging)
            packed = staging.with_name(f"{staging.name}-packed")
            _pack(recipe, kept, quarantined, dropped, staging, packed)
            _publish(packed, home)
        if staging.exists():
            shutil.rmtree(staging)
    return home


def write(path: Path, data: bytes) -> None:
    """Write a file in one step, making its folder: it is never seen half written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_bytes(data)
    os.replace(part, path)


def _prepare(staging: Path, key: str) -> None:
    if _key(staging / "build.json") != key and staging.exists():
        shutil.rmtree(staging)
    staging.mkdir(parents=True, exist_ok=True)
    write(staging / "build.json", json.dumps({"key": key}).encode())


def _make(name: str, jobs: Sequence[Job], staging: Path, report: Report, share: float) -> dict[str, str]:
    """Makes every file that is missing; returns the reason for each id that was refused."""
    total, done = sum(len(job.items) for job in jobs), 0
    refused: dict[str, str] = {}
    for job in jobs:
        files = [staging / item.file for item in job.items]
        if not all(file.is_file() for file in files):
            try:
                for file, data in zip(files, job.make(), strict=True):
                    write(file, data)
            except MediaError as error:
                refused |= {item.id: str(error) for item in job.items}
                if len(refused) > share * total:
                    raise DataError(
                        f"corpus {name}: stopped, {len(refused)} of {total} items could not be made, more than "
                        f"{share:.0%}; the last was {error}"
                    ) from error
        done += len(job.items)
        report(done, total)
    return refused


def _unambiguous(jobs: Sequence[Job], refused: dict[str, str], staging: Path) -> tuple[list[Item], int]:
    """The items without those that look like an item of another concept with a plainer name; how many those are."""
    made = [item for job in jobs for item in job.items if item.id not in refused]
    digests = [hashlib.sha256((staging / item.file).read_bytes()).digest() for item in made]
    plainest: dict[bytes, Item] = {}
    for item, digest in zip(made, digests, strict=True):
        if len(item.caption) < len(plainest.setdefault(digest, item).caption):
            plainest[digest] = item
    kept = [item for item, digest in zip(made, digests, strict=True) if item.concept == plainest[digest].concept]
    return kept, len(made) - len(kept)


def _pack(recipe: Recipe, kept: list[Item], refused: dict[str, str], dropped: int, staging: Path, packed: Path) -> None:
    """Fills the folder `packed`: shards, the lists, the manifest."""
    if packed.exists():
        shutil.rmtree(packed)  # of a killed run
    packed.mkdir()
    lines = [item.model_dump(mode="json", exclude_defaults=True) for item in kept]
    entries = [shards.Entry(item.split, item.file, line) for item, line in zip(kept, lines, strict=True)]
    places = shards.pack(entries, staging, packed)
    manifest: dict[str, Any] = {
        "name": recipe.name,
        "key": recipe.key,
        "version": recipe.version,
        "seed": recipe.seed,
        "assets": recipe.assets,
        "items": len(kept),
        "quarantined": len(refused),
        "ambiguous": dropped,
        "bytes": sum(place.size for place in places),
        "questions": sum(len(item.questions) for item in kept),
        "boxes": sum(len(item.boxes) for item in kept),
        **{each: format.count(kept, each) for each in ("modality", "split", "vendor", "category", "licence")},
        "shards": {shard.name: sha256(shard) for shard in sorted(packed.glob("*.tar"))},
    }
    index = (line | place._asdict() for line, place in zip(lines, places, strict=True))
    write(packed / "items.jsonl", _jsonl(index))
    write(packed / "quarantine.jsonl", _jsonl({"id": id, "reason": reason} for id, reason in refused.items()))
    write(packed / "manifest.json", (json.dumps(manifest, indent=1, ensure_ascii=False) + "\n").encode())


def _publish(packed: Path, home: Path) -> None:
    old = packed.with_name(packed.name + "-old")
    if old.exists():
        shutil.rmtree(old)  # of a killed run
    home.parent.mkdir(parents=True, exist_ok=True)
    if home.exists():
        os.replace(home, old)
    os.replace(packed, home)
    if old.exists():
        shutil.rmtree(old)


def _check_unique(name: str, jobs: Sequence[Job]) -> None:
    seen: set[str] = set()
    for item in (item for job in jobs for item in job.items):
        for label in (f"id {item.id}", f"file {item.file.rpartition('.')[0]}"):  # KEY.json lies beside it
            if label in seen:
                raise DataError(f"corpus {name}: two items have the {label}")
            seen.add(label)


def _key(file: Path) -> str | None:
    return json.loads(file.read_text("utf-8"))["key"] if file.is_file() else None


def _jsonl(rows: Iterable[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
