"""Shards: the media of a corpus in plain tar files. Decides how a corpus lies on a disk or in an object store.

    train-00000.tar  KEY.png KEY.json KEY.png KEY.json ...    about 64 MB each, the layout of WebDataset
    items.jsonl      one item per line in the order of the builder, with `shard`, `offset` and `size` of its medium

A shard holds one split, so that whoever streams `train-*.tar` meets nothing that is tested on; its items are shuffled
once, so that a stream with a small shuffle buffer, or none, is mixed. Our own reader needs neither: the index says where a
medium lies, and one range read fetches it, from a folder or from any URL that fsspec opens.
"""

from __future__ import annotations

import io
import json
import random
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from polymodal.errors import DataError

SHARD_BYTES = 64_000_000


class Place(NamedTuple):
    """Where the bytes of a medium lie. `shard`: absolute path or URL; `offset`, `size`: bytes."""

    shard: str
    offset: int
    size: int


class Entry(NamedTuple):
    """What is packed for one item: its medium, `file` in the folder of media, and its metadata."""

    split: str
    file: str
    metadata: dict[str, Any]


def read(place: Place) -> bytes:
    """The bytes at a place, by one range read. Raises DataError if the shard is gone or cut short."""
    data = fetch(place.shard, place.offset, place.offset + place.size)
    if len(data) < place.size:
        raise DataError(f"{place.shard}: is cut short ({len(data)} of {place.size} bytes); build it again")
    return data


def fetch(where: str, start: int | None = None, end: int | None = None) -> bytes:
    """The bytes of a file or URL from `start` to `end`. Raises DataError if it cannot be opened."""
    from fsspec.core import url_to_fs

    try:
        files, path = url_to_fs(where)
        return files.cat_file(path, start, end)
    except (OSError, ValueError, ImportError) as error:  # also: a protocol that fsspec lacks the package for
        reason = "there is no such file" if isinstance(error, FileNotFoundError) else error
        raise DataError(f"{where}: cannot be read ({reason})") from error


def pack(entries: Sequence[Entry], media: Path, folder: Path) -> list[Place]:
    """Write the entries, whose media lie in `media`, into shards in `folder`; their places, with bare names of shards."""
    shuffled = random.Random(0).sample(range(len(entries)), len(entries))
    found: dict[int, Place] = {}
    for split in sorted({entry.split for entry in entries}):
        chosen = [index for index in shuffled if entries[index].split == split]
        for number, indices in enumerate(_cut(entries, chosen, media)):
            name = f"{split}-{number:05d}.tar"
            _write([entries[index] for index in indices], media, folder / name)
            with tarfile.open(folder / name) as tar:
                lie = {member.name: (member.offset_data, member.size) for member in tar}
            found |= {i: Place(name, *lie[entries[i].file]) for i in indices}
    return [found[index] for index in range(len(entries))]


def _cut(entries: Sequence[Entry], indices: Sequence[int], media: Path) -> Iterator[list[int]]:
    """Runs of indices whose media are about SHARD_BYTES together."""
    run: list[int] = []
    size = 0
    for index in indices:
        run.append(index)
        size += (media / entries[index].file).stat().st_size
        if size >= SHARD_BYTES:
            yield run
            run, size = [], 0
    if run:
        yield run


def _write(entries: Sequence[Entry], media: Path, shard: Path) -> None:
    with tarfile.open(shard, "w", format=tarfile.PAX_FORMAT) as tar:
        for entry in entries:
            about = json.dumps(entry.metadata, ensure_ascii=False).encode()
            described = f"{entry.file.rpartition('.')[0]}.json"
            for name, data in ((entry.file, (media / entry.file).read_bytes()), (described, about)):
                member = tarfile.TarInfo(name)  # no time, no owner: equal items make equal shards
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
