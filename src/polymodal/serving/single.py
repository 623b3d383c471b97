"""The simplest engine: one answer after the other, in a thread. Decides nothing about batching; it is what the routes are
tested with, and the yardstick for an engine that batches."""

from __future__ import annotations

import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

from polymodal.content import Message, Part
from polymodal.errors import Busy, Closed
from polymodal.model.answering import Reply, respond
from polymodal.model.composition import Composition
from polymodal.model.generation import Sampling
from polymodal.model.sequence import Example
from polymodal.serving.tickets import Answered, Done, Ended, Failed, PartMade, Reason, Ticket, Usage, Wrote
from polymodal.serving.types import TooLong

T = TypeVar("T")
FOREVER = 1e9  # seconds


class _Stop(Exception):
    """Ends generation from within: a stop string, a cap of time, or nobody who listens."""


class SingleEngine:
    """`queue`: requests that may wait."""

    def __init__(self, composition: Composition, queue: int = 16) -> None:
        self.composition, self.queue = composition, queue
        self._jobs: deque[tuple[Callable[[], None], Callable[[Exception], None]]] = deque()
        self._new = threading.Condition()
        self._closed = self._running = False
        self._thread = threading.Thread(target=self._work, name="polymodal-engine", daemon=True)
        self._thread.start()

    def stats(self) -> Mapping[str, float]:
        return {"active": int(self._running), "waiting": len(self._jobs)}

    def sent(self, made: Part, sent: Part, salt: str = "") -> None:
        """It keeps nothing that it made."""

    def submit(
        self,
        messages: Sequence[Message],
        sampling: Sampling | None = None,
        *,
        stop: Sequence[str] = (),
        n: int = 1,
        seconds: float | None = None,
        salt: str = "",
    ) -> Ticket:
        ticket = Ticket(lambda: None)
        until, asked = time.monotonic() + (seconds or FOREVER), sampling or Sampling()
        work = lambda: self._answer(ticket, messages, asked, n, stop, until)  # noqa: E731
        self._put(work, lambda error: ticket.put(Failed(error)))
        return ticket

    def call(self, function: Callable[[Composition], T]) -> Future[T]:
        future: Future[T] = Future()

        def run() -> None:
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(function(self.composition))
                except Exception as error:
                    future.set_exception(error)

        self._put(run, future.set_exception)
        return future

    def close(self, finish: bool = True) -> None:
        with self._new:
            self._closed = True
            while self._jobs and not finish:
                self._jobs.popleft()[1](Closed("the engine was closed"))
            self._new.notify()
        self._thread.join()

    def _put(self, job: Callable[[], None], refuse: Callable[[Exception], None]) -> None:
        with self._new:
            if self._closed:
                raise Closed("the engine is closed")
            if len(self._jobs) >= self.queue:
                raise Busy(f"{len(self._jobs)} requests are waiting", 1 + len(self._jobs))
            self._jobs.append((job, refuse))
            self._new.notify()

    def _work(self) -> None:
        while True:
            with self._new:
                self._running = False
                self._new.wait_for(lambda: self._jobs or self._closed)
                if not self._jobs:
                    return
                job, _ = self._jobs.popleft()
                self._running = True
            job()

    def _answer(
        self, ticket: Ticket, messages: Sequence[Message], sampling: Sampling, n: int, stop: Sequence[str], until: float
    ) -> None:
        try:
            example = self.composition.processor.encode(messages, generate=True, name="conversation")
            room = _context(self.composition) - len(example)
            if room < 1:
                raise TooLong(f"{len(example)} positions leave no room for an answer")
            seed = secrets.randbits(31) if sampling.seed is None else sampling.seed
            tokens, answers = min(sampling.max_new_tokens, room), []
            for number in range(n):
                own = sampling.model_copy(update={"seed": seed + number, "max_new_tokens": tokens})
                answers.append(_Writer(self.composition, ticket, number, stop, until).write(example, own))
            media, generated = sum(span.length for span in example.spans), sum(answer.tokens for answer in answers)
            usage = Usage(prompt=len(example), prefilled=len(example), media=media, generated=generated)
            ticket.put(Done(tuple(answers), usage))
        except Exception as error:
            ticket.put(Failed(error))


class _Writer:
    """One answer: what is certain of its text is told at once, until something is made."""

    def __init__(self, composition: Composition, ticket: Ticket, number: int, stop: Sequence[str], until: float) -> None:
        self.composition, self.ticket, self.number, self.stop, self.until = composition, ticket, number, stop, until
        self.ids: list[int] = []
        self.told, self.held = 0, False
        self.ended: Reason | None = None

    def write(self, example: Example, sampling: Sampling) -> Answered:
        reply: Reply | None = None
        try:
            if not self._over():
                reply = respond(self.composition, example, sampling, on_token=self._token)
        except _Stop:
            pass
        parts: list[Part] = reply.parts if reply else [Part("text", text=self._text())]
        self._rest(parts)
        reason = self.ended or ("stop" if reply is None or reply.finished else "length")
        self.ticket.put(Ended(self.number, reason))
        return Answered(tuple(parts), reason, reply.generated if reply else len(self.ids), sampling.seed or 0)

    def _token(self, token: int) -> None:
        if self._over():
            raise _Stop
        if token in self.composition.model.openers:
            self.held = True
        if self.held or token in self.composition.processor.stop_ids:
            return
        self.ids.append(token)
        text = self._text()
        if self.ended:
            raise _Stop
        sure = len(text) if not text.endswith("\ufffd") else self.told
        sure -= max((k for stop in self.stop for k in range(1, len(stop)) if text.endswith(stop[:k])), default=0)
        self._tell(text, sure)

    def _over(self) -> bool:
        if self.ticket.cancelled:
            self.ended = "cancelled"
        elif time.monotonic() > self.until:
            self.ended = "time"
        return self.ended is not None

    def _text(self) -> str:
        """What is written, up to a stop string."""
        text = "".join(part.text or "" for part in self.composition.processor.decode(self.ids))
        places = [place for stop in self.stop if (place := text.find(stop)) >= 0]
        if places:
            self.ended = self.ended or "stop"
            return text[: min(places)]
        return text

    def _tell(self, text: str, upto: int) -> None:
        if upto > self.told:
            self.ticket.put(Wrote(self.number, text[self.told : upto]))
            self.told = upto

    def _rest(self, parts: Sequence[Part]) -> None:
        """What was not told yet, in order. A stop string behind something made is not looked for."""
        said = 0
        for part in parts:
            if part.type != "text":
                self.ticket.put(PartMade(self.number, part))
                continue
            text = part.text or ""
            if new := text[max(0, self.told - said) :]:
                self.ticket.put(Wrote(self.number, new))
            said += len(text)


def _context(composition: Composition) -> int:
    """Positions that the backbone can read; as many as one likes where it does not say."""
    config: Any = composition.model.backbone.lm.config
    return int(getattr(config, "max_position_embeddings", 0) or 2**31)
