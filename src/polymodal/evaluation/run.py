"""Asking a model the questions of a benchmark. Decides that questions are asked in batches of similar length, that a
picture is encoded once for all questions about it that stand near each other, that the same prompt is asked once, and that
a question which cannot be asked is an answer too: an error, counted and asked again when the run goes on.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import torch

from polymodal.errors import EvaluationError, PolymodalError
from polymodal.evaluation.choice import likelihoods
from polymodal.evaluation.identity import sampled
from polymodal.evaluation.predictions import Prediction, Writer, hashes, key_of
from polymodal.evaluation.protocol import Answer, Prompt, Protocol, Question, in_rounds
from polymodal.evaluation.witness import kept
from polymodal.model.composition import Composition
from polymodal.model.generation import Sampling, generate
from polymodal.model.sequence import Example, MediaItem

WINDOW = 16  # batches whose questions are sorted by length together
KEPT = 64  # media items whose features are kept for the next question
T = TypeVar("T")


class Recent(dict[str, MediaItem]):
    """The media items that were last put in, for the processor."""

    def __init__(self, most: int = KEPT) -> None:
        super().__init__()
        self.most = most

    def __setitem__(self, key: str, item: MediaItem) -> None:
        super().__setitem__(key, item)
        while len(self) > self.most:
            del self[next(iter(self))]


def limited(questions: Iterable[Question], limit: int | None) -> list[Question]:
    """The first `limit` questions, and those behind them that are scored together with the last. Raises `EvaluationError`
    for two of one id, or none at all."""
    found: list[Question] = []
    for question in questions:
        if limit is not None and len(found) >= limit and (not question.group or question.group != found[-1].group):
            break
        found.append(question)
    if not found:
        raise EvaluationError("the benchmark's files hold no question")
    seen: set[str] = set()
    for question in found:
        if question.id in seen:
            raise EvaluationError(f"question {question.id}: its id is not of one question alone")
        seen.add(question.id)
    return found


def identity(composition: Composition) -> str:
    """What a model is known by: its recipe, and values of every tensor at even distances."""
    recipe = json.dumps(composition.recipe.model_dump(mode="json"), sort_keys=True, default=str)
    return sampled(composition.model.state_dict(), recipe.encode())


@torch.no_grad()
def ask(
    composition: Composition,
    protocol: Protocol,
    questions: Sequence[Question],
    writer: Writer,
    model: str,
    sampling: Sampling,
    *,
    batch: int = 16,
    on_answers: Callable[[int], None] | None = None,
) -> None:
    """Ask what `writer` does not know yet; each batch is on the disk before the next is asked. `model`: what it is known
    by. `on_answers` is told how many there are."""
    known = {found.key: found.answer for found in writer.known.values() if found.answer.error is None}
    prepared = Recent()
    for window in _groups(questions, batch * WINDOW):
        todo: dict[str, list[tuple[Question, tuple[str, ...]]]] = {}
        prompts: dict[str, Prompt] = {}
        done: list[Prediction] = []
        for question in window:
            prompt = protocol.prompt(question)
            try:
                shown = hashes(prompt)
            except PolymodalError as error:
                done.append(Prediction("", question, Answer(error=str(error))))
                continue
            key = key_of(prompt, shown, model, sampling.model_dump())
            before = writer.known.get(question.id)
            if before is not None and before.key == key and before.answer.error is None:
                continue
            if key in known:
                done.append(Prediction(key, question, known[key], shown))
                continue
            prompts[key] = prompt
            todo.setdefault(key, []).append((question, shown))
        _put(writer, done, on_answers)
        wanted = {key: asked[0][0].extra.get("wanted", {}) for key, asked in todo.items()}
        making = {key: wanted[key] for key in prompts if prompts[key].makes}
        for found in _made(composition, {key: prompts[key] for key in making}, sampling, making, writer.media):
            known.update((key, answer) for key, answer in found.items() if answer.error is None)
            _put(writer, [Prediction(k, q, a, shown) for k, a in found.items() for q, shown in todo[k]], on_answers)
        prompts = {key: prompt for key, prompt in prompts.items() if key not in making}
        talks = [key for key, prompt in prompts.items() if prompt.then]
        for group in _groups(talks, batch):
            some = in_rounds(
                [prompts.pop(key) for key in group],
                lambda asked: answers(composition, asked, sampling, batch=batch, prepared=prepared),
            )
            known.update((key, answer) for key, answer in zip(group, some, strict=True) if answer.error is None)
            done = [Prediction(k, q, a, shown) for k, a in zip(group, some, strict=True) for q, shown in todo[k]]
            _put(writer, done, on_answers)
        for found in _answered(composition, prompts, sampling, batch, prepared):
            known.update((key, answer) for key, answer in found.items() if answer.error is None)
            _put(writer, [Prediction(k, q, a, shown) for k, a in found.items() for q, shown in todo[k]], on_answers)


@torch.no_grad()
def answers(
    composition: Composition,
    prompts: Sequence[Prompt],
    sampling: Sampling,
    *,
    batch: int = 16,
    prepared: Recent | None = None,
) -> list[Answer]:
    """The answers to prompts of one turn, in their order, asked as `ask` asks and kept nowhere; nothing is made."""
    named, prepared = {f"{i}": prompt for i, prompt in enumerate(prompts)}, Recent() if prepared is None else prepared
    found: dict[str, Answer] = {}
    for group in _groups(named, batch * WINDOW):
        for some in _answered(composition, {key: named[key] for key in group}, sampling, batch, prepared):
            found.update(some)
    return [found[key] for key in named]


def _put(writer: Writer, predictions: Sequence[Prediction], on_answers: Callable[[int], None] | None) -> None:
    if predictions:
        writer.append([replace(p, question=replace(p.question, media=())) for p in predictions])
        if on_answers is not None:
            on_answers(len(predictions))


def _made(
    composition: Composition,
    prompts: dict[str, Prompt],
    sampling: Sampling,
    wanted: Mapping[str, Mapping[str, Any]],
    folder: Path,
) -> Iterator[dict[str, Answer]]:
    """Answers in which things are made, one at a time: the files lie in `folder`, what was noted of them in the answer."""
    for key, prompt in prompts.items():
        try:
            parts = composition.generate([prompt.messages], sampling)[0]
            made = tuple(kept(part, wanted[key], folder) for part in parts if part.type != "text")
        except PolymodalError as error:
            yield {key: Answer(error=str(error))}
            continue
        yield {key: Answer("".join(part.text or "" for part in parts).strip(), made=made)}


def _answered(
    composition: Composition, prompts: dict[str, Prompt], sampling: Sampling, batch: int, prepared: Recent
) -> Iterator[dict[str, Answer]]:
    """Answers by key, a batch at a time; first what could not be asked."""
    examples: dict[str, Example] = {}
    failed: dict[str, Answer] = {}
    for group in _groups(prompts, batch):
        for key in group:
            try:
                messages = prompts[key].messages
                examples[key] = composition.processor.encode(messages, generate=True, prepared=prepared, name=key[:12])
            except PolymodalError as error:
                failed[key] = Answer(error=str(error))
        _features(composition, [item for key in group if key in examples for item in examples[key].media])
    if failed:
        yield failed
    chosen = [key for key in examples if prompts[key].options]
    for group in _groups(chosen, batch):
        out = {}
        for key in group:
            scores = likelihoods(composition, prompts[key].messages, prompts[key].options, prepared)
            out[key] = Answer(likelihoods=tuple(float(score) for score in scores))
        yield out
    written = sorted((key for key in examples if not prompts[key].options), key=lambda key: len(examples[key]))
    stop, pad, never = composition.processor.stop_ids, composition.processor.pad_id, composition.model.own_ids
    for group in _groups(written, batch):
        made = generate(
            composition.model,
            [examples[key] for key in group],
            sampling,
            stop,
            pad,
            never=list(never),
            grammars=composition.processor.grammars,
        )
        said = ("".join(part.text or "" for part in composition.processor.decode(ids)).strip() for ids in made.ids)
        yield {key: Answer(text) for key, text in zip(group, said, strict=True)}


def _features(composition: Composition, items: Sequence[MediaItem]) -> None:
    """Encode what is not, together, and keep it; project it too where that does not depend on the question."""
    model = composition.model
    todo = list({item.key: item for item in items if item.encoded is None and item.projected is None}.values())
    for item, encoded in zip(todo, model.encode(todo) if todo else (), strict=True):
        item.encoded, item.inputs = encoded, None
    ready = [item for item in todo if not model.modalities[item.modality].reads_question]
    for item, projected in zip(ready, model.features(ready) if ready else (), strict=True):
        item.projected, item.encoded = projected, None


def _groups(items: Iterable[T], size: int) -> Iterator[list[T]]:
    rest = iter(items)
    while group := list(islice(rest, size)):
        yield group
