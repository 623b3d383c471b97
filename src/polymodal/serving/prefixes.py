"""What has been run, kept for the next turn. Decides that a conversation which goes on prefills only what is new.

The keys and values of answered prompts, with the identity of every position (`Example.identity`: token ids, and media by
fingerprint). A new prompt takes the longest beginning it shares with any of them, whoever's they are, within one salt.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from polymodal.model.sequence import common_prefix
from polymodal.serving.rows import nbytes, part_of

SHORTEST = 8  # positions worth a copy


@dataclass
class _Kept:
    salt: str
    identity: list[Any]
    cache: Any


class Prefixes:
    """At most `room` bytes of caches; those that were used longest ago go first."""

    def __init__(self, room: int) -> None:
        self.room = room
        self._kept: list[_Kept] = []

    def take(self, salt: str, identity: list[Any]) -> tuple[Any, int]:
        """A cache of its own of the first positions, and how many. At least one position is left to be run."""
        best, length = None, SHORTEST - 1
        for kept in self._kept:
            shared = min(common_prefix(kept.identity, identity), len(identity) - 1) if kept.salt == salt else 0
            if shared > length:
                best, length = kept, shared
        if best is None:
            return None, 0
        self._kept.remove(best)
        self._kept.append(best)
        return part_of(best.cache, 0, 0, length), length

    def put(self, salt: str, identity: list[Any], cache: Any) -> None:
        """Keep a cache of one row that holds these positions, in the place of those that it continues."""
        if len(identity) < SHORTEST or nbytes(cache) > self.room:
            return
        self._kept = [k for k in self._kept if k.salt != salt or identity[: len(k.identity)] != k.identity]
        self._kept.append(_Kept(salt, identity, cache))
        while self.nbytes > self.room:
            self._kept.pop(0)

    @property
    def nbytes(self) -> int:
        return sum(nbytes(kept.cache) for kept in self._kept)

    def __len__(self) -> int:
        return len(self._kept)
