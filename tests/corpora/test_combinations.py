"""Which combinations of a concept and a design are held out."""

from __future__ import annotations

from polymodal.corpora.combinations import DESIGNS, combination, design

PINNED = {"boat": "fluent", "hat": "twemoji"}
NAMES = [f"thing {i}" for i in range(600)]


def test_of_some_concepts_one_design_is_held_out_and_of_the_others_none():
    held = {name: [d for d in DESIGNS if combination(name, d) == "held-out"] for name in NAMES}
    assert {len(designs) for designs in held.values()} == {0, 1}
    share = sum(map(bool, held.values())) / len(held)
    assert 0.24 < share < 0.36
    for each in DESIGNS:  # in equal parts, so that no style is tested more than another
        assert 0.25 < sum(designs == [each] for designs in held.values()) / (share * len(held)) < 0.42


def test_the_two_fluent_styles_are_one_design():
    assert all(combination(name, "fluent-flat") == combination(name, "fluent-3d") for name in NAMES)
    assert design("fluent-3d") == design("fluent-flat") == "fluent"


def test_it_is_the_same_on_every_machine():
    assert all(combination(name, vendor) == "held-out" for name, vendor in PINNED.items())
    assert combination("heart", "noto") == "trained"
