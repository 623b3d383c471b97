"""What is noted of media that a model made, when it is made: scoring runs no model, so that what has to be looked at or
heard is looked at once and kept in the answer. Decides who the witnesses are, which no score's generator has a part in:

* speech: what Whisper-base writes down;
* drawings: of a few concepts, the one whose real drawings are nearest, by EfficientNet-Lite0's features (frozen);
* clips: what moves how, by rule (`motions`).
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from polymodal import assets, corpora, media
from polymodal.content import Part
from polymodal.corpora.building import write
from polymodal.corpora.emoji import STYLES
from polymodal.evaluation.motions import motion
from polymodal.media.writing import encoded

DRAWN = ("noto", "twemoji", "flat", "3d")  # the styles of the real drawings
SIDE = 64  # pixels that real drawings are reduced to, as generators are shown them


def kept(part: Part, wanted: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """What a file of answers says of a made part; its medium is written to `folder`, by its hash."""
    noted: dict[str, Any] = {"type": part.type, **part.made}
    if part.media is None:
        return noted
    suffix, data = encoded(part.type, part.media)
    name = f"{hashlib.sha256(data).hexdigest()[:16]}.{suffix}"
    write(folder / name, data)
    noted["file"] = f"{folder.name}/{name}"
    if part.type == wanted.get("makes"):
        noted |= witnessed(part, wanted)
    return noted


def witnessed(part: Part, wanted: Mapping[str, Any]) -> dict[str, str]:
    """`heard` or `seen`, as `wanted["by"]` asks: `words`, `nearest` (of `wanted["among"]`) or `motion`."""
    by = wanted.get("by")
    if by == "words":
        return {"heard": transcribed([media.load_audio(part.media)])[0].strip()}
    if by == "nearest":
        return {"seen": nearest(media.load_image(part.media), wanted["among"])}
    if by == "motion":
        frames, _ = part.media
        return {"seen": motion(np.stack([np.asarray(frame) for frame in frames]))}
    return {}


@cache
def _whisper() -> Any:
    from transformers import AutoTokenizer, WhisperFeatureExtractor, WhisperForConditionalGeneration

    folder = assets.path("whisper-base")
    model = WhisperForConditionalGeneration.from_pretrained(folder, dtype="float32").eval()
    return model, WhisperFeatureExtractor.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)


@torch.no_grad()
def transcribed(sounds: Sequence[np.ndarray], batch: int = 8) -> list[str]:
    """What Whisper-base writes of recordings, mono, 16,000 samples per second: its own greedy transcripts."""
    model, extractor, tokenizer = _whisper()
    out = []
    for start in range(0, len(sounds), batch):
        features = extractor(sounds[start : start + batch], sampling_rate=16000, return_tensors="pt").input_features
        ids = model.generate(features, language="en", task="transcribe", num_beams=1, do_sample=False)
        out += tokenizer.batch_decode(ids, skip_special_tokens=True)
    return out


def nearest(picture: Image.Image, among: Sequence[str], without: str | None = None) -> str:
    """The concept whose real drawings, of the four styles, are nearest by the cosine of mean features. `without`: a style
    whose drawings are left out, which tells how real drawings of that style are judged."""
    shown = _features((picture,))[0]
    found = {concept: torch.stack([row for style, row in _real(concept) if style != without]).mean(0) for concept in among}
    return max(found, key=lambda concept: float(torch.cosine_similarity(shown, found[concept], dim=0)))


@cache
def _real(concept: str) -> tuple[tuple[str, Tensor], ...]:
    styles, pictures = [], []
    for item in _drawings().get(concept, ()):
        styles.append(STYLES[item.vendor])
        pictures.append(Image.open(io.BytesIO(item.read())))
    return tuple(zip(styles, _features(tuple(pictures)), strict=True))


@cache
def _drawings() -> dict[str, list[corpora.Item]]:
    found: dict[str, list[corpora.Item]] = {}
    for item in (item for name in ("emoji", "emoji-3d") for item in corpora.read(name)):
        if item.split == "train" and STYLES.get(item.vendor) in DRAWN:
            found.setdefault(item.concept, []).append(item)
    return found


@cache
def _eyes() -> Any:
    from polymodal.parts.encoders.efficientnet import EfficientNetLite

    return EfficientNetLite("asset:efficientnet-lite0", features="pooled").eval()


@torch.no_grad()
def _features(pictures: tuple[Image.Image, ...]) -> Tensor:
    """[n, 1280], of pictures reduced to SIDE."""
    eyes, small = _eyes(), Image.Resampling.LANCZOS
    rows = eyes([eyes.prepare(p.convert("RGB").resize((SIDE, SIDE), small)) for p in pictures]).tokens
    return torch.stack([row.reshape(-1, row.shape[-1]).mean(0) for row in rows])
