"""What the routes need of an engine. Decides nothing: a `Protocol`, and what it can refuse beside `Busy` and `Closed`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, Protocol, TypeVar

from polymodal.content import Message, Part
from polymodal.errors import ContentError
from polymodal.model.composition import Composition
from polymodal.model.generation import Sampling
from polymodal.serving.tickets import Ticket

T = TypeVar("T")


class TooLong(ContentError):
    """A prompt that leaves no room for an answer within what the backbone, or the engine, can read."""


class Engine(Protocol):
    """Owns the model, in a thread of its own."""

    composition: Composition

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
        """`n` answers to a conversation: number i is drawn with `sampling.seed + i`. `seconds`: after which all are cut
        short. `salt`: media and prefixes are shared among requests of the same alone. Raises `Busy` and `Closed`."""

    def call(self, function: Callable[[Composition], T]) -> Future[T]:
        """Run a function of the model between the steps of others (embeddings, a picture on order). A future that is
        cancelled before its turn is not run. Raises `Busy` and `Closed`."""

    def sent(self, made: Part, sent: Part, salt: str = "") -> None:
        """A part that was made has left as `sent`, and may come back so in the next turn."""

    def stats(self) -> Mapping[str, float]:
        """What there is now: `waiting` and `active` requests, and what else it counts."""

    def close(self, finish: bool = True) -> Any:
        """Take no more; finish what there is, or cancel it. Waits."""
