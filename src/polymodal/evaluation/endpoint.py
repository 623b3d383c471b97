"""OpenAI-compatible endpoints: as the model that is asked, and as a judge. Decides that an endpoint is named by what its
user wrote, `URL#MODEL`, and that what it refuses is an error of that question and no answer.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from polymodal.content import Message, Part, to_json
from polymodal.errors import EvaluationError, PolymodalError
from polymodal.evaluation.predictions import Prediction, Writer, hashes, key_of
from polymodal.evaluation.protocol import Answer, Prompt, Protocol, Question
from polymodal.media import gate
from polymodal.model.sampling import Sampling

PREFIX = "openai:"
SECONDS = 120.0  # until a request is given up


@dataclass(frozen=True)
class Endpoint:
    """`url`: up to and with `/v1`. `key`: the bearer token; servers of one's own take any."""

    url: str
    model: str
    key: str = "none"

    @classmethod
    def named(cls, name: str, key: str | None = None) -> Endpoint:
        """`URL#MODEL`. Raises `EvaluationError` for anything else."""
        url, _, model = name.removeprefix(PREFIX).partition("#")
        if not re.match(r"https?://[^/\s]+", url) or not model:
            raise EvaluationError(f"an endpoint is URL#MODEL, such as http://localhost:8000/v1#my-model, not '{name}'")
        return cls(url.rstrip("/"), model, key or "none")

    @property
    def name(self) -> str:
        """What it is recorded as: the model, and by a short hash which server it was asked of."""
        return f"{self.model}@{hashlib.sha256(self.url.encode()).hexdigest()[:8]}"

    def __call__(self, prompt: str) -> str:
        """As a judge: the reply to a prompt, drawn at temperature 0. Raises `EvaluationError` where there is none: without
        a judge there is no score."""
        return self.said([{"role": "user", "content": prompt}], {"temperature": 0.0, "max_tokens": 64})

    def said(self, messages: Sequence[Any], decoding: dict[str, Any]) -> str:
        """The text of the reply. Raises `EvaluationError` with what the server says."""
        import openai

        client = openai.OpenAI(base_url=self.url, api_key=self.key, timeout=SECONDS, max_retries=2)
        try:
            reply = client.chat.completions.create(model=self.model, messages=list(messages), **decoding)
        except openai.OpenAIError as error:
            raise EvaluationError(f"{self.url}: {error}") from error
        if not reply.choices:
            raise EvaluationError(f"{self.url}: a reply without a choice")
        return reply.choices[0].message.content or ""


def ask(
    endpoint: Endpoint,
    protocol: Protocol,
    questions: Sequence[Question],
    writer: Writer,
    sampling: Sampling,
    *,
    batch: int = 16,
    on_answers: Callable[[int], None] | None = None,
) -> None:
    """Ask what `writer` does not know yet, a question at a time; `batch` answers are on the disk together. A question that
    cannot be asked is an answer with its error: options to be ranked, since a chat endpoint tells no likelihood of them."""
    told = sampling.model_dump()
    done: list[Prediction] = []
    for prediction in _answers(endpoint, protocol, questions, writer, told):
        done.append(prediction)
        if len(done) == batch:
            _put(writer, done, on_answers)
            done = []
    _put(writer, done, on_answers)


def _answers(
    endpoint: Endpoint, protocol: Protocol, questions: Sequence[Question], writer: Writer, decoding: dict[str, Any]
) -> Iterator[Prediction]:
    for question in questions:
        prompt = protocol.prompt(question)
        bare = Question(question.id, question.text, (), question.reference, question.extra, question.group)
        try:
            shown = hashes(prompt)
            key = key_of(prompt, shown, endpoint.name, decoding)
            before = writer.known.get(question.id)
            if before is not None and before.key == key and before.answer.error is None:
                continue
            answer = Answer(_said(endpoint, prompt, decoding).strip())
        except PolymodalError as error:
            yield Prediction("", bare, Answer(error=str(error)))
            continue
        yield Prediction(key, bare, answer, shown)


def _said(endpoint: Endpoint, prompt: Prompt, decoding: dict[str, Any]) -> str:
    if prompt.options:
        raise EvaluationError("a chat endpoint ranks no options; take a protocol whose answers are written")
    asked = {"temperature": decoding["temperature"], "top_p": decoding["top_p"], "max_tokens": decoding["max_new_tokens"]}
    if decoding["seed"] is not None:
        asked["seed"] = decoding["seed"]
    return endpoint.said(to_json(map(_inline, prompt.messages)), asked)


def _inline(message: Message) -> Message:
    """A message whose media are in it as bytes: a path on this machine means nothing to a server."""

    def read(part: Part) -> Part:
        path = isinstance(part.media, (str, os.PathLike))
        return replace(part, media=gate.read(part.media)[0]) if path else part

    return replace(message, parts=tuple(map(read, message.parts)))


def _put(writer: Writer, done: list[Prediction], on_answers: Callable[[int], None] | None) -> None:
    if done:
        writer.append(done)
        if on_answers is not None:
            on_answers(len(done))
