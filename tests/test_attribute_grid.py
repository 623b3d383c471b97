"""The attribute grid is what its benchmark needs it to be: nothing can be guessed, and nothing copied."""

from __future__ import annotations

import importlib.util
import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture(scope="module")
def grid():
    file = Path(__file__).resolve().parents[1] / "benchmarks/attribute_grid.py"
    spec = importlib.util.spec_from_file_location("attribute_grid", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["HELD", "SEEN"])
def test_each_value_of_an_attribute_is_as_frequent_on_both_sides(grid, name):
    side = getattr(grid, name)
    for place, size in enumerate(grid.SIZES):
        assert set(Counter(combination[place] for combination in side).values()) == {len(side) // size}


def test_what_is_held_out_is_never_drawn_for_training(grid, tmp_path):
    grid.write(tmp_path, 72)
    held = {grid.caption(combination) for combination in grid.HELD}
    for name in ("pairs", "shuffled", "free"):
        rows = (tmp_path / f"{name}.jsonl").read_text()
        assert not any(f'"{caption}"' in rows for caption in held)


def test_who_asks_and_the_generator_share_no_word(grid):
    rng = random.Random(0)
    asked = {word for combination in grid.ALL for _ in range(8) for word in grid.words(combination, rng).split()}
    said = {word for combination in grid.ALL for word in grid.caption(combination).split()}
    assert not asked & said
    assert len(asked) == 2 * sum(grid.SIZES)


def test_a_picture_shows_its_thing_in_its_quarter(grid):
    for combination in grid.ALL:
        pixels = np.asarray(grid.drawn(combination, np.random.default_rng(0)), np.float32).max(-1)
        rows, columns = np.nonzero(pixels > 90)
        assert (rows.mean() > 7.5) * 2 + (columns.mean() > 7.5) == combination[2]
