"""Depth and temperature as pictures: one shade is one number, and near and hot are white."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from polymodal.errors import MediaError, RecipeError
from polymodal.parts.encoders.shading import Shading
from tests.conftest import CLIP, WHISPER
from tests.parts.encoders.contract import check_lengths_and_neighbours, check_options_rebuild, make

VISION = {"kind": "vision", "config": dict(CLIP)}
DEPTH = {"modality": "depth", "unit": "metres", "range": [0.5, 10], "of": VISION}
THERMAL = {"modality": "thermal", "unit": "celsius", "range": [0, 50], "of": VISION}


def depth(seed: int = 0, size=(30, 40)) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0.4, 12, size).astype(np.float32)


@pytest.mark.parametrize(("options", "modality"), [(DEPTH, "depth"), (THERMAL, "thermal")])
def test_length_is_what_is_emitted_alone_or_in_a_batch(options, modality):
    encoder = make("maps", **options)
    assert encoder.modality == modality
    check_lengths_and_neighbours(encoder, [depth(0), depth(1, (50, 9)), depth(2)])


def test_options_and_weights_make_the_same_encoder_again():
    check_options_rebuild(make("maps", **DEPTH), "maps", [depth()])


def test_the_features_are_those_of_the_drawing_in_grey():
    encoder = make("maps", **DEPTH)
    drawing = encoder.shading.draw(depth())
    assert drawing.mode == "RGB"
    assert torch.equal(encoder.prepare(depth())["pixel_values"], encoder.of.prepare(drawing)["pixel_values"])


def test_near_is_white_far_and_unknown_are_black_and_shades_are_of_disparity():
    shades = Shading("depth", "metres", (1, 5)).shades(np.array([[0.2, 1, 5, 99], [0, np.nan, np.inf, 5 / 3]], np.float32))
    np.testing.assert_allclose(shades, [[1, 1, 0, 0], [0, 0, 0, 0.5]], atol=1e-6)


def test_metres_and_millimetres_of_one_scene_are_one_drawing():
    metres, millimetres = Shading("depth", "metres", (0.5, 10)), Shading("depth", "millimetres", (500, 10000))
    values = np.round(depth() * 1000)
    np.testing.assert_array_equal(metres.draw(values / 1000), millimetres.draw(values))


def test_disparity_is_shaded_as_it_is():
    shades = Shading("depth", "disparity", (0, 4)).shades(np.array([[0.0, 1, 4, 8]]))
    np.testing.assert_allclose(shades, [[0, 0.25, 1, 1]])


def test_hot_is_white_and_zero_degrees_are_a_temperature():
    shades = Shading("thermal", "celsius", (-10, 10)).shades(np.array([[-40, -10, 0, 10, np.nan]]))
    np.testing.assert_allclose(shades, [[0, 0, 0.5, 1, 0]])


@pytest.mark.parametrize(
    ("modality", "unit", "value", "said"),
    [
        ("depth", "metres", -1.0, "a depth map with -1, below 0: it is not in metres"),
        ("depth", "metres", 0.0, "a depth map without a single measured pixel"),
        ("thermal", "kelvin", -5.0, "a thermal map with -5, below 0: it is not in kelvin"),
        ("thermal", "celsius", -300.0, "a thermal map with -300, below -273.15: it is not in celsius"),
        ("thermal", "levels", np.nan, "a thermal map without a single measured pixel"),
    ],
)
def test_numbers_that_cannot_be_in_the_unit_are_refused(modality, unit, value, said):
    with pytest.raises(MediaError) as refusal:
        Shading(modality, unit, (1, 2)).draw(np.full((4, 4), value))
    assert str(refusal.value) == said


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"unit": "celsius"}, "option 'unit': depth is in metres or millimetres or disparity, not 'celsius'"),
        ({"range": [10, 0.5]}, "option 'range': \\[10, 0.5\\] is not low above 0 and high"),
        ({"range": [0, 5]}, "option 'range': \\[0, 5\\] is not low above 0 and high"),
        ({"of": {"kind": "whisper", "config": dict(WHISPER)}}, "'of' is an image encoder, and 'whisper' takes audio"),
        ({"of": {"kind": "vison"}}, "did you mean 'vision'"),
    ],
)
def test_a_recipe_that_cannot_be_is_refused(changes, said):
    with pytest.raises(RecipeError, match=said):
        make("maps", **{**DEPTH, **changes})
