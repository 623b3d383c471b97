"""A cache of frozen encoders' features on disk. Decides that an encoder which does not learn runs once per item.

Append-only shards: a writer collects new features and writes a safetensors file of many items when it has enough, or when
it is told to `flush`. A shard is written whole under a name of its own and never changed, so any number of processes may
write at once without a lock, and a killed one loses only what it had not flushed. The shards' own headers are the index:
they are read at opening, the features only when they are asked for.

    folder / MODALITY-ENCODER-DTYPE / ID.safetensors        {item key: [N, De]}

Items are keyed by their bytes, folders by the encoder's weights, options and revision: another picture or another encoder
is another key, and nothing ever has to be invalidated.
"""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from polymodal.errors import DataError
from polymodal.model.modeling import MultimodalLM
from polymodal.model.sequence import MediaItem
from polymodal.parts.base import Encoder

FORMAT = "polymodal-features-1"
SHARD_BYTES = 64 * 2**20

Precision = Literal["float16", "float32"]


class FeatureCache:
    """The features of a model's frozen encoders. `dtype`: what is kept; `float32` keeps the bits that the encoder gave,
    `float16` eleven of their digits in half the space."""

    def __init__(self, folder: Path, model: MultimodalLM, dtype: Precision = "float16") -> None:
        self.model, self.dtype = model, {"float16": torch.float16, "float32": torch.float32}[dtype]
        self.encoders = {name: encoder_key(part.encoder) for name, part in model.modalities.items()}
        self.folders = {name: folder / f"{name}-{key}-{dtype}" for name, key in self.encoders.items()}
        self._index = {name: self._scan(name) for name in self.folders}
        self._buffers: dict[str, dict[str, Tensor]] = {name: {} for name in self.folders}
        self._waiting = 0  # bytes in the buffers
        self._shards: dict[Path, Any] = {}  # opened at the first read from each

    def has(self, modality: str, key: str) -> bool:
        return key in self._buffers[modality] or key in self._index[modality]

    def get(self, modality: str, key: str) -> Tensor | None:
        """[N, De] in float32, or None."""
        if key in self._buffers[modality]:
            return self._buffers[modality][key].float()
        file = self._index[modality].get(key)
        if file is None:
            return None
        if file not in self._shards:
            self._shards[file] = _open(file)
        return self._shards[file].get_tensor(key).float()

    def put(self, item: MediaItem, features: Tensor) -> Tensor:
        """Keep the features [N, De] of an item and return them as `get` will. Raises `DataError` where they overflow."""
        kept = features.detach().to("cpu", self.dtype, copy=True).contiguous()
        if not torch.isfinite(kept).all():
            raise DataError(
                f"{item.modality} {item.key[:12]}: features up to {float(features.abs().max()):.3g} do not fit the cache's "
                f"{str(self.dtype).removeprefix('torch.')}; try run.cache_dtype: float32"
            )
        self._buffers[item.modality][item.key] = kept
        self._waiting += kept.nbytes
        if self._waiting >= SHARD_BYTES:
            self.flush()
        return kept.float()

    def flush(self) -> None:
        """Write what has been put and is not on disk yet."""
        for modality in self._buffers:
            self._write(modality)
        self._waiting = 0

    def estimate(self, items: Iterable[MediaItem]) -> int:
        """Bytes that the features of these prepared items will take on disk; what is there already takes none."""
        lacking = {(item.modality, item.key): item for item in items if not self.has(item.modality, item.key)}
        total = 0
        for item in lacking.values():
            encoder = self.model.modalities[item.modality].encoder
            total += encoder.length(item.inputs or {}) * encoder.width * self.dtype.itemsize
        return total

    def items(self) -> CachedItems:
        return CachedItems(self)

    def _scan(self, modality: str) -> dict[str, Path]:
        """{item key: the shard that holds it}."""
        wanted = {"format": FORMAT, "encoder": self.encoders[modality]}
        index: dict[str, Path] = {}
        for file in sorted(self.folders[modality].glob("*.safetensors")):
            shard = _open(file)
            if not wanted.items() <= (shard.metadata() or {}).items():
                raise DataError(f"{file} is no shard of this feature cache: move it elsewhere")
            index.update(dict.fromkeys(shard.keys(), file))
        return index

    def _write(self, modality: str) -> None:
        from safetensors.torch import save_file

        folder, buffer = self.folders[modality], self._buffers[modality]
        if not buffer:
            return
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / f"{uuid.uuid4().hex}.safetensors"
        staging = file.with_suffix(".part")
        save_file(buffer, staging, metadata={"format": FORMAT, "encoder": self.encoders[modality]})
        os.replace(staging, file)
        self._index[modality].update(dict.fromkeys(buffer, file))
        self._buffers[modality] = {}


class CachedItems(dict[str, MediaItem]):
    """Media items by fingerprint, for the processor: an item whose features are kept is neither decoded nor prepared."""

    def __init__(self, cache: FeatureCache) -> None:
        super().__init__()
        self.cache = cache

    def __contains__(self, key: object) -> bool:
        if super().__contains__(key):
            return True
        for name, modality in self.cache.model.modalities.items():
            features = self.cache.get(name, str(key))
            if features is not None:
                self[str(key)] = MediaItem(name, str(key), modality.projected(len(features)), encoded=features)
                return True
        return False


def encoder_key(encoder: Encoder) -> str:
    """Hex digest of an encoder's options, every weight, and the revisions of it and of the encoders in it."""
    digest = hashlib.sha256(json.dumps(encoder.options, sort_keys=True, default=str).encode())
    for name, part in encoder.named_modules():
        if isinstance(part, Encoder) and part.revision > 1:  # the first changes no key that caches have
            digest.update(f"{name} revision {part.revision}".lstrip().encode())
    for name, tensor in sorted(encoder.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]


def _open(file: Path) -> Any:
    """A shard, mapped into memory: its header is read, its features are not."""
    from safetensors import SafetensorError, safe_open

    try:
        return safe_open(file, framework="pt")
    except (OSError, SafetensorError) as error:
        raise DataError(f"{file} is no complete shard of features ({error}): delete it, they are encoded again") from error
