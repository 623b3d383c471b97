"""What routes ask of the model beside answers: an embedding, a medium on order. Decides that none of it keeps the rows
waiting for longer than one of its steps, and that each ends: with its value, with an error, or with its time.

A function of the composition is run in one go. One that is a generator is run a step at a time, between the tokens of the
answers; it yields None where others may be served, and `Apart` for what another thread is to do, of which it is sent the
value.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import Any, TypeVar

from polymodal.errors import OutOfTime
from polymodal.model.composition import Composition

T = TypeVar("T")
RUNNING = 4  # steps of so many are taken in one turn


@dataclass(frozen=True)
class Apart:
    """What needs none of the model's own states, and may take its time: generators."""

    function: Callable[[], Any]


Work = Callable[[Composition], T | Generator[Apart | None, Any, T]]


@dataclass(eq=False)
class _Call:
    function: Work[Any]
    future: Future[Any]
    deadline: float
    steps: Generator[Any, Any, Any] | None = None
    awaited: Future[Any] | None = None


class Calls:
    """`step` and `drop` are of the model's thread, the rest of any. `wake`: called when what is done apart is done."""

    def __init__(self, composition: Composition, maker: Executor, wake: Callable[[], None]) -> None:
        self.composition, self._maker, self._wake = composition, maker, wake
        self._waiting: deque[_Call] = deque()
        self._running: list[_Call] = []

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def __bool__(self) -> bool:
        return bool(self._waiting or self._running)

    def put(self, function: Work[T], seconds: float) -> Future[T]:
        """A future that may be cancelled at any time; what has begun then ends before its next step."""
        future: Future[T] = Future()
        self._waiting.append(_Call(function, future, time.monotonic() + seconds))
        return future

    def step(self) -> bool:
        """A step of each that runs, and the first of one more. Whether anything was done."""
        if self._waiting and len(self._running) < RUNNING:
            self._running.append(self._waiting.popleft())
        advanced = [self._advance(call) for call in list(self._running)]
        return any(advanced)

    def drop(self) -> None:
        """Cancel everything."""
        for call in [*self._running, *self._waiting]:
            call.future.cancel()
        self._running += self._waiting
        self._waiting.clear()

    def _advance(self, call: _Call) -> bool:
        try:
            if call.future.cancelled():
                self._end(call)
                _told(call.future)
            elif time.monotonic() > call.deadline:
                self._end(call)
                _told(call.future, error=OutOfTime("its time was over before it was done: ask for less, or again later"))
            elif call.awaited is not None and not call.awaited.done():
                return False
            else:
                self._next(call)
        except StopIteration as end:
            self._end(call)
            _told(call.future, end.value)
        except Exception as error:
            self._end(call)
            _told(call.future, error=error)
        return True

    def _next(self, call: _Call) -> None:
        """Raises `StopIteration` with the value at the end."""
        if call.steps is None:
            begun = call.function(self.composition)
            if not isinstance(begun, Generator):
                raise StopIteration(begun)
            call.steps = begun
        awaited, call.awaited = call.awaited, None
        wanted = next(call.steps) if awaited is None else _continued(call.steps, awaited)
        if isinstance(wanted, Apart):
            call.awaited = self._maker.submit(wanted.function)
            call.awaited.add_done_callback(lambda _: self._wake())

    def _end(self, call: _Call) -> None:
        self._running.remove(call)
        if call.awaited is not None:
            call.awaited.cancel()
        if call.steps is not None:
            call.steps.close()


def _continued(steps: Generator[Any, Any, Any], awaited: Future[Any]) -> Any:
    """The next wish of a generator that is sent what it waited for."""
    error = awaited.exception()
    return steps.send(awaited.result()) if error is None else steps.throw(error)


def _told(future: Future[Any], value: Any = None, error: BaseException | None = None) -> None:
    """Unless it was cancelled, which nobody can do any more once it is set to running."""
    if not future.set_running_or_notify_cancel():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(value)
