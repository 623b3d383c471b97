"""How sure a number is, and whether two differ. Decides that a score always has an interval: Wilson's where it is a share
of right answers, the bootstrap's otherwise; and that two runs are compared question by question, on the same questions
drawn anew (the paired bootstrap; Koehn 2004), because most of what makes a benchmark's score vary is which questions it
asks.

Questions that are scored together are drawn together, and so are questions that share what is shown: of ten questions about
one picture a model has all or none more often than of ten about ten.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from polymodal.errors import EvaluationError
from polymodal.evaluation.metrics import wilson
from polymodal.evaluation.protocol import Protocol, Record, mean

ROUNDS = 1000
MOST = 3_000_000  # records that are scored anew in all, where a total is no mean


@dataclass(frozen=True)
class Comparison:
    """`a`, `b`: the main number of each over the questions of both; `difference`: b - a, with its 95 % interval; `less`: of
    these numbers less is better. `better`, `worse`: questions on which b scores more, and less (a score is never an error
    rate). `only_a`, `only_b`: questions that the other was not asked."""

    a: float
    b: float
    difference: float
    low: float
    high: float
    n: int
    better: int
    worse: int
    only_a: int = 0
    only_b: int = 0
    less: bool = False

    @property
    def winner(self) -> str | None:
        """`a` or `b`, whichever is better; None where the interval does not tell."""
        return None if not self.sure else "b" if (self.difference > 0) != self.less else "a"

    @property
    def sure(self) -> bool:
        """Whether 0 is outside of the interval."""
        return self.low > 0 or self.high < 0


def interval(protocol: Protocol, records: Sequence[Record], rounds: int = ROUNDS) -> tuple[float, float] | None:
    """The 95 % interval of the main number; None where it has none."""
    if protocol.whole:
        return None
    alone = len(set(_owners(records))) == len(records)
    if alone and _is_mean(protocol, records) and all(record.score in (0, 1) for record in records):
        return wilson(int(sum(record.score for record in records)), len(records))
    (drawn,) = _resampled(protocol, [records], rounds)
    low, high = np.quantile(drawn, (0.025, 0.975))
    return float(low), float(high)


def compare(protocol: Protocol, a: Sequence[Record], b: Sequence[Record], rounds: int = ROUNDS) -> Comparison:
    """Two runs on the questions of both. Raises `EvaluationError` where they share none, or where their number has no
    interval."""
    if protocol.whole:
        raise EvaluationError(f"{protocol.id}: a number of whole sets has no interval to compare by")
    first, second = ({record.id: record for record in records} for records in (a, b))
    both = sorted(first.keys() & second.keys())
    if not both:
        raise EvaluationError(f"{protocol.id}: the two runs share no question")
    left, right = [first[name] for name in both], [second[name] for name in both]
    here, there = (protocol.totals(records)[protocol.main] for records in (left, right))
    drawn = _resampled(protocol, [left, right], rounds)
    low, high = np.quantile(drawn[1] - drawn[0], (0.025, 0.975))
    pairs = list(zip(left, right, strict=True))
    return Comparison(
        here,
        there,
        there - here,
        float(low),
        float(high),
        len(both),
        sum(r.score > e.score for e, r in pairs),
        sum(r.score < e.score for e, r in pairs),
        len(first) - len(both),
        len(second) - len(both),
        protocol.less,
    )


def _is_mean(protocol: Protocol, records: Sequence[Record]) -> bool:
    """Whether the main number is the mean score of questions, none of which is scored together with another."""
    if any(record.group for record in records):
        return False
    return abs(protocol.totals(records)[protocol.main] - mean(record.score for record in records)) < 1e-9


def _resampled(protocol: Protocol, runs: Sequence[Sequence[Record]], rounds: int) -> list[np.ndarray]:
    """The main number of each run over `rounds` draws of the questions, the same for all. Seeded: equal runs have equal
    intervals."""
    random = np.random.default_rng(0)
    groups: dict[str, list[int]] = {}
    for i, owner in enumerate(_owners(runs[0])):
        groups.setdefault(owner, []).append(i)
    places = list(groups.values())
    if all(_is_mean(protocol, records) for records in runs):
        sums = np.array([[sum(records[i].score for i in place) for place in places] for records in runs])
        sizes = np.array([len(place) for place in places])
        draws = [random.integers(0, len(places), len(places)) for _ in range(rounds)]
        return list(np.array([sums[:, draw].sum(1) / sizes[draw].sum() for draw in draws]).T)
    rounds = max(100, min(rounds, MOST // len(runs[0])))
    out: list[list[float]] = [[] for _ in runs]
    for _ in range(rounds):
        draw = random.integers(0, len(places), len(places))
        for numbers, records in zip(out, runs, strict=True):
            # A group that is drawn twice is two groups
            again = [_again(records[i], k) for k, g in enumerate(draw) for i in places[g]]
            numbers.append(protocol.totals(again).get(protocol.main, 0.0))
    return [np.array(numbers) for numbers in out]


def _owners(records: Sequence[Record]) -> list[str]:
    """With what each record is drawn: its group, or else what is shown, or else nothing."""
    return [record.group or (f"\0{record.shown}" if record.shown else f"\0{i}") for i, record in enumerate(records)]


def _again(record: Record, draw: int) -> Record:
    return replace(record, group=f"{draw}:{record.group}") if record.group else record
