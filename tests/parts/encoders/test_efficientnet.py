"""EfficientNet-Lite with random weights, and tiles."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from polymodal.errors import CheckpointError, RecipeError
from polymodal.parts.encoders.tiles import square, views
from tests.conftest import picture
from tests.parts.encoders.contract import check_lengths_and_neighbours, check_options_rebuild, features, make

PICTURES = [picture(1, (40, 30)), picture(2, (9, 60)), picture(3, (300, 300))]


def lively(**options):
    """A random encoder whose signal survives its depth, and whose running statistics are not those of an untrained one."""
    encoder = make("efficientnet-lite", **options)
    for module in encoder.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
        elif isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
    return encoder


@pytest.fixture(scope="module")
def encoder():
    return lively()


@pytest.mark.parametrize(
    ("options", "n"),
    [
        ({}, 49),
        ({"tiles": 2}, 5 * 49),
        ({"features": "pooled"}, 1),
        ({"features": "pooled", "tiles": 2}, 5),
        ({"features": "pyramid"}, 10),
        ({"features": "pyramid", "tiles": 2}, 50),
        ({"variant": "efficientnet-lite2"}, 81),
    ],
)
def test_length_is_what_is_emitted_alone_or_in_a_batch(options, n):
    encoder = lively(**options)
    assert encoder.length(encoder.prepare(PICTURES[0])) == n
    check_lengths_and_neighbours(encoder, PICTURES, tolerance=1e-3)


def test_options_and_weights_make_the_same_encoder_again():
    encoder = lively(tiles=2)
    check_options_rebuild(encoder, "efficientnet-lite", PICTURES[:1])


def test_a_folder_of_weights_gives_the_same_features(encoder, tmp_path):
    save_file(encoder.network.state_dict(), tmp_path / "model.safetensors")
    again = make("efficientnet-lite", path=str(tmp_path))
    for a, b in zip(features(encoder, PICTURES[:2]), features(again, PICTURES[:2]), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("problem", ["missing", "unexpected", "misshapen", "cut", "no file", "no folder"])
def test_weights_that_do_not_fit_are_refused_by_name(encoder, tmp_path, problem):
    state, file = dict(encoder.network.state_dict()), tmp_path / "model.safetensors"
    if problem == "missing":
        del state["_conv_head.weight"]
    elif problem == "unexpected":
        state["stowaway"] = torch.zeros(1)
    elif problem == "misshapen":
        state["_conv_head.weight"] = torch.zeros(3)
    if problem not in ("no file", "no folder"):
        save_file(state, file)
    if problem == "cut":
        file.write_bytes(file.read_bytes()[:1000])
    named = {"missing": "_conv_head.weight", "unexpected": "stowaway", "misshapen": "_conv_head.weight"}
    folder = tmp_path / "nowhere" if problem == "no folder" else tmp_path
    kind = RecipeError if problem == "no folder" else CheckpointError
    with pytest.raises(kind, match=named.get(problem, str(folder))):
        make("efficientnet-lite", path=str(folder))


def test_the_grid_is_in_reading_order(encoder):
    inputs = encoder.prepare(PICTURES[2])
    with torch.no_grad():
        grid = encoder.network.extract_features(inputs["pixel_values"])[0]
    (rows,) = features(encoder, [PICTURES[2]])
    for i in (0, 1, 7, 23, 48):
        assert torch.allclose(rows[i], grid[:, i // 7, i % 7])


def test_pixels_are_scaled_as_the_weights_were_trained(encoder):
    values = encoder.prepare(Image.new("RGB", (224, 224), (255, 127, 0)))["pixel_values"]
    assert values.shape == (1, 3, 224, 224)
    assert values[0, :, 100, 100].tolist() == [1.0, 0.0, -127 / 128]


def test_views_are_the_whole_picture_and_its_tiles_row_by_row():
    image = picture(7, (60, 60))
    whole, *tiles = views(image, 20, 3)
    assert np.array_equal(np.asarray(whole), np.asarray(square(image, 20)))
    assert [tile.size for tile in tiles] == [(20, 20)] * 9
    pixels = np.asarray(image)
    for i, tile in enumerate(tiles):
        top, left = 20 * (i // 3), 20 * (i % 3)
        assert np.array_equal(np.asarray(tile), pixels[top : top + 20, left : left + 20])
    assert len(views(image, 20, 1)) == 1


def test_each_view_is_encoded_as_a_picture_of_its_own(encoder):
    tiled = make("efficientnet-lite", tiles=2)
    tiled.load_state_dict(encoder.state_dict())
    image = picture(7, (448, 448))
    (all_views,) = features(tiled, [image])
    assert torch.allclose(all_views, torch.cat(features(encoder, views(image, 224, 2))), atol=1e-3)


def test_pooled_features_are_the_mean_of_the_grid(encoder):
    pooled = make("efficientnet-lite", features="pooled", tiles=2)
    pooled.load_state_dict(encoder.state_dict())
    image = picture(7, (448, 448))
    means = [grid.mean(0) for grid in features(encoder, views(image, 224, 2))]
    assert torch.allclose(features(pooled, [image])[0], torch.stack(means), atol=1e-4)


def test_a_pyramid_is_the_mean_of_the_grid_and_of_its_overlapping_cells(encoder):
    pyramid = make("efficientnet-lite", features="pyramid")
    pyramid.load_state_dict(encoder.state_dict())
    image = picture(7, (224, 224))
    (grid,) = features(encoder, [image])
    maps = grid.reshape(7, 7, -1)
    cells = [maps[rows, columns].mean((0, 1)) for rows in CELLS for columns in CELLS]
    assert torch.allclose(features(pyramid, [image])[0], torch.stack([grid.mean(0), *cells]), atol=1e-4)


CELLS = (slice(0, 3), slice(2, 5), slice(4, 7))  # thirds of seven, rounded outwards


def test_a_picture_keeps_its_shape():
    wide = Image.new("RGB", (60, 30), "black")
    pixels = np.asarray(square(wide, 60))
    assert (pixels[:14] == 255).all()
    assert (pixels[16:44] == 0).all()
    assert (pixels[46:] == 255).all()


@pytest.mark.parametrize("options", [{"tiles": 0}, {"tiles": 7}, {"variant": "efficientnet-lite9"}])
def test_options_out_of_range_are_refused_by_name(options):
    with pytest.raises(RecipeError, match=next(iter(options))):
        make("efficientnet-lite", **options)
