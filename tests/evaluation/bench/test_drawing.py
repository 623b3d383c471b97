"""What is drawn: balanced, of one item once, and the same whatever else a corpus holds."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from polymodal.evaluation.bench.drawing import Drawn, balanced


@dataclass(frozen=True)
class Thing:
    id: str


def pool(n: int, keys: str = "ab", parts: str = "xy", of: int = 1) -> list[Drawn]:
    return [
        Drawn(f"{i}:{key}{part}", (Thing(f"{i // of}"),), "?", key, (), key, part)  # type: ignore[arg-type]
        for i in range(n)
        for key in keys
        for part in parts
    ]


def test_answers_and_parts_are_balanced_and_an_item_is_asked_about_once():
    asked, spare = balanced("task", pool(40), 24, 4)
    assert Counter((one.key, one.part) for one in asked) == {(k, p): 6 for k in "ab" for p in "xy"}
    shown = [one.items[0].id for one in [*asked, *spare]]
    assert len(set(shown)) == 28


def test_a_rare_answer_is_taken_as_often_as_it_is_there():
    rare = [Drawn(f"r{i}", (Thing(f"r{i}"),), "?", "c", (), "c") for i in range(2)]  # type: ignore[arg-type]
    asked, _ = balanced("task", [*pool(30, parts=" "), *rare], 20)
    assert Counter(one.key for one in asked)["c"] == 2
    assert len(asked) == 20


def test_the_order_of_the_pool_changes_nothing_and_more_items_do_not_reorder_the_others():
    few, many = pool(30, "a", "x"), pool(60, "a", "x")
    asked, _ = balanced("task", few, 30)
    assert asked == balanced("task", few[::-1], 30)[0]
    known = [one for one in balanced("task", many, 60)[0] if one in few]
    assert known == asked
    assert balanced("other", few, 30)[0] != asked


def test_less_is_there_than_is_wanted():
    asked, spare = balanced("task", pool(3, "a", "x"), 24, 4)
    assert (len(asked), len(spare)) == (1, 2)
    assert balanced("task", pool(3, "a", "x"), 24) == (balanced("task", pool(3, "a", "x"), 3)[0], [])
