"""What the routes need of an engine. Decides nothing: a `Protocol`, the events of an answer, and what can be refused."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Literal, Protocol, TypeVar

from polymodal.content import Message, Part
from polymodal.errors import ContentError, PolymodalError
from polymodal.model.composition import Composition
from polymodal.model.generation import Sampling

T = TypeVar("T")


class Busy(PolymodalError):
    """The queue is full. `retry_after`: seconds."""

    def __init__(self, retry_after: float = 1.0) -> None:
        super().__init__(f"the queue is full; try again in {retry_after:g} seconds")
        self.retry_after = retry_after


class TooLong(ContentError):
    """A prompt that leaves no room for an answer within what the backbone can read."""


class Closed(PolymodalError):
    """The engine takes no more requests."""


@dataclass(frozen=True)
class Usage:
    """Positions of one answer: of the `prompt`, of those `cached` and taken by `media`, and tokens `generated`."""

    prompt: int
    generated: int
    cached: int = 0
    media: int = 0


@dataclass(frozen=True)
class TextPiece:
    """Text as it becomes certain; of answer number `answer`."""

    text: str
    answer: int = 0


@dataclass(frozen=True)
class PartMade:
    """A picture, recording or clip that the answer holds here, or why it could not be made (`part.failed`)."""

    part: Part
    answer: int = 0


@dataclass(frozen=True)
class Done:
    """One answer has ended: by itself or a stop string, or at a cap."""

    usage: Usage
    finish: Literal["stop", "length"]
    answer: int = 0


@dataclass(frozen=True)
class Failed:
    """All answers to the request have ended. `error` is typed where a user can mend it."""

    error: Exception


Event = TextPiece | PartMade | Done | Failed


class Ticket(Protocol):
    """A request under way. Iterating gives its events until each of its answers is `Done`, or until `Failed`."""

    def __aiter__(self) -> AsyncIterator[Event]: ...

    def cancel(self) -> None:
        """Stop at the next token, from any thread; it may have ended already."""


class Engine(Protocol):
    """Owns the model, in a thread of its own."""

    composition: Composition

    def submit(
        self,
        conversation: Sequence[Message],
        sampling: Sampling,
        *,
        n: int = 1,
        stop: Sequence[str] = (),
        seconds: float | None = None,
        tenant: str = "",
    ) -> Ticket:
        """`n` answers to a conversation: number i is drawn with `sampling.seed + i`. `seconds`: after which all are cut
        short. `tenant`: whose caches may be used. To be called in the event loop. Raises `Busy` and `Closed`."""

    def call(self, function: Callable[[Composition], T], seconds: float | None = None) -> Future[T]:
        """Run a function of the model between the steps of others (embeddings, a picture on order). A future that is
        cancelled before its turn is not run. Raises `Busy` and `Closed`."""

    @property
    def load(self) -> dict[str, int]:
        """`running` and `waiting` requests."""

    def close(self, finish: bool = True) -> None:
        """Take no more; finish what there is, or cancel it. Waits."""
