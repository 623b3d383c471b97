"""Intervals, and the paired bootstrap."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from polymodal.errors import EvaluationError
from polymodal.evaluation.compare import compare, interval
from polymodal.evaluation.metrics import wilson
from polymodal.evaluation.protocol import Record
from polymodal.evaluation.protocols import PROTOCOLS

GQA, POPE, MME = PROTOCOLS["gqa@official"], PROTOCOLS["pope@official"], PROTOCOLS["mme-cognition@official"]


def shares(right: int, n: int, first: int = 0) -> list[Record]:
    return [Record(str(i), float(first <= i < first + right), extra={"part": "open"}) for i in range(n)]


def test_a_share_of_right_answers_has_wilsons_interval():
    assert interval(GQA, shares(81, 263)) == wilson(81, 263)


def test_a_mean_of_parts_of_points_has_the_bootstraps():
    records = [Record(str(i), score, extra={"part": ""}) for i, score in enumerate([0.3, 0.9, 0.6, 1.0] * 50)]
    low, high = interval(PROTOCOLS["vqav2@official"], records)
    assert low < 0.7 < high
    assert high - low == pytest.approx(2 * 1.96 * 0.274 / 200**0.5, rel=0.15)  # of the normal approximation
    assert interval(PROTOCOLS["vqav2@official"], records) == (low, high)


def test_a_number_that_is_no_mean_is_taken_of_each_draw():
    own = [
        Record(
            str(i), float(i % 5 > 0), "yes" if i % 2 else "no", extra={"label": "yes" if i % 3 else "no", "part": "random"}
        )
        for i in range(60)
    ]
    low, high = interval(POPE, own, 200)
    assert 0 < low < POPE.totals(own)["f1"] < high < 1


def test_pairs_are_drawn_together():
    own = [Record(f"{i}{j}", float(i % 2), group=str(i), extra={"part": "code_reasoning"}) for i in range(30) for j in "ab"]
    low, high = interval(MME, own, 200)
    assert low < 100 < high


def test_a_run_against_itself_differs_by_nothing_and_against_a_better_one_surely():
    a, b = shares(100, 300), shares(200, 300)
    same = compare(GQA, a, a)
    assert (same.difference, same.low, same.high, same.better, same.worse, same.sure) == (0.0, 0.0, 0.0, 0, 0, False)
    found = compare(GQA, a, b)
    assert found.difference == pytest.approx(1 / 3)
    assert (found.better, found.worse, found.n) == (100, 0, 300)
    assert 0 < found.low < 1 / 3 < found.high
    assert found.sure
    back = compare(GQA, b, a)
    assert (back.low, back.high) == pytest.approx((-found.high, -found.low))


def test_pairing_tells_runs_apart_that_their_intervals_do_not():
    """96 and 104 of 200 right, 92 of them the same: the intervals overlap, the eight differences all point one way."""
    a, b = shares(96, 200), shares(104, 200)
    assert interval(GQA, a)[1] > interval(GQA, b)[0]
    assert compare(GQA, a, b).sure


def test_only_shared_questions_are_compared_and_order_is_nothing():
    a, b = shares(50, 100), shares(70, 120, first=20)
    found = compare(GQA, a, b)
    assert (found.n, found.only_a, found.only_b) == (100, 0, 20)
    assert compare(GQA, random.Random(1).sample(a, 100), b) == found
    with pytest.raises(EvaluationError, match="share no question"):
        compare(GQA, a, [replace(record, id=f"x{record.id}") for record in b])


def test_questions_about_one_picture_are_drawn_together():
    """Ten pictures of which each is all right or all wrong tell as much as ten questions, not as a hundred."""
    apart = [Record(str(i), float(i // 10 % 2), extra={"part": "open"}) for i in range(100)]
    together = [replace(record, shown=str(i // 10)) for i, record in enumerate(apart)]
    widths = [high - low for low, high in (interval(GQA, apart), interval(GQA, together))]
    assert widths[1] > 2.5 * widths[0]
    assert interval(GQA, [replace(record, shown=str(i)) for i, record in enumerate(apart)]) == interval(GQA, apart)


def test_of_error_rates_the_lower_one_wins():
    wer = PROTOCOLS["librispeech@wer"]
    good, bad = ([Record(str(i), float(e == 0), extra={"errors": e, "of": 5}) for i in range(40)] for e in (0, 2))
    found = compare(wer, bad, good)
    assert (found.less, found.winner) == (True, "b")
    assert found.difference < 0
    assert found.better == 40
    assert compare(wer, good, bad).winner == "a"
    assert compare(GQA, shares(5, 80), shares(60, 80)).winner == "b"
    assert compare(GQA, shares(5, 80), shares(5, 80)).winner is None


def test_every_number_that_says_lower_is_better_is_compared_so():
    for protocol in PROTOCOLS.values():
        assert ("lower is better" in protocol.about) == protocol.less, protocol.id
