"""What tests of the engine share: turns without threads, so that what happens between two steps is said and not timed."""

from __future__ import annotations

import time
from concurrent.futures import Future
from typing import Any

import torch

from polymodal.content import Part, user
from polymodal.model.sampling import Sampling
from polymodal.serving.items import Items, Shelf
from polymodal.serving.requests import Limits, Request
from polymodal.serving.tickets import Done, Ticket
from polymodal.serving.turns import Turns

NEVER_ENDS = Sampling(max_new_tokens=400, temperature=1.0, seed=1, most_media=0)


class Now:
    """An executor that does it at once."""

    def submit(self, run: Any, *args: Any) -> Future:
        future: Future = Future()
        try:
            future.set_result(run(*args))
        except Exception as error:
            future.set_exception(error)
        return future


class Desk:
    """Turns, and what an engine does around them, one call at a time."""

    def __init__(self, composition: Any, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self.items = Items(composition.model.eval(), "", self.limits.media_bytes)
        self.turns = Turns(composition, self.limits, self.items, Now(), lambda: None)  # type: ignore[arg-type]

    def take(self, *messages: Any, sampling: Sampling | None = None, stop: tuple[str, ...] = (), n: int = 1) -> Request:
        shelf = Shelf(self.items, "")
        read: Future = Future()
        read.set_result(None)
        said = [message if hasattr(message, "role") else user(message) for message in messages]
        far = time.monotonic() + 1000
        request = Request(said, sampling or Sampling(), stop, n, "", shelf, Ticket(lambda: None), far, read=read)
        with torch.no_grad():
            self.turns.take(request)
        return request

    def turn(self, times: int = 1) -> None:
        with torch.no_grad():
            for _ in range(times):
                self.turns.turn()

    def finish(self, *requests: Request) -> list[Done]:
        for _ in range(5000):
            if all(request.ticket.done for request in requests):
                return [request.ticket.result(0) for request in requests]
            self.turn()
        raise AssertionError("it never ends")


def plain(parts: Any) -> list[tuple[str, Any]]:
    """Parts, comparable: texts, and the bytes of pictures."""
    return [(p.type, p.text if p.type == "text" else _bytes(p)) for p in parts]


def _bytes(part: Part) -> Any:
    return part.media.tobytes() if hasattr(part.media, "tobytes") else part.failed
