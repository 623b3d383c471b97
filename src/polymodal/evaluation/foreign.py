"""Asking a model that is none of ours: an endpoint, or a checkpoint of transformers. Decides that it is asked as ours is:
what `writer` knows is not asked again, each batch is on the disk before the next, and what cannot be asked is an answer
with its error.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol as Interface

from polymodal.errors import PolymodalError
from polymodal.evaluation.predictions import Prediction, Writer, hashes, key_of
from polymodal.evaluation.protocol import Answer, Prompt, Protocol, Question, in_rounds
from polymodal.model.sampling import Sampling


class Foreign(Interface):
    """A model. `name`: what it is recorded as."""

    @property
    def name(self) -> str: ...

    def answers(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[Answer]:
        """One for each prompt; with an error where it could not be asked."""
        ...


def ask(
    model: Foreign,
    protocol: Protocol,
    questions: Sequence[Question],
    writer: Writer,
    sampling: Sampling,
    *,
    batch: int = 16,
    on_answers: Callable[[int], None] | None = None,
) -> None:
    """Ask what `writer` does not know yet, `batch` questions at a time. `on_answers` is told how many there are."""
    told = sampling.model_dump()
    waiting: list[tuple[Prediction, Prompt]] = []

    def put() -> None:
        asked = [prompt for prediction, prompt in waiting if prediction.answer.error is None]
        said = iter(in_rounds(asked, lambda some: model.answers(some, sampling)) if asked else ())
        done = [p if p.answer.error is not None else replace(p, answer=next(said)) for p, _ in waiting]
        waiting.clear()
        if done:
            writer.append(done)
            if on_answers is not None:
                on_answers(len(done))

    for question in questions:
        prompt, bare = protocol.prompt(question), replace(question, media=())
        try:
            shown = hashes(prompt)
        except PolymodalError as error:
            waiting.append((Prediction("", bare, Answer(error=str(error))), prompt))
        else:
            key = key_of(prompt, shown, model.name, told)
            before = writer.known.get(question.id)
            if before is None or before.key != key or before.answer.error is not None:
                waiting.append((Prediction(key, bare, Answer(), shown), prompt))
        if len(waiting) == batch:
            put()
    put()
