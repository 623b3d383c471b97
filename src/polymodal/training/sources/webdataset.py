"""WebDataset: samples in tar files, found by the name that their files share. Decides that a shard is read by offset.

`cat.jpg`, `cat.txt` and `cat.json` of one shard are one sample: the key is the path up to the first dot of the file's name,
the rest is the column. The library `webdataset` streams shards in their own order; a training run that resumes to the bit
needs the sample at a place, so each shard's headers are read once and its files by offset from then on. Shards lie on this
machine or behind any URL that fsspec opens.
"""

from __future__ import annotations

import json
import os
import posixpath
import random
import re
import tarfile
from dataclasses import dataclass, field
from typing import Any, BinaryIO, cast

from polymodal.content import Part
from polymodal.corpora.shards import fetch
from polymodal.errors import DataError, RecipeError
from polymodal.training.data import Sample
from polymodal.training.sources.captions import CAPTION
from polymodal.training.sources.dialogues import FIELDS, ROLES, dialogue, listed
from polymodal.training.sources.paths import MODALITY
from polymodal.training.sources.templates import exchange, validated

_BRACES = re.compile(r"\{([^{}]*)\}")


@dataclass
class Entry:
    """One sample of a shard. `files`: {column: (offset, size)} in bytes."""

    shard: str
    key: str
    files: dict[str, tuple[int, int]] = field(default_factory=dict)


class WebDatasetSource:
    """Shards of `path`, in which `{000..009}` and `{a,b}` stand for several. Media are columns such as `jpg` or `wav`;
    `txt` is `{caption}`, `cls` is `{class}`, and the entries of an object in `json` are fields by their names. Where `json`
    has `conversations` or `messages`, with placeholders as in ShareGPT's, a sample is that conversation; otherwise it is
    its media, asked one of the `templates`, or answered by their caption alone. Raises `DataError` naming shard and key."""

    def __init__(self, path: str, templates: list[dict[str, str]] | None = None) -> None:
        self.templates = validated(
            templates or CAPTION, None, "data 'webdataset'"
        )  # what a shard's JSON holds is known later
        self.entries = [entry for shard in expand(os.path.expanduser(path)) for entry in scan(shard)]
        if not self.entries:
            raise DataError(f"{path}: holds no sample")

    def __len__(self) -> int:
        return len(self.entries)

    def sample(self, index: int, rng: random.Random) -> Sample:
        entry = self.entries[index]
        name = f"{posixpath.basename(entry.shard)}:{entry.key}"
        columns = read(entry, name)
        fields = _fields(columns, name)
        media: dict[str, list[Any]] = {modality: [] for modality in FIELDS}
        for column, data in columns.items():
            if modality := MODALITY.get(column.rpartition(".")[2]):
                media[modality].append(data)
        if "conversations" in fields or "messages" in fields:
            turns = listed(fields, ("conversations", "messages"), name)
            return Sample(dialogue(turns, media, name, ROLES), name)
        parts = [Part(modality, media=item) for modality, items in media.items() for item in items]
        if not parts:
            raise DataError(f"{name}: no column is media (it has: {', '.join(columns)})")
        return Sample(exchange(self.templates, fields, parts, rng, name), name)


def expand(path: str) -> list[str]:
    """`a-{00..02}.tar` -> `a-00.tar`, `a-01.tar`, `a-02.tar`; `{x,y}` likewise. Raises `RecipeError` for other braces."""
    match = _BRACES.search(path)
    if match is None:
        return [path]
    first, dots, last = match[1].partition("..")
    if dots and first.isdigit() and last.isdigit() and int(first) <= int(last):
        values = [str(n).zfill(len(first)) for n in range(int(first), int(last) + 1)]
    elif "," in match[1]:
        values = match[1].split(",")
    else:
        raise RecipeError(f"data path '{path}': '{match[0]}' is neither a range such as {{000..009}} nor a list {{a,b}}")
    return [shard for value in values for shard in expand(path[: match.start()] + value + path[match.end() :])]


def scan(shard: str) -> list[Entry]:
    """The samples of a shard by its headers alone, in their order. Files of a sample stand next to each other; a key that
    comes again later is another sample. Raises `DataError`."""
    entries: list[Entry] = []
    with _open(shard) as stream:
        try:
            with tarfile.open(fileobj=stream, mode="r:") as tar:
                for member in tar:
                    folder, file = posixpath.split(member.name)
                    stem, dot, column = file.partition(".")
                    if not member.isfile() or not dot or not stem:
                        continue
                    key = posixpath.join(folder, stem)
                    if not entries or entries[-1].key != key:
                        entries.append(Entry(shard, key))
                    if column.lower() in entries[-1].files:
                        raise DataError(f"{posixpath.basename(shard)}:{key}: has two files '{column}'")
                    entries[-1].files[column.lower()] = member.offset_data, member.size
            stream.seek(-tarfile.BLOCKSIZE, 2)
            if any(stream.read()):  # tarfile takes a header that is cut short for the end
                raise tarfile.ReadError("its last block is not empty")
        except tarfile.TarError as error:
            hint = "; unpack a compressed shard" if shard.endswith(("gz", "bz2", "xz", "zst")) else ""
            raise DataError(f"{shard}: is not a tar file, or is cut short ({error}){hint}") from error
    return entries


def read(entry: Entry, name: str) -> dict[str, bytes]:
    """The files of a sample by column, by one range read. Raises `DataError` if the shard is shorter than its headers."""
    start = min(offset for offset, _ in entry.files.values())
    data = fetch(entry.shard, start, max(offset + size for offset, size in entry.files.values()))
    out = {column: data[offset - start :][:size] for column, (offset, size) in entry.files.items()}
    for column, (_, size) in entry.files.items():
        if len(out[column]) < size:
            raise DataError(f"{name}: '{column}' holds {len(out[column])} of {size} bytes; the shard is cut short")
    return out


def _open(shard: str) -> BinaryIO:
    import fsspec

    try:
        return cast(BinaryIO, fsspec.open(shard, "rb").open())
    except (OSError, ValueError, ImportError) as error:  # a protocol that fsspec does not know, or lacks the package for
        reason = "there is no such file" if isinstance(error, FileNotFoundError) else error
        raise DataError(f"{shard}: cannot be opened ({reason})") from error


def _fields(columns: dict[str, bytes], name: str) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for column, data in columns.items():
        try:
            if column in ("txt", "cls"):
                fields["caption" if column == "txt" else "class"] = data.decode("utf-8-sig").strip() or None
            elif column == "json":
                found = json.loads(data)
                if not isinstance(found, dict):
                    raise ValueError("it is no object")
                turns = {key: found[key] for key in ("conversations", "messages") if key in found}
                fields |= {key: str(value) for key, value in found.items() if isinstance(value, (str, int, float))} | turns
        except (ValueError, RecursionError) as error:
            raise DataError(f"{name}: its '{column}' cannot be read ({error})") from error
    return fields
