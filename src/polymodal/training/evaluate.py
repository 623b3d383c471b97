"""Evaluation during training, on held-out data, beside its controls. Decides when it happens, that it leaves no trace in
the run (with or without it the weights are bitwise the same), and what is kept of it.

    evaluate:
      photos: {data: held-out, metric: contains, every: 200}

`log.jsonl` gets every result, `samples.jsonl` a few answers each time, `eval.json` the results of the finished model.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from pydantic import Field
from torch import nn

from polymodal.errors import DataError, RecipeError, nearest
from polymodal.evaluation.measure import Control, Metric, Question, Score, beats, chance, measure
from polymodal.model.composition import Composition
from polymodal.model.config import Strict
from polymodal.model.generation import Sampling
from polymodal.parts.base import build
from polymodal.training.cache import FeatureCache
from polymodal.training.log import Log
from polymodal.training.sources import SOURCES

if TYPE_CHECKING:
    from polymodal.training.stage import Stage
    from polymodal.training.state import Progress

SHOWN = 4  # answers written down each time, always to the same questions


class Evaluation(Strict):
    """`data`: the name of a source of the recipe, or a source. `options`: what `choice` chooses from; absent, every answer
    of the set. `every`: steps of the run between evaluations; the finished model is evaluated in any case."""

    data: str | dict[str, Any]
    metric: Metric = "exact"
    examples: int = Field(64, ge=1)
    options: list[str] = Field(default_factory=list)
    controls: list[Control] = ["blind", "shuffled"]
    every: int = Field(200, ge=1)
    generate: Sampling = Field(default_factory=lambda: Sampling(max_new_tokens=32))

    def source(self, data: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
        """The source it draws from. `data`: the sources of the recipe."""
        return data[self.data] if isinstance(self.data, str) else self.data


def check(evaluations: Mapping[str, Evaluation], data: Mapping[str, dict[str, Any]], trained: set[str], where: str) -> None:
    """`trained`: the names of the sources that a stage learns from. Raises `RecipeError` for a source that is not in
    `data`, and where it can be told that a set is not held out."""
    for name, entry in evaluations.items():
        key = f"{where}: evaluate.{name}"
        if isinstance(entry.data, str) and entry.data not in data:
            raise RecipeError(f"{key}.data '{entry.data}' is not in data{nearest(entry.data, data)}")
        if entry.options and entry.metric != "choice":
            raise RecipeError(f"{key}.options are for the metric 'choice', not '{entry.metric}'")
        for other in sorted(trained):
            if overlap(entry.source(data), data[other]):
                raise RecipeError(
                    f"{key} is not held out: it draws from what a stage learns from, '{other}' "
                    "(choose another split, file, or where)"
                )


def overlap(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    """Whether two sources can be seen to share samples: one corpus or file, one split, and no field that `where` limits to
    different values."""
    same = [key for key in ("corpus", "path") if key in a and a.get(key) == b.get(key)]
    if not same and dict(a) != dict(b):
        return False
    if a.get("split", "train") != b.get("split", "train"):
        return False
    if "of" in a and "of" in b and not overlap(a["of"], b["of"]):  # what a source is made of, such as what is spoken
        return False
    where, other = a.get("where") or {}, b.get("where") or {}
    return not any(key in other and not set(values) & set(other[key]) for key, values in where.items())


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """Inference in the middle of training: random state and the mode of every module are put back, no graph is built, and
    products are in the precision of the weights, as they will be when the model is asked."""
    device = next(model.parameters()).device
    modes = [(module, module.training) for module in model.modules()]
    with (
        torch.random.fork_rng([device] if device.type == "cuda" else []),
        torch.no_grad(),
        torch.autocast(device.type, enabled=False),
    ):
        model.eval()
        try:
            yield
        finally:
            for module, mode in modes:
                module.training = mode


class Evaluations:
    """The recipe's evaluations over one run. Building it draws the questions, so that what is wrong with them is said
    before training begins: `DataError` for a sample that does not end in an answer, `RecipeError` for a control of media
    that are not there."""

    def __init__(
        self,
        evaluations: Mapping[str, Evaluation],
        data: Mapping[str, dict[str, Any]],
        composition: Composition,
        folder: Path,
        log: Log,
    ) -> None:
        self.entries, self.composition, self.folder, self.log = evaluations, composition, folder, log
        self.questions = {name: draw(name, entry, data) for name, entry in evaluations.items()}

    def run(self, stage: Stage, progress: Progress, cache: FeatureCache | None) -> None:
        """Those that are due at this step, unless it is the run's last: then the finished model's turn comes."""
        step: int = self.log.place(stage, progress)["global_step"]
        due = [name for name, entry in self.entries.items() if step % entry.every == 0]
        if due and step < self.log.total:
            self._run(due, stage, progress, cache)

    def finish(self, stage: Stage, progress: Progress, cache: FeatureCache | None) -> dict[str, Any] | None:
        """All of them, on the finished model, written to `eval.json`: {set: result}, and `beats_blind`, whether every set
        that has a blind control beats it. None without evaluations."""
        if not self.entries:
            return None
        results = self._run(list(self.entries), stage, progress, cache)
        judged = [result["beats_blind"] for result in results.values() if "beats_blind" in result]
        report = {"beats_blind": all(judged) if judged else None, "sets": results}
        staging = self.folder / "eval.json.part"
        staging.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        os.replace(staging, self.folder / "eval.json")
        return report

    def _run(
        self, names: list[str], stage: Stage, progress: Progress, cache: FeatureCache | None
    ) -> dict[str, dict[str, Any]]:
        results = {}
        with self.log.paused(), undisturbed(self.composition.model):
            for name in names:
                entry, questions = self.entries[name], self.questions[name]
                scores = measure(
                    self.composition,
                    questions,
                    entry.metric,
                    controls=entry.controls,
                    options=entry.options or sorted({question.wanted for question in questions}),
                    sampling=entry.generate,
                    cache=cache,
                )
                results[name] = result(entry, questions, scores)
                if self.log.main:
                    self._show(name, questions, scores["model"], self.log.place(stage, progress))
            self.log.evaluation(stage, progress, results)
        return results

    def _show(self, name: str, questions: list[Question], score: Score, place: dict[str, Any]) -> None:
        """A few answers, to read."""
        with open(self.folder / "samples.jsonl", "a", encoding="utf-8") as stream:
            for question, answer, right in list(zip(questions, score.answers, score.right, strict=True))[:SHOWN]:
                shown = {
                    "question": question.messages[-1].text,
                    "wanted": question.wanted,
                    "answered": answer,
                    "right": right,
                    "media": [str(p.media) if isinstance(p.media, (str, os.PathLike)) else p.type for p in question.media],
                    "sample": question.name,
                }
                stream.write(json.dumps({**place, "set": name, **shown}, ensure_ascii=False) + "\n")


def draw(name: str, entry: Evaluation, data: Mapping[str, dict[str, Any]]) -> list[Question]:
    """The questions of a set: the same in every run, whatever its seed, so that runs can be compared."""
    source = build(f"evaluate.{name}.data", SOURCES, entry.source(data))
    chosen = random.Random(name).sample(range(len(source)), min(entry.examples, len(source)))
    questions = []
    for index in chosen:
        sample = source.sample(index, random.Random(f"{name}/{index}"))
        *before, last = sample.messages
        if last.role != "assistant" or not before:
            raise DataError(f"evaluate.{name}: {sample.name} does not end in an answer of the assistant")
        if entry.metric == "choice" and entry.options and last.text.strip() not in entry.options:
            raise DataError(f"evaluate.{name}: the answer of {sample.name}, '{last.text}', is none of the options")
        questions.append(Question(tuple(before), last, sample.name))
    if entry.controls and not any(question.media for question in questions):
        raise RecipeError(f"evaluate.{name}: its questions hold no media, so there is nothing to control: controls: []")
    return questions


def result(entry: Evaluation, questions: list[Question], scores: Mapping[str, Score]) -> dict[str, Any]:
    """A set's results as JSON. `beats_blind`: the 95 % intervals of the model and of the blind model do not overlap."""
    out: dict[str, Any] = {"metric": entry.metric, "n": len(questions)}
    for name, score in scores.items():
        out[name] = {
            "value": round(score.value, 4),
            "interval": [round(end, 4) for end in score.interval],
            "loss": round(score.loss, 4),
        }
    if entry.metric != "wer":
        out["chance"] = round(chance(questions), 4)
    if "blind" in scores:
        out["beats_blind"] = beats(scores["model"], scores["blind"], entry.metric)
    return out
