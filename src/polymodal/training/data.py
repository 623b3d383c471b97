"""Samples and mixing. Decides how a training sample is found again: by (source, epoch, place), never by luck.

A source is a sized collection; `sample(index, rng)` is one conversation. Whatever is random about a sample (its wording)
comes from the `rng` it is given, seeded by where it stands, so that a resumed run sees what an uninterrupted one sees.
A mix draws *which* sample comes next, which costs nothing; looking at it is left to whoever has time (`training.loading`).
The sources themselves are in `training.sources`.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from polymodal.content import Message


@dataclass
class Sample:
    """One conversation to learn from. `name` identifies it in errors and logs."""

    messages: list[Message]
    name: str
    source: str = ""


class Source(Protocol):
    def __len__(self) -> int: ...

    def sample(self, index: int, rng: random.Random) -> Sample: ...


@dataclass(frozen=True)
class Draw:
    """Sample `index` of the source called `source`; `seed` seeds what is random about it."""

    source: str
    index: int
    seed: str

    def sample(self, sources: Mapping[str, Source]) -> Sample:
        sample = sources[self.source].sample(self.index, random.Random(self.seed))
        sample.source = self.source
        return sample


@dataclass
class Mix:
    """Weighted sources with explicit state: `cursors` says how many samples of each have been drawn."""

    sources: dict[str, Source]
    weights: dict[str, float]
    seed: int
    drawn: int = 0
    cursors: dict[str, int] = field(default_factory=dict)
    _orders: dict[tuple[str, int], list[int]] = field(default_factory=dict, repr=False)

    def __iter__(self) -> Iterator[Sample]:
        return self

    def __next__(self) -> Sample:
        return self.draw().sample(self.sources)

    def draw(self) -> Draw:
        """What comes next, without looking at it."""
        seed = f"{self.seed}/{self.drawn}"
        names = list(self.weights)
        name = random.Random(seed).choices(names, [self.weights[n] for n in names])[0]
        cursor, size = self.cursors.get(name, 0), len(self.sources[name])
        epoch, place = divmod(cursor, size)
        self.drawn, self.cursors[name] = self.drawn + 1, cursor + 1
        return Draw(name, self._order(name, epoch, size)[place], f"{seed}/sample")

    def state_dict(self) -> dict[str, Any]:
        return {"drawn": self.drawn, "cursors": dict(self.cursors)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.drawn, self.cursors = state["drawn"], dict(state["cursors"])

    def _order(self, name: str, epoch: int, size: int) -> list[int]:
        """The permutation of one epoch of one source."""
        if (name, epoch) not in self._orders:
            order = list(range(size))
            random.Random(f"{self.seed}/{name}/{epoch}").shuffle(order)
            self._orders = {k: v for k, v in self._orders.items() if k[0] != name} | {(name, epoch): order}
        return self._orders[name, epoch]


def by_length(items: Sequence[Any], lengths: Sequence[int], batch: int, rng: random.Random) -> list[list[Any]]:
    """Cut items into batches of similar length, in random order."""
    order = sorted(range(len(items)), key=lambda i: (lengths[i], i))
    batches = [[items[i] for i in order[k : k + batch]] for k in range(0, len(order), batch)]
    rng.shuffle(batches)
    return batches
