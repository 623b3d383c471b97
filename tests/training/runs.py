"""Tiny training runs: a JSONL of conversations about pictures and recordings, and recipes over it."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import soundfile
import torch
from safetensors.torch import load_file

from polymodal.model.modeling import MultimodalLM
from polymodal.training.loop import train
from polymodal.training.stage import TrainRecipe, train_recipe
from tests.conftest import picture, sound

WORDS = ["a cat", "the red fox", "a dog", "the blue mat", "hello world", "a lazy dog"]
PROJECTORS = {"inputs.*.projector.*": 1e-2}


def write_pictures(folder: Path, name: str = "pictures.jsonl", n: int = 6, words: list[str] = WORDS) -> Path:
    """n conversations of one picture and one answer each."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for i in range(n):
        picture(i, (24 + i, 30)).save(folder / f"{i}.png")
        rows.append(_row([{"type": "image", "image": f"{i}.png"}, "what is this?"], words[i % len(words)]))
    return _write(folder / name, rows)


def write_recordings(folder: Path, name: str = "recordings.jsonl", n: int = 5, question: str = "") -> Path:
    """n conversations of one recording and its transcript each, which may be asked for."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for i in range(n):
        samples, rate = sound(1.0 + 0.11 * i, 200.0 + 60 * i)
        soundfile.write(folder / f"{i}.wav", samples, rate)
        asked = [{"type": "audio", "audio": f"{i}.wav"}, *([question] if question else [])]
        rows.append(_row(asked, WORDS[(2 * i) % len(WORDS)]))
    return _write(folder / name, rows)


def write_talk(folder: Path, name: str = "talk.jsonl") -> Path:
    """Conversations without media, of several turns."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [_row(["what is this?"], word) for word in WORDS]
    rows.append({"messages": [*_row(["hello"], "a cat")["messages"], *_row(["is it red?"], "the red fox")["messages"]]})
    return _write(folder / name, rows)


def write_drawings(folder: Path, name: str = "drawings.jsonl", n: int = 6) -> Path:
    """n conversations in each of which a picture is made."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for i in range(n):
        picture(i, (8, 8)).save(folder / f"{i}.png")
        row = _row([f"draw {WORDS[i % len(WORDS)]}"], "")
        row["messages"][1]["content"] = [
            {"type": "image", "image": f"{i}.png", "caption": WORDS[i % len(WORDS)]},
            *DONE[i % 2],
        ]
        rows.append(row)
    return _write(folder / name, rows)


DONE: list[list[Any]] = [[], [{"type": "text", "text": " there it is"}]]


def _row(content: list[Any], answer: str) -> dict[str, Any]:
    content = [{"type": "text", "text": part} if isinstance(part, str) else part for part in content]
    return {"messages": [{"role": "user", "content": content}, {"role": "assistant", "content": answer}]}


def _write(file: Path, rows: list[Any]) -> Path:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def stage(name: str = "one", **changes: Any) -> dict[str, Any]:
    return {
        "name": name,
        "train": PROJECTORS,
        "data": {"pictures": 1.0},
        "steps": 4,
        "batch": 2,
        "warmup": 1,
        "grouping": 3,
        **changes,
    }


def raw_recipe(model: dict[str, Any], folder: Path, data: dict[str, Path], *stages: Any, **run: Any) -> dict[str, Any]:
    """`model`: what `tiny_recipe()` gives. `data`: a JSONL file by the name that stages mix it by."""
    return {
        **copy.deepcopy(model),
        "data": {name: {"kind": "messages", "path": str(file)} for name, file in data.items()},
        "stages": list(stages) or [stage()],
        "run": {"folder": str(folder), "log_every": 1, "save_every": 2, **run},
    }


def recipe(*args: Any, **run: Any) -> TrainRecipe:
    return train_recipe(raw_recipe(*args, **run))


def rows_of(folder: Path) -> list[dict[str, Any]]:
    """The rows of a run's log."""
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def state_of(folder: Path) -> dict[str, torch.Tensor]:
    """The tensors of a run's last checkpoint, as one process writes it."""
    (file,) = (folder / "state").glob("*.safetensors")
    return load_file(file)


def weights(model: MultimodalLM) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def differing(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> set[str]:
    """Names of the tensors that are not bitwise equal."""
    assert a.keys() == b.keys()
    return {name for name in a if not torch.equal(a[name], b[name])}


class Stopped(Exception):
    """Stands in for a kill: nothing of ours catches it."""


def train_until(recipe: TrainRecipe, stage_name: str, step: int) -> None:
    """Train, and break off right after this step was logged: before its checkpoint, if one is due, is written."""

    def stop(row: dict[str, Any]) -> None:
        if (row["stage"], row["step"]) == (stage_name, step):
            raise Stopped

    try:
        train(recipe, on_log=stop)
    except Stopped:
        return
    raise AssertionError(f"the run never came to step {step} of stage '{stage_name}'")
