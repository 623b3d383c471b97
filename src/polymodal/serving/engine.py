"""The engine: requests from any thread, one thread that owns the model. Decides who is taken up, who is refused, and that
every ticket ends.

    submit --> queue --> reader (decodes media) --> prompt --> answers --> events
                                                      |          |  \\
                                                  prefilled    rows   spans: filled here, made by another thread
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import torch

from polymodal.content import Message, Part
from polymodal.errors import Busy, Closed
from polymodal.media import fingerprint
from polymodal.model.composition import Composition
from polymodal.model.sampling import Sampling
from polymodal.model.spans import made_key
from polymodal.serving.items import Items, Shelf
from polymodal.serving.requests import Limits, Request, checked
from polymodal.serving.tickets import Ticket
from polymodal.serving.turns import Turns

log = logging.getLogger(__name__)
T = TypeVar("T")
ENDING = "the server is shutting down: ask another one, or later"


class Engine:
    """Answers conversations with a composition, which is the engine's from now on. `name`: of the model, in the keys of
    what is kept of media. Use it as a context manager, or `close` it."""

    def __init__(self, composition: Composition, limits: Limits | None = None, name: str = "") -> None:
        self.composition, self.limits = composition, limits or Limits()
        self.items = Items(composition.model.eval(), name, self.limits.media_bytes)
        self._changed = threading.Condition()
        self._nudged = self._closing = self._dropping = False
        self._waiting: deque[Request] = deque()
        self._calls: deque[tuple[Callable[[Composition], Any], Future[Any]]] = deque()
        self._counts = {"requests": 0, "refused": 0}
        threads = torch.get_num_threads()
        begin: dict[str, Any] = {"initializer": torch.set_num_threads, "initargs": (threads,)}
        self._reader = ThreadPoolExecutor(1, "polymodal-reader", **begin)
        self._maker = ThreadPoolExecutor(1, "polymodal-maker", **begin)
        with torch.no_grad():
            self.turns = Turns(composition, self.limits, self.items, self._maker, self._wake)
        self._thread = threading.Thread(target=self._loop, args=(threads,), name="polymodal-engine", daemon=True)
        self._thread.start()

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
        """Ask for `n` answers to a conversation, the one of number i with the seed + i. Returns at once, from any thread.

        `stop`: texts that an answer ends before. `seconds`: for this request, if less than the limit. `salt`: media and
        prefixes are shared only among requests of the same salt. Raises `Busy` where the queue is full, `Closed`, and
        `ContentError` for what is over a limit; whatever else is wrong with a request, its ticket says in `Failed`.
        """
        sampling = checked(messages, sampling or Sampling(), stop, n, self.limits)
        cap = min(self.limits.seconds, seconds or math.inf)
        ticket = Ticket(self._wake)
        shelf = Shelf(self.items, salt)
        request = Request(list(messages), sampling, tuple(stop), n, salt, shelf, ticket, time.monotonic() + cap)
        with self._changed:
            if self._closing:
                raise Closed(ENDING)
            if len(self._waiting) >= self.limits.queue:
                self._counts["refused"] += 1
                raise Busy(f"{len(self._waiting)} requests are waiting already: ask again later", self._retry_after())
            self._counts["requests"] += 1
            request.read = self._reader.submit(self._read, request)
            self._waiting.append(request)
        request.read.add_done_callback(lambda _: self._wake())
        self._wake()
        return ticket

    def call(self, function: Callable[[Composition], T]) -> Future[T]:
        """Run a function of the model on its thread, between two steps of the others (embeddings, a medium on order). A
        future that is cancelled before its turn is not run. Raises `Busy` and `Closed`."""
        future: Future[T] = Future()
        with self._changed:
            if self._closing:
                raise Closed(ENDING)
            if len(self._calls) + len(self._waiting) >= self.limits.queue:
                self._counts["refused"] += 1
                raise Busy("too many are waiting already: ask again later", self._retry_after())
            self._calls.append((function, future))
        self._wake()
        return future

    def close(self, finish: bool = True, timeout: float | None = None) -> bool:
        """Take no more requests, and answer those that there are; or, unless `finish`, end them with `Closed`. Waits until
        that is done and the threads have ended, or for so many seconds; whether they have."""
        with self._changed:
            self._closing = True
            self._dropping = self._dropping or not finish
            for request in self.turns.active if self._dropping else ():
                request.ticket.cancelled = True  # one that is answered alone looks at nothing else
        self._wake()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *error: Any) -> None:
        self.close(finish=error[0] is None)

    def stats(self) -> dict[str, float]:
        """What there is now, and what has been counted since the beginning; `encoded`: media that an encoder ran for."""
        turns = self.turns
        now = {"waiting": len(self._waiting), "active": len(turns.active), "rows": len(turns.rows.lengths)}
        held = {"cache_bytes": turns.rows.nbytes, "prefix_bytes": turns.prefixes.nbytes, "media_bytes": self.items.nbytes}
        return {**now, **held, **self._counts, **turns.counts, "encoded": self.composition.model.encoded}

    def sent(self, made: Part, sent: Part, salt: str = "") -> None:
        """A part that was made has left as `sent` (a file of it, say), and may come back so in the next turn: it is then
        read as it was written, and not from its pixels. Raises `MediaError` for what has no fingerprint."""
        output = made.output or ""
        names = {made_key(made, output): made_key(sent, output)}
        names[fingerprint(Part(made.type, media=made.media))] = fingerprint(Part(sent.type, media=sent.media))
        for old, new in names.items():
            item = self.items.get(salt, old)
            if item is not None:
                self.items.put(salt, new, item)

    # The reader's thread

    @torch.no_grad()
    def _read(self, request: Request) -> None:
        """Decode the media of a request, so that to render it costs the model's thread nothing."""
        processor = self.composition.processor
        for message in request.messages:
            for part in message.parts if message.role != "assistant" else ():
                if part.type in processor.ports and not request.ended:
                    processor.item(part, request.shelf)

    # The model's thread

    def _wake(self) -> None:
        with self._changed:
            self._nudged = True
            self._changed.notify_all()

    def _loop(self, threads: int) -> None:
        torch.set_num_threads(threads)
        with torch.no_grad():
            while True:
                with self._changed:
                    self._nudged = False
                busy = False
                try:
                    busy = self._step()
                except Exception as error:  # a defect: nobody may wait for ever, and the next request may fare better
                    log.exception("a turn failed by a defect")
                    self._end_active(error)
                with self._changed:
                    if self._closing and not (self._waiting or self._calls or self.turns.active):
                        break
                    if not busy:
                        self._changed.wait_for(lambda: self._nudged, timeout=0.2)  # seconds; deadlines are looked at then
        self._reader.shutdown(cancel_futures=True)
        self._maker.shutdown(cancel_futures=True)

    def _step(self) -> bool:
        """Look at who came and who gave up, and take a turn. Whether anything was done."""
        if self._dropping:
            self._end_all(Closed(ENDING))
        for request in list(self.turns.active):
            if (why := request.why()) is not None:
                request.read.cancel()
                self.turns.halt(request, why)
        for request in list(self._waiting):
            if (why := request.why()) is not None:
                with self._changed:
                    self._waiting.remove(request)
                request.read.cancel()
                if why == "time":
                    late = Busy("its time was over before its turn came: ask again later", self._retry_after())
                    self.turns.fail(request, late)
                else:
                    request.halt(why)
        while self._waiting and self.turns.takes(self._waiting[0]):
            with self._changed:
                request = self._waiting.popleft()
            self.turns.take(request)
        called = self._call_one()
        return self.turns.turn() or called

    def _call_one(self) -> bool:
        """Run the function that has waited longest. Whether there was one."""
        if not self._calls:
            return False
        function, future = self._calls.popleft()
        if self._dropping:
            future.cancel()
        elif future.set_running_or_notify_cancel():
            try:
                future.set_result(function(self.composition))
            except Exception as error:
                future.set_exception(error)
        return True

    def _end_all(self, error: Exception) -> None:
        """Every request fails of this."""
        with self._changed:
            waiting = list(self._waiting)
            self._waiting.clear()
        for request in waiting:
            request.read.cancel()
            self.turns.fail(request, error)
        self._end_active(error)

    def _end_active(self, error: Exception) -> None:
        """Every request that has been taken up fails of this; who still waits had no part in it."""
        for request in list(self.turns.active):
            request.read.cancel()
            self.turns.fail(request, error)
        self.turns.reset()

    def _retry_after(self) -> int:
        turns = (len(self._waiting) + 1) / self.limits.rows
        return min(max(math.ceil(self.turns.mean * turns), 1), 60)
