"""Micro-batches on disk, for the one that broke a run. Decides that a loss which is not finite can be looked into: what
the model was given is kept as it was given, so that `read` and one forward show it again.

    FOLDER/PROCESS-MICROBATCH.json            names, sources, the loss, and whose each media item is
    FOLDER/PROCESS-MICROBATCH.safetensors     ids, masks, index map, and the encoders' inputs
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from polymodal.model.sequence import Batch, MediaItem

TENSORS = ("ids", "segments", "supervised", "index_map", "positions", "target", "target_mask")


def write(folder: Path, batches: Sequence[Batch], process: int, about: Sequence[dict[str, Any]]) -> None:
    """The micro-batches of one process. `about`: what else is to be said of each."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    for i, (batch, more) in enumerate(zip(batches, about, strict=True)):
        tensors = {name: getattr(batch, name) for name in TENSORS if getattr(batch, name) is not None}
        media = []
        for m, item in enumerate(batch.media):
            media.append({"modality": item.modality, "key": item.key, "length": item.length, "owner": batch.owner[m]})
            media[-1]["question"] = batch.questions[m]
            kept = {f"inputs.{key}": value for key, value in (item.inputs or {}).items()}
            if item.encoded is not None:
                kept["encoded"] = item.encoded
            tensors.update({f"media.{m}.{key}": value for key, value in kept.items()})
        tensors = {key: value.detach().cpu().clone().contiguous() for key, value in tensors.items()}
        save_file(tensors, folder / f"{process}-{i}.safetensors")
        about_it = {"process": process, "micro_batch": i, **more, "names": batch.names, "media": media}
        (folder / f"{process}-{i}.json").write_text(json.dumps(about_it, indent=1) + "\n", encoding="utf-8")


def read(file: Path) -> Batch:
    """A micro-batch that was written; either of its two files names it."""
    from safetensors.torch import load_file

    tensors = load_file(file.with_suffix(".safetensors"))
    about = json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))
    media = []
    for m, item in enumerate(about["media"]):
        own = {k.removeprefix(f"media.{m}."): v for k, v in tensors.items() if k.startswith(f"media.{m}.")}
        inputs = {k.removeprefix("inputs."): v for k, v in own.items() if k.startswith("inputs.")}
        media.append(MediaItem(item["modality"], item["key"], item["length"], inputs or None, own.get("encoded")))
    owner = [item["owner"] for item in about["media"]]
    questions = [item["question"] for item in about["media"]]
    given: dict[str, Any] = {name: tensors.get(name) for name in TENSORS}
    return Batch(
        **given,
        media=media,
        owner=owner,
        questions=questions,
        names=about["names"],
    )


def clear(folder: Path) -> None:
    """Without what an earlier attempt left."""
    shutil.rmtree(folder, ignore_errors=True)
