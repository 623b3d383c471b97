"""What plug-ins share: a model that is asked by programs which know paths, pictures and strings. Decides that they are
answered as `polymodal eval` answers, in batches, and that a question which cannot be asked stops them: none of them has a
place for an answer that is an error.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

import polymodal
from polymodal.content import MODALITIES, Message, Part
from polymodal.errors import EvaluationError, nearest
from polymodal.evaluation import run
from polymodal.evaluation.protocol import Answer, Prompt
from polymodal.model.sampling import Sampling


class Asked:
    """A model, as `polymodal.load` reads it. `batch`: questions at a time."""

    def __init__(self, model: str | Path = "nano", batch: int = 16, threads: int | None = None) -> None:
        if threads is not None:
            torch.set_num_threads(int(threads))
        self.composition, self.batch = polymodal.load(model), int(batch)

    def answers(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[Answer]:
        """One for each prompt. Raises `EvaluationError` for the first that cannot be asked."""
        found = run.answers(self.composition, prompts, sampling, batch=self.batch)
        for answer in found:
            if answer.error is not None:
                raise EvaluationError(answer.error)
        return found

    def say(self, conversations: Sequence[Sequence[Message]], sampling: Sampling) -> list[str]:
        return [answer.text for answer in self.answers([Prompt(tuple(turns)) for turns in conversations], sampling)]


def message(role: str, items: Iterable[tuple[str, Any]]) -> Message:
    """A turn of (type, text or medium). A medium is what `Part.media` takes, or what `datasets` makes of a recording:
    `{"array": ..., "sampling_rate": ...}`. Raises `EvaluationError` for a type that is none of ours."""
    return Message(role, tuple(_part(kind, value) for kind, value in items))


def _part(kind: str, value: Any) -> Part:
    if kind == "text":
        return Part("text", text=str(value))
    if kind not in MODALITIES:
        raise EvaluationError(f"part type '{kind}' is not known{nearest(kind, MODALITIES)}")
    if isinstance(value, Mapping):
        value = (value["array"], value["sampling_rate"])
    return Part(kind, media=value)


def sampling_of(told: Mapping[str, Any], tokens: int = 128) -> Sampling:
    """The settings of `generate` in transformers, as harnesses tell them. What is not said is greedy."""
    drawn = told.get("do_sample", True) and (told.get("temperature") or 0) > 0
    settings: dict[str, Any] = {"max_new_tokens": int(told.get("max_new_tokens") or tokens)}
    settings["beams"] = int(told.get("num_beams") or 1)
    if drawn:
        settings |= {"temperature": float(told["temperature"]), "top_p": float(told.get("top_p") or 1.0), "seed": 0}
    return Sampling(**settings)
