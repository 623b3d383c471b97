"""A cache of frozen encoders' features on disk. Decides that an encoder which does not learn runs once per item.

One safetensors file per item in float16, written atomically, keyed by the item's bytes and by the encoder's own weights
and options: another picture or another encoder is another key. Nothing has to be filled in advance; a killed run keeps
what it has.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import torch
from torch import Tensor

from polymodal.model.modeling import MultimodalLM
from polymodal.model.sequence import MediaItem
from polymodal.parts.base import Encoder


class FeatureCache:
    """`folder` / encoder key / item key. Use with encoders that do not train."""

    def __init__(self, folder: Path, model: MultimodalLM) -> None:
        self.folders = {name: folder / f"{name}-{encoder_key(m.encoder)}" for name, m in model.modalities.items()}
        for path in self.folders.values():
            path.mkdir(parents=True, exist_ok=True)

    def get(self, modality: str, key: str) -> Tensor | None:
        """[N, De] in float32, or None."""
        from safetensors.torch import load_file

        file = self._file(modality, key)
        return load_file(file)["features"].float() if file.is_file() else None

    def put(self, item: MediaItem, features: Tensor) -> Tensor:
        """Keep the features [N, De] of an item and return them as `get` will."""
        from safetensors.torch import save_file

        file = self._file(item.modality, item.key)
        file.parent.mkdir(exist_ok=True)
        staging = file.with_suffix(f".{os.getpid()}.part")
        rounded = features.detach().to("cpu", torch.float16).contiguous()
        save_file({"features": rounded}, staging)
        os.replace(staging, file)
        return rounded.float()

    def items(self, model: MultimodalLM) -> CachedItems:
        return CachedItems(self, model)

    def _file(self, modality: str, key: str) -> Path:
        return self.folders[modality] / key[:2] / f"{key}.safetensors"


class CachedItems(dict[str, MediaItem]):
    """Media items by fingerprint, for the processor: an item whose features are on disk is neither decoded nor prepared."""

    def __init__(self, cache: FeatureCache, model: MultimodalLM) -> None:
        super().__init__()
        self.cache, self.model = cache, model

    def __contains__(self, key: object) -> bool:
        if super().__contains__(key):
            return True
        for name, modality in self.model.modalities.items():
            features = self.cache.get(name, str(key))
            if features is not None:
                self[str(key)] = MediaItem(name, str(key), modality.projected(len(features)), encoded=features)
                return True
        return False


def encoder_key(encoder: Encoder) -> str:
    """Hex digest of an encoder's options and every weight."""
    digest = hashlib.sha256(json.dumps(encoder.options, sort_keys=True, default=str).encode())
    for name, tensor in sorted(encoder.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]
