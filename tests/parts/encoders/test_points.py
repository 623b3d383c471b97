"""Points as patches: a set, whatever order it comes in."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from polymodal.errors import MediaError, RecipeError
from polymodal.media import load_points
from polymodal.parts.encoders.grouping import farthest, grouped
from polymodal.parts.tiny import POINTS as TINY
from tests.parts.encoders.contract import check_lengths_and_neighbours, check_options_rebuild, features, make


def cloud(seed: int = 0, n: int = 80) -> np.ndarray:
    return load_points(np.random.default_rng(seed).random((n, 6)))


CLOUDS = [cloud(0), cloud(1), cloud(2, 130)]


@pytest.mark.parametrize("color", [False, True])
def test_length_is_what_is_emitted_alone_or_in_a_batch(color):
    check_lengths_and_neighbours(make("point-patches", **TINY, color=color), CLOUDS)


def test_options_and_weights_make_the_same_encoder_again():
    check_options_rebuild(make("point-patches", **TINY, color=True), "point-patches", CLOUDS)


@pytest.mark.parametrize("n", [80, 500])
def test_the_order_of_points_changes_no_bit(n):
    raw = np.random.default_rng(3).random((n, 3))
    raw[:20] = raw[20:40]  # twins, whose order nothing tells
    encoder = make("point-patches", **TINY)
    order = np.random.default_rng(4).permutation(n)
    (one,), (other,) = features(encoder, [load_points(raw)]), features(encoder, [load_points(raw[order])])
    assert torch.equal(one, other)


def test_colours_are_read_only_where_they_are_asked_for():
    shape, painted = cloud(0), cloud(0)
    painted[:, 3:] = 0
    for color in (False, True):
        encoder = make("point-patches", **TINY, color=color)
        (one,), (other,) = features(encoder, [shape]), features(encoder, [painted])
        assert torch.equal(one, other) != color


def test_a_group_is_the_nearest_points_around_its_centre():
    places = cloud(5)[:, :3]
    centres, patches = grouped(places, 100, 6, 4)
    for centre, patch in zip(centres, patches, strict=True):
        wanted = np.sort(np.linalg.norm(places - centre, axis=1))[:4]
        np.testing.assert_allclose(np.linalg.norm(patch, axis=1), wanted, atol=1e-6)
    assert grouped(cloud(5, 300)[:, :3], 100, 6, 4)[1].shape == (6, 4, 3)


def test_centres_are_as_far_apart_as_they_can_be():
    corners = np.array([[x, y, 0] for x in (-1, 1) for y in (-1, 1)], np.float32)
    inside = np.random.default_rng(0).uniform(-0.2, 0.2, (50, 3)).astype(np.float32)
    assert set(farthest(np.concatenate((corners, inside)), 4)) == {0, 1, 2, 3}


def test_a_cloud_of_too_few_points_is_refused():
    with pytest.raises(MediaError, match="a cloud of 5 points is too small for this encoder, which needs 6 of them"):
        make("point-patches", **TINY).prepare(cloud(0, 5))


def test_heads_that_do_not_divide_the_width_are_refused():
    with pytest.raises(RecipeError, match="encoder 'point-patches', option 'width': 24 is no multiple of its 5 heads"):
        make("point-patches", **{**TINY, "heads": 5})
