"""A folder of items with an embedding of each. Decides its format: the files as they are, `embeddings.safetensors`, and
`items.json`, which names each file and its sha256. Nothing is pickled, and what has changed since is not handed out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from polymodal import media
from polymodal.content import Part
from polymodal.errors import CheckpointError, DataError
from polymodal.parts.sources import locate, read_tensor, sha256

LIST, EMBEDDINGS = "items.json", "embeddings.safetensors"
MODALITIES = ("image", "audio", "video")
HEARD = 16_000  # samples per second of a decoded recording


@dataclass(frozen=True)
class Item:
    """`file`: in the folder. `caption`: what it shows, in words."""

    file: str
    caption: str | None = None


def build(folder: str | Path, modality: str, items: Sequence[Item], embed: Callable[[Sequence[Item]], Tensor]) -> None:
    """Make a store of files that lie in `folder`. `embed`: M items -> [M, Dg], by the encoder that the recipe will name.
    Raises `DataError` for a modality that cannot be made, no items, a file that is not there, or embeddings that are not
    as many, not finite or zero."""
    folder = Path(folder)
    if modality not in MODALITIES or not items:
        raise DataError(f"{folder}: a store has items, and is of {', '.join(MODALITIES)}, not {len(items)} of '{modality}'")
    for item in items:
        if not _inside(folder, item.file):
            raise DataError(f"{folder}: '{item.file}' is no file in it")
    found = embed(items).detach().float().cpu().contiguous()
    if found.ndim != 2 or len(found) != len(items) or not (found.isfinite().all() and found.abs().amax(1).all()):
        raise DataError(
            f"{folder}: {len(items)} items need as many embeddings, finite and not zero; got {list(found.shape)}"
        )
    save_file({"embeddings": found}, folder / EMBEDDINGS)
    listed = [{**asdict(item), "sha256": sha256(folder / item.file)} for item in items]
    told = {"format": 1, "modality": modality, "embeddings": sha256(folder / EMBEDDINGS), "items": listed}
    (folder / LIST).write_text(json.dumps(told, ensure_ascii=False, indent=1), encoding="utf-8")


class Store:
    """A store that `build` made, at a folder or `asset:NAME`. `items`, `embeddings` [M, Dg], `digest`: the sha256 of
    its list, in which are those of all else. Raises `CheckpointError` for what is no store, or damaged."""

    def __init__(self, path: str) -> None:
        self.folder = Path(locate(path))
        try:
            told = (self.folder / LIST).read_bytes()
            listed = json.loads(told)
            version, self.modality, pinned = listed["format"], listed["modality"], listed["embeddings"]
            self.items = [Item(item["file"], item["caption"]) for item in listed["items"]]
            self.pins = [item["sha256"] for item in listed["items"]]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CheckpointError(f"{self.folder / LIST}: is no list of a store ({error!r})") from error
        if version != 1 or self.modality not in MODALITIES:
            raise CheckpointError(f"{self.folder / LIST}: is of format {version!r} and of {self.modality!r}")
        self.embeddings = read_tensor(self.folder / EMBEDDINGS, "embeddings")
        if sha256(self.folder / EMBEDDINGS) != pinned or len(self.embeddings) != len(self.items):
            raise CheckpointError(f"{self.folder / EMBEDDINGS}: is not the one that its list names; build the store again")
        self.digest = hashlib.sha256(told).hexdigest()

    def item(self, number: int) -> Any:
        """One item as a `Part` takes it: a `PIL.Image`, (float32 samples, rate), or (pictures, frames per second). Raises
        `CheckpointError` for a file that is gone or has changed."""
        name = self.items[number].file
        if not _inside(self.folder, name):
            raise CheckpointError(f"{self.folder}: '{name}' is no file in it")
        data = (self.folder / name).read_bytes()
        if hashlib.sha256(data).hexdigest() != self.pins[number]:
            raise CheckpointError(f"{self.folder / name}: has changed since the store was built; build it again")
        found = media.load(Part(self.modality, media=data))
        if self.modality == "audio":
            return found, HEARD
        if self.modality == "video":
            return list(found.at(found.starts)), len(found.starts) / found.seconds
        return found


def _inside(folder: Path, name: str) -> bool:
    file = (folder / name).resolve()
    return file.is_relative_to(folder.resolve()) and file.is_file()
