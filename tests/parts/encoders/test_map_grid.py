"""Maps by their numbers: a cell is a share of the map, and how far and how warm is not forgotten."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from polymodal.errors import MediaError, RecipeError
from polymodal.parts.encoders.map_grid import _numbers
from tests.parts.encoders.contract import check_lengths_and_neighbours, check_options_rebuild, features, make

DEPTH = {"modality": "depth", "unit": "metres", "range": [1, 12], "pixels": 48, "width": 8, "heads": 2}
THERMAL = {"modality": "thermal", "unit": "celsius", "range": [-15, 75], "pixels": 48, "width": 8, "heads": 2}


def numbers(seed: int = 0, size=(30, 40)) -> np.ndarray:
    return np.random.default_rng(seed).uniform(1, 12, size).astype(np.float32)


@pytest.mark.parametrize(("options", "modality"), [(DEPTH, "depth"), (THERMAL, "thermal")])
def test_length_is_what_is_emitted_alone_or_in_a_batch(options, modality):
    encoder = make("map-grid", **options)
    assert encoder.modality == modality
    assert encoder.length(encoder.prepare(numbers())) == 10
    check_lengths_and_neighbours(encoder, [numbers(0), numbers(1, (50, 9)), numbers(2)])


def test_options_and_weights_make_the_same_encoder_again():
    check_options_rebuild(make("map-grid", **DEPTH), "map-grid", [numbers()])


def test_a_change_in_a_corner_is_a_change_of_its_cell_and_others_may_be_compared_with_it():
    encoder, there = make("map-grid", **{**THERMAL, "pixels": 96}), np.full((96, 96), 20, np.float32)
    warmer = there.copy()
    warmer[:16, 80:] = 60
    cells = {}
    encoder.enter.register_forward_pre_hook(lambda _, args: cells.update({len(cells): args[0][0]}))
    (before,), (after,) = features(encoder, [there]), features(encoder, [warmer])
    own, standing = ([not torch.allclose(x, y, atol=1e-5) for x, y in zip(*part, strict=True)] for part in _parts(cells))
    assert own == [True, False, False, True, *[False] * 6]  # the whole, and the third cell of the first row
    assert standing == [False, *[True] * 9]  # none stands as it did
    assert not any(torch.allclose(x, y, atol=1e-5) for x, y in zip(before, after, strict=True))


def _parts(cells):
    """Of each of two maps what its cells hold, and how they stand among the others."""
    return [cells[i][:, :-3] for i in (0, 1)], [cells[i][:, -3:] for i in (0, 1)]


def test_each_cell_brings_its_numbers_and_how_they_stand_among_the_others():
    shades = torch.zeros(1, 1, 9, 9)
    shades[..., :3, :3], shades[..., 3:6, 3:6] = 0.9, 0.4
    most, least, mean, *standing = _numbers(shades, 3)[0]
    assert [round(float(x), 3) for x in (most[0], least[0], mean[4], most[8])] == [0.9, 0.9, 0.4, 0]
    assert [round(float(x), 2) for x in standing[0][[0, 4, 8]]] == [
        0.89,
        0.67,
        -0.22,
    ]  # above 8, above 7 and below 1, below 2


def test_everything_farther_is_another_map():
    encoder = make("map-grid", **DEPTH)
    near, far = features(encoder, [np.full((9, 9), 2, np.float32), np.full((9, 9), 4, np.float32)])
    assert not torch.allclose(near, far, atol=1e-3)


def test_a_map_in_another_unit_is_refused():
    with pytest.raises(RecipeError, match="encoder of maps, option 'unit': depth is in .*, not 'feet'"):
        make("map-grid", **{**DEPTH, "unit": "feet"})
    with pytest.raises(MediaError, match="it is not in celsius"):
        make("map-grid", **THERMAL).prepare(np.full((4, 4), -300, np.float32))


@pytest.mark.parametrize("size", ["pixels", "cells", "width", "depth", "heads"])
def test_a_size_of_nothing_is_refused(size):
    with pytest.raises(RecipeError, match=f"option '{size}'"):
        make("map-grid", **{**DEPTH, size: 0})
