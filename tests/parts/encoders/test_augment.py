"""What training does to points, motion and maps: only there, and nothing that makes another thing of them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from polymodal.errors import MediaError, RecipeError
from polymodal.media import load_points
from polymodal.parts.base import Encoder
from polymodal.parts.encoders.augment import GREY, measured_anew, seen_anew, turns, worn_anew
from tests.parts.encoders.contract import check_lengths_and_neighbours, check_options_rebuild, features, make
from tests.parts.encoders.test_map_grid import DEPTH
from tests.parts.encoders.test_series import TINY, series

TURNED = {**TINY, "channels": ["ax", "ay", "wx"], "augment": True}


def cloud(seed: int = 0, n: int = 80) -> np.ndarray:
    return load_points(np.random.default_rng(seed).random((n, 6)))


def twice(encoder: Encoder, media: object) -> list[torch.Tensor]:
    with torch.no_grad():
        return [encoder([encoder.prepare(media)]).tokens[0] for _ in range(2)]


@pytest.mark.parametrize(
    ("kind", "options", "media"),
    [
        ("pointnet", {"width": 8}, cloud()),
        ("series", TURNED, series(20)),
        ("map-grid", DEPTH, np.linspace(1, 9, 144, dtype=np.float32).reshape(12, 12)),
    ],
)
def test_augmentation_happens_in_training_alone(kind, options, media):
    encoder = make(kind, **{**options, "augment": True})
    assert torch.equal(*twice(encoder, media))
    assert not torch.equal(*twice(encoder.train(), media))
    plain = make(kind, **{**options, "augment": False}).train()
    assert torch.equal(*twice(plain, media))
    torch.testing.assert_close(twice(plain, media)[0], twice(encoder.eval(), media)[0])


def test_augmentation_is_found_again_from_the_seed():
    encoder = make("pointnet", width=8, augment=True).train()
    found = []
    for _ in range(2):
        torch.manual_seed(3)
        found.append(twice(encoder, cloud()))
    assert torch.equal(found[0][0], found[1][0])
    assert torch.equal(found[0][1], found[1][1])


def test_clouds_stay_upright_in_the_unit_sphere():
    flat = torch.zeros(50, 400, 6)  # a disc on the ground with a mast
    flat[..., 0], flat[..., 2] = torch.rand(50, 400) - 0.5, torch.rand(50, 400) - 0.5
    flat[:, :200, 1], flat[:, :200, 0], flat[:, :200, 2] = torch.rand(50, 200), 0, 0
    flat[..., 3:] = 0.8
    seen = seen_anew(flat)
    assert seen.shape == (50, 100, 6)
    torch.testing.assert_close(seen[..., :3].norm(dim=-1).amax(1), torch.ones(50))
    mast = seen[..., 1] > 0.3
    assert seen[..., [0, 2]].norm(dim=-1)[mast].max() < 0.1  # upright
    grey = (seen[..., 3:] == GREY).all((1, 2))
    assert 0 < grey.sum() < 50


def test_turns_are_rotations_by_their_angle():
    axis = torch.nn.functional.normalize(torch.randn(5, 3), dim=-1)
    angle = torch.linspace(0.1, 3, 5)
    turn = turns(axis, angle)
    torch.testing.assert_close(turn @ turn.transpose(1, 2), torch.eye(3).expand(5, 3, 3), atol=1e-5, rtol=0)
    torch.testing.assert_close(torch.linalg.det(turn), torch.ones(5))
    torch.testing.assert_close((turn @ axis[..., None])[..., 0], axis)
    torch.testing.assert_close(turn.diagonal(dim1=1, dim2=2).sum(-1), 1 + 2 * angle.cos())


def test_motion_keeps_its_length_and_about_its_loudness():
    time = torch.arange(100) / 10
    waves = torch.stack([torch.sin(time * rate) for rate in (1, 2, 3, 1, 2, 3)]).expand(400, 6, 100)
    worn = worn_anew(waves)
    assert worn.shape == waves.shape
    assert torch.isfinite(worn).all()
    loudness = worn.unflatten(1, (2, 3)).pow(2).sum(2).mean()
    assert float(loudness) == pytest.approx(float(waves.unflatten(1, (2, 3)).pow(2).sum(2).mean()), rel=0.15)


@pytest.mark.parametrize(
    "wrong", [{"channels": ["ax", "ay"]}, {"mean": [0, 0, 1]}, {"std": [1, 2, 1]}], ids=["pairs", "mean", "scales"]
)
def test_what_is_no_vector_is_not_turned(wrong):
    with pytest.raises(RecipeError, match="option 'augment': turns sensors"):
        make("series", **{**TURNED, **wrong})
    assert make("series", **{**TURNED, "std": [2, 2, 2]}).augment


@pytest.mark.parametrize("color", [False, True])
def test_pointnet_gives_one_feature_alone_or_in_a_batch(color):
    encoder = make("pointnet", points=100, width=8, color=color)
    clouds = [cloud(0), cloud(1), cloud(2, 130)]
    assert [encoder.length(encoder.prepare(one)) for one in clouds] == [1, 1, 1]
    check_lengths_and_neighbours(encoder, clouds)
    check_options_rebuild(encoder, "pointnet", clouds)


@pytest.mark.parametrize("n", [80, 500])
def test_pointnet_reads_a_set(n):
    raw = np.random.default_rng(3).random((n, 3))
    encoder = make("pointnet", points=100, width=8)
    order = np.random.default_rng(4).permutation(n)
    (one,), (other,) = features(encoder, [load_points(raw)]), features(encoder, [load_points(raw[order])])
    assert torch.equal(one, other)
    with pytest.raises(MediaError, match="a cloud without points"):
        encoder.prepare(np.zeros((0, 6), np.float32))


def test_half_a_turn_of_a_cloud_is_another_sight_of_it():
    """PointNet is not blind to how a thing stands: only training makes it name both alike."""
    encoder = make("pointnet", points=100, width=8)
    upright = cloud()
    over = upright.copy()
    over[:, :2] *= math.cos(math.pi)
    (one,), (other,) = features(encoder, [upright]), features(encoder, [over])
    assert not torch.allclose(one, other, atol=1e-3)


def test_maps_keep_who_is_nearest_and_what_was_not_measured():
    shades = torch.zeros(50, 1, 48, 48)
    for place, shade in (((10, 10), 0.2), ((10, 34), 0.5), ((34, 10), 0.8)):
        shades[:, :, place[0] - 3 : place[0] + 3, place[1] - 3 : place[1] + 3] = shade
    torch.manual_seed(0)
    anew = measured_anew(shades)
    assert not torch.equal(anew, shades)
    assert anew.shape == shades.shape
    assert float(anew.min()) == 0
    assert float(anew.max()) <= 1
    for one in anew[:, 0]:
        kinds = one.unique()
        assert len(kinds) == 4  # as many shades, none as near as another
        rows = [int((one == kind).nonzero().float().mean(0).sum()) for kind in kinds[1:]]
        assert rows[0] < min(rows[1:])  # the darkest is still the one in the corner
