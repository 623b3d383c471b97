"""The simplest engine: one answer after the other, in a thread. Decides nothing about batching; it is what the routes are
tested with, and the yardstick for an engine that batches."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

from polymodal.content import Message, Part
from polymodal.model.answering import Reply, respond
from polymodal.model.composition import Composition
from polymodal.model.generation import Sampling
from polymodal.model.sequence import Example
from polymodal.serving.types import Busy, Closed, Done, Event, Failed, PartMade, TextPiece, TooLong, Usage

T = TypeVar("T")


class _Stop(Exception):
    """Ends generation from within: a stop string, a cap of time, or nobody who listens."""


class SingleTicket:
    """See `types.Ticket`. `n` answers are awaited."""

    def __init__(self, n: int) -> None:
        self._left, self._events = n, asyncio.Queue[Event]()
        self._loop = asyncio.get_running_loop()
        self.cancelled = threading.Event()

    def cancel(self) -> None:
        self.cancelled.set()

    def tell(self, event: Event) -> None:
        """From the engine's thread. A loop that is closed has nobody who listens."""
        try:
            self._loop.call_soon_threadsafe(self._events.put_nowait, event)
        except RuntimeError:
            self.cancelled.set()

    async def __aiter__(self) -> AsyncIterator[Event]:
        while self._left:
            event = await self._events.get()
            yield event
            self._left = 0 if isinstance(event, Failed) else self._left - isinstance(event, Done)


class SingleEngine:
    """`queue`: requests that may wait."""

    def __init__(self, composition: Composition, queue: int = 16) -> None:
        self.composition, self.queue = composition, queue
        self._jobs: deque[tuple[Callable[[], None], Callable[[Exception], None]]] = deque()
        self._new = threading.Condition()
        self._closed = self._running = False
        self._thread = threading.Thread(target=self._work, name="polymodal-engine", daemon=True)
        self._thread.start()

    @property
    def load(self) -> dict[str, int]:
        return {"running": int(self._running), "waiting": len(self._jobs)}

    def submit(
        self,
        conversation: Sequence[Message],
        sampling: Sampling,
        *,
        n: int = 1,
        stop: Sequence[str] = (),
        seconds: float | None = None,
        tenant: str = "",
    ) -> SingleTicket:
        ticket = SingleTicket(n)
        until = time.monotonic() + (1e9 if seconds is None else seconds)
        self._put(
            lambda: self._answer(ticket, conversation, sampling, n, stop, until), lambda error: ticket.tell(Failed(error))
        )
        return ticket

    def call(self, function: Callable[[Composition], T], seconds: float | None = None) -> Future[T]:
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
                raise Busy(1.0 + len(self._jobs))
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
        self,
        ticket: SingleTicket,
        conversation: Sequence[Message],
        sampling: Sampling,
        n: int,
        stop: Sequence[str],
        until: float,
    ) -> None:
        try:
            example = self.composition.processor.encode(conversation, generate=True, name="conversation")
            room = _context(self.composition) - len(example)
            if room < 1:
                raise TooLong(f"{len(example)} positions leave no room for an answer")
            sampling = sampling.model_copy(update={"max_new_tokens": min(sampling.max_new_tokens, room)})
            for number in range(n):
                seed = None if sampling.seed is None else sampling.seed + number
                writer = _Writer(self.composition, ticket, number, stop, until)
                writer.write(example, sampling.model_copy(update={"seed": seed}))
        except Exception as error:
            ticket.tell(Failed(error))


class _Writer:
    """One answer: what is certain of its text is told at once, until something is made."""

    def __init__(
        self, composition: Composition, ticket: SingleTicket, number: int, stop: Sequence[str], until: float
    ) -> None:
        self.composition, self.ticket, self.number, self.stop, self.until = composition, ticket, number, stop, until
        self.ids: list[int] = []
        self.told, self.held, self.ended = 0, False, ""

    def write(self, example: Example, sampling: Sampling) -> None:
        reply: Reply | None = None
        try:
            if not self._over():
                reply = respond(self.composition, example, sampling, on_token=self._token)
        except _Stop:
            pass
        parts: list[Part] = reply.parts if reply else [Part("text", text=self._text())]
        self._rest(parts)
        generated = reply.generated if reply else len(self.ids)
        cut = self.ended in ("time", "gone") or (reply is not None and not reply.finished and not self.ended)
        usage = Usage(len(example), generated, 0, sum(span.length for span in example.spans))
        self.ticket.tell(Done(usage, "length" if cut else "stop", self.number))

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
        self.ended = "gone" if self.ticket.cancelled.is_set() else "time" if time.monotonic() > self.until else self.ended
        return bool(self.ended)

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
            self.ticket.tell(TextPiece(text[self.told : upto], self.number))
            self.told = upto

    def _rest(self, parts: Sequence[Part]) -> None:
        """What was not told yet, in order. A stop string behind something made is not looked for."""
        said = 0
        for part in parts:
            if part.type != "text":
                self.ticket.tell(PartMade(part, self.number))
                continue
            text = part.text or ""
            if new := text[max(0, self.told - said) :]:
                self.ticket.tell(TextPiece(new, self.number))
            said += len(text)


def _context(composition: Composition) -> int:
    """Positions that the backbone can read; as many as one likes where it does not say."""
    config: Any = composition.model.backbone.lm.config
    return int(getattr(config, "max_position_embeddings", 0) or 2**31)
