"""OpenAI-compatible endpoints: as the model that is asked, and as a judge. Decides that an endpoint is named by what its
user wrote, `URL#MODEL`, and that what it refuses is an error of that question and no answer.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from polymodal.content import Message, Part, to_json
from polymodal.errors import EvaluationError, PolymodalError
from polymodal.evaluation.protocol import Answer, Prompt
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

    def answers(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[Answer]:
        """A question at a time. Options to be ranked are an error: a chat endpoint tells no likelihood of them."""
        return [self._answer(prompt, sampling) for prompt in prompts]

    def _answer(self, prompt: Prompt, sampling: Sampling) -> Answer:
        if prompt.options:
            return Answer(error="a chat endpoint ranks no options; take a protocol whose answers are written")
        decoding: dict[str, Any] = {"temperature": sampling.temperature, "top_p": sampling.top_p}
        decoding["max_tokens"] = sampling.max_new_tokens
        if sampling.seed is not None:
            decoding["seed"] = sampling.seed
        try:
            return Answer(self.said(to_json(map(_inline, prompt.messages)), decoding).strip())
        except PolymodalError as error:
            return Answer(error=str(error))

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


def _inline(message: Message) -> Message:
    """A message whose media are in it as bytes: a path on this machine means nothing to a server."""

    def read(part: Part) -> Part:
        path = isinstance(part.media, (str, os.PathLike))
        return replace(part, media=gate.read(part.media)[0]) if path else part

    return replace(message, parts=tuple(map(read, message.parts)))
