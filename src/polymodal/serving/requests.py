"""What is asked of the engine, and how much may be. Decides the caps; each says in its error which it is."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from polymodal.content import Message
from polymodal.errors import ContentError
from polymodal.model.sampling import Sampling
from polymodal.serving.items import Shelf
from polymodal.serving.tickets import Answered, Done, Reason, Ticket, Usage
from polymodal.serving.types import TooLong

COLDEST, HOTTEST = 1e-4, 100.0  # temperatures beyond which scores are no numbers any more
LARGEST_SEED = 2**62  # answers and spans count on from it, within 64 bits


@dataclass(frozen=True)
class Limits:
    """`rows`: answers that are written together. `positions`: of the cache of these rows, padding included. `queue`:
    requests that wait. Of one request: `answers`; `prompt`, positions; `new_tokens`, above which an answer is cut;
    `seconds` from its submission. `chunk`: positions prefilled between two tokens of others. `media_bytes`, `prefix_bytes`:
    what is kept of media and of answered prompts."""

    rows: int = 16
    positions: int = 32_768
    queue: int = 64
    answers: int = 4
    prompt: int = 4096
    new_tokens: int = 1024
    seconds: float = 120.0
    chunk: int = 256
    media_bytes: int = 512 * 2**20
    prefix_bytes: int = 256 * 2**20


class Halted(Exception):
    """Thrown into what writes an answer where it should end."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason: Reason = reason


@dataclass
class Request:
    """`seed`: of the first answer; the one of number i has `seed + i`. `read`: done when the media have been read."""

    messages: list[Message]
    sampling: Sampling
    stops: tuple[str, ...]
    answers: int
    salt: str
    shelf: Shelf
    ticket: Ticket
    deadline: float
    submitted: float = field(default_factory=time.monotonic)
    read: Future[None] = field(default_factory=Future)
    usage: Usage = field(default_factory=Usage)
    answered: dict[int, Answered] = field(default_factory=dict)
    ended: bool = False

    def __post_init__(self) -> None:
        given = self.sampling.seed
        self.seed = secrets.randbits(31) if given is None else given

    def sampling_of(self, answer: int) -> Sampling:
        return self.sampling.model_copy(update={"seed": self.seed + answer})

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self.submitted

    def why(self) -> Reason | None:
        """Why it should end now, if it should."""
        if self.ticket.cancelled:
            return "cancelled"
        return "time" if time.monotonic() > self.deadline else None

    def began_to_speak(self) -> None:
        self.usage.seconds.setdefault("first", self.elapsed)

    def answer(self, number: int, answered: Answered) -> None:
        self.answered[number] = answered
        self.usage.generated += answered.tokens
        if len(self.answered) == self.answers:
            self.finish()

    def finish(self) -> None:
        self.usage.seconds["total"] = self.elapsed
        self.ended = True
        self.ticket.put(Done(tuple(self.answered[i] for i in sorted(self.answered)), self.usage))

    def halt(self, reason: Reason) -> None:
        """It ends before it was written at all."""
        for number in range(self.answers):
            self.answered.setdefault(number, Answered((), reason, 0, self.seed + number))
        self.finish()


def checked(
    messages: Sequence[Message], sampling: Sampling, stops: Sequence[str], answers: int, limits: Limits
) -> Sampling:
    """The sampling of a request, its tokens cut to what one answer may have. Raises `ContentError` naming the field."""
    if not messages:
        raise ContentError("messages: there is nothing to answer; give at least one message")
    if sampling.beams != 1:
        raise ContentError("beams: a search is not served, as nothing of it can be streamed; use 1")
    if not 1 <= answers <= limits.answers:
        raise ContentError(f"n: {answers} answers were asked for; one request has from 1 to {limits.answers}")
    if answers > limits.rows:
        raise ContentError(f"n: {answers} answers are more than are written together here ({limits.rows})")
    if not all(isinstance(stop, str) and stop for stop in stops):
        raise ContentError("stop: give strings that are not empty")
    if sampling.temperature and not COLDEST <= sampling.temperature <= HOTTEST:
        raise ContentError(f"temperature: {sampling.temperature} is neither 0 (greedy) nor from {COLDEST} to {HOTTEST}")
    if sampling.seed is not None and abs(sampling.seed) > LARGEST_SEED:
        raise ContentError(f"seed: give a number from -{LARGEST_SEED} to {LARGEST_SEED}")
    return sampling.model_copy(update={"max_new_tokens": min(sampling.max_new_tokens, limits.new_tokens)})


def fitting(prompt: int, sampling: Sampling, limits: Limits, lm: Any) -> Sampling:
    """The sampling, with no more tokens than there is room for behind a prompt. Raises `ContentError` with both numbers."""
    context = getattr(lm.config.get_text_config(decoder=True), "max_position_embeddings", None)
    most = min(limits.prompt, limits.positions, context or limits.prompt)
    if prompt >= most:
        raise TooLong(f"messages: the prompt takes {prompt} positions, and this server takes {most - 1}: shorten it")
    room = (context or prompt + sampling.max_new_tokens) - prompt
    return sampling.model_copy(update={"max_new_tokens": min(sampling.max_new_tokens, room)})
