"""Tokens -> text as it becomes certain. Decides what of an unfinished answer can be shown: no half of a character, and
nothing that may turn out to be the beginning of what it should stop at.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any


class Printer:
    """`on_text` is called with each new piece. `stops`: texts behind which nothing is said and that are not shown
    themselves; `stopped` once one has been written."""

    def __init__(self, processor: Any, on_text: Callable[[str], None], stops: Sequence[str] = ()) -> None:
        self.processor, self.on_text, self.stops = processor, on_text, stops
        self.ids: list[int] = []
        self.shown = 0
        self.stopped = False

    def __call__(self, token: int) -> None:
        if token not in self.processor.stop_ids and not self.stopped:
            self.ids.append(token)
            self._show(final=False)

    def flush(self) -> None:
        self._show(final=True)

    @property
    def text(self) -> str:
        """All that has been written, up to where it stops."""
        whole = "".join(part.text or "" for part in self.processor.decode(self.ids))
        found = [at for stop in self.stops if (at := whole.find(stop)) >= 0]
        self.stopped = bool(found)
        return whole[: min(found)] if found else whole

    def _show(self, final: bool) -> None:
        whole = self.text
        if not final and not self.stopped:
            if whole.endswith("\ufffd"):  # an incomplete character
                return
            whole = whole[: len(whole) - _unsure(whole, self.stops)]
        if len(whole) > self.shown:
            self.on_text(whole[self.shown :])
            self.shown = len(whole)


def _unsure(text: str, stops: Sequence[str]) -> int:
    """How many of the last characters may be the beginning of a stop."""
    longest = max(map(len, stops), default=1) - 1
    return next((n for n in range(min(longest, len(text)), 0, -1) if any(s.startswith(text[-n:]) for s in stops)), 0)
