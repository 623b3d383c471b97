"""What a request hears of its answer. Decides the events, and how threads and asyncio wait for them.

The engine's thread puts events; any number of readers, in threads or event loops, see all of them from the first. Each
ticket ends with one `Done` or one `Failed`, whatever happens.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from polymodal.content import Part

Reason = Literal["stop", "length", "time", "cancelled"]


@dataclass(frozen=True)
class Wrote:
    """A new piece of text of the answer of this number."""

    answer: int
    text: str


@dataclass(frozen=True)
class Making:
    """Progress of what the output of this name makes: `done` steps `of`."""

    answer: int
    output: str
    done: int
    of: int


@dataclass(frozen=True)
class PartMade:
    """A medium, or why there is none (`Part.failed`). Text that comes after it stands behind it."""

    answer: int
    part: Part


@dataclass(frozen=True)
class Ended:
    """One of the answers is complete. `reason`: it ended itself or said what it was to stop at (`stop`), or it was ended:
    by the cap of tokens (`length`) or of seconds (`time`), or because nobody wants it any more (`cancelled`)."""

    answer: int
    reason: Reason


@dataclass(frozen=True)
class Answered:
    """The whole of an answer. `tokens`: generated; `seed`: of all that was drawn for it."""

    parts: tuple[Part, ...]
    reason: Reason
    tokens: int
    seed: int


@dataclass
class Usage:
    """Counts: positions of the prompt, those of them that a cache held (`cached`), that were run (`prefilled`), and that
    hold `media`; tokens `generated` by all answers; media that an encoder was run for (`encoded`). `seconds`: from
    submission until it was taken up (`waited`), to the `first` token, and the `total`."""

    prompt: int = 0
    cached: int = 0
    prefilled: int = 0
    media: int = 0
    generated: int = 0
    encoded: int = 0
    seconds: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Done:
    """The last event of a request that was answered, if only in part."""

    answers: tuple[Answered, ...]
    usage: Usage


@dataclass(frozen=True)
class Failed:
    """The last event of a request that could not be answered. A `PolymodalError` is the user's to mend and may be shown;
    anything else is a defect of ours, has been logged, and its text is nobody's business."""

    error: Exception


Event = Wrote | Making | PartMade | Ended | Done | Failed


class Ticket:
    """One request. Iterate over it (`for`, `async for`) for its events, or ask for its `result`; as a context manager, it
    cancels what is not done when it is left."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._events: list[Event] = []
        self._changed = threading.Condition()
        self._listeners: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []
        self.cancelled = False

    def cancel(self) -> None:
        """Give up: the answer ends before its next token, with what there is of it. Nothing happens if it is done."""
        self.cancelled = True
        self._wake()

    @property
    def done(self) -> bool:
        return bool(self._events) and isinstance(self._events[-1], Done | Failed)

    def put(self, event: Event) -> None:
        """By the engine. What comes behind the last event is dropped."""
        with self._changed:
            if self.done:
                return
            self._events.append(event)
            self._changed.notify_all()
            for loop, heard in self._listeners:
                if not loop.is_closed():
                    loop.call_soon_threadsafe(heard.set)

    def __iter__(self) -> Iterator[Event]:
        at = 0
        while True:
            with self._changed:
                while len(self._events) == at:
                    self._changed.wait()
                event = self._events[at]
            at += 1
            yield event
            if isinstance(event, Done | Failed):
                return

    async def __aiter__(self) -> AsyncIterator[Event]:
        listener = asyncio.get_running_loop(), asyncio.Event()
        with self._changed:
            self._listeners.append(listener)
        at = 0
        try:
            while True:
                listener[1].clear()
                while at < len(self._events):
                    event = self._events[at]
                    at += 1
                    yield event
                    if isinstance(event, Done | Failed):
                        return
                await listener[1].wait()
        finally:
            with self._changed:
                self._listeners.remove(listener)

    def result(self, timeout: float | None = None) -> Done:
        """The whole answer, for a thread. Raises what it failed of, or `TimeoutError` after so many seconds."""
        with self._changed:
            if not self._changed.wait_for(lambda: self.done, timeout):
                raise TimeoutError(f"no answer after {timeout} seconds")
        return _outcome(self._events[-1])

    async def wait(self) -> Done:
        """The whole answer, for asyncio. Raises what it failed of."""
        async for event in self:
            last = event
        return _outcome(last)

    def __enter__(self) -> Ticket:
        return self

    def __exit__(self, *error: Any) -> None:
        if not self.done:
            self.cancel()


def _outcome(event: Event) -> Done:
    if isinstance(event, Failed):
        raise event.error
    assert isinstance(event, Done)
    return event
