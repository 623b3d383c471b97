"""Codecs of pictures: what they promise, whatever the codes or latents are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from polymodal.errors import MediaError, RecipeError
from polymodal.parts.generators.pictures import pictures, pixels
from tests.conftest import picture
from tests.parts.generators import contract
from tests.parts.generators.contract import make, random, targets

SIZES = {"block_out_channels": (8, 16), "layers_per_block": 1, "norm_num_groups": 4}
TWO = {
    "down_block_types": ("DownEncoderBlock2D",) * 2,
    "up_block_types": ("UpDecoderBlock2D",) * 2,
    "latent_channels": 3,
    **SIZES,
}
# SpatialNorm has 32 groups, whatever its model is told
MOVQ = {"norm_type": "spatial", "block_out_channels": (32, 32)}
FSQ = {"size": 16, "channels": (8, 16, 16), "groups": 4, "levels": (5, 4, 3)}
CODECS: dict[str, dict[str, Any]] = {
    "vq": {"kind": "vq", "size": 16, "config": {**TWO, "num_vq_embeddings": 7}},
    "vq, MoVQ": {"kind": "vq", "size": 8, "config": {**TWO, **MOVQ, "num_vq_embeddings": 7}},
    "fsq": {"kind": "fsq", **FSQ},
    "fsq, patched": {"kind": "fsq", "size": 12, "patch": 3, "channels": (8, 8), "groups": 4, "levels": (3, 2)},
    "autoencoder": {"kind": "autoencoder", "size": 16, "config": {**TWO, "scaling_factor": 0.5, "shift_factor": 0.2}},
    "autoencoder, patched": {"kind": "autoencoder", "size": 16, "patch": 2, "standardize": True, "config": TWO},
    "patches": {"kind": "patches", "size": 16, "patch": 4},
}
SHAPES = {
    "vq": (64, 3, 7),
    "vq, MoVQ": (16, 3, 7),
    "fsq": (16, 3, 60),
    "fsq, patched": (4, 2, 6),
    "autoencoder": (64, 3, 0),
    "autoencoder, patched": (16, 12, 0),
    "patches": (16, 48, 0),
}
TRAINED = [name for name in CODECS if name != "patches"]
MEDIA = [picture(seed) for seed in (1, 2)]


@pytest.mark.parametrize("name", CODECS)
def test_codes_and_latents_have_the_promised_shape_and_make_the_same_picture_again(name):
    codec = make(**CODECS[name])
    assert (codec.positions, codec.width, codec.vocabulary) == SHAPES[name]
    contract.check_codec(codec, MEDIA)
    (made,) = codec.make(contract.given(codec, 1), random())
    assert made.mode == "RGB"
    assert made.size == (codec.size, codec.size)


@pytest.mark.parametrize("name", CODECS)
def test_options_and_weights_make_the_same_codec_again(name, tmp_path):
    contract.check_rebuilt(make(**CODECS[name]), CODECS[name]["kind"], MEDIA, tmp_path)


@pytest.mark.parametrize("name", CODECS)
def test_encoding_and_making_change_no_weight(name):
    contract.check_frozen(make(**CODECS[name]), MEDIA)


@pytest.mark.parametrize("name", TRAINED)
def test_fitting_reaches_every_weight_and_gives_pictures_back_better(name):
    contract.check_fit(make(**CODECS[name]), MEDIA)


def test_a_picture_is_the_square_in_its_middle_and_comes_back_as_it_was():
    wide = Image.new("RGB", (64, 32), "white")
    wide.paste((10, 200, 30), (16, 0, 48, 32))
    assert np.asarray(pictures(pixels(wide, (32, 32))[None])[0]).reshape(-1, 3).tolist() == [[10, 200, 30]] * 1024
    square = picture(3, (8, 8))
    assert np.array_equal(pictures(pixels(square, (8, 8))[None])[0], square)
    assert pixels(square, (8, 8)).abs().max() <= 1
    white, black = pictures(torch.stack([torch.full((3, 2, 2), 7.0), torch.full((3, 2, 2), -7.0)]))
    assert np.asarray(white).min() == 255
    assert np.asarray(black).max() == 0


@pytest.mark.parametrize("kind", ["fsq", "patches"])
def test_what_is_no_picture_is_refused(kind):
    with pytest.raises(MediaError, match="not from a ndarray"):
        make(**CODECS[kind]).prepare(np.zeros((16, 16, 3)))


def test_patches_give_every_pixel_back():
    codec = make(**CODECS["patches"])
    prepared = targets(codec, MEDIA)
    assert torch.equal(codec.decode(codec.encode(prepared)), prepared)
    assert np.array_equal(codec.make(codec.encode(prepared), random())[0], pictures(prepared)[0])
    where = prepared[0, 2, 4:8, 12:16]  # blue, of the second row of patches the last
    assert torch.equal(codec.encode(prepared)[0, 7, 32:], where.flatten())


def test_every_code_of_fsq_is_a_point_of_its_grid_and_again_the_code():
    codec = make(**CODECS["fsq"])
    codes = torch.arange(60)[None]
    levels = codes[:, None] // codec.digits % codec.levels
    assert len({tuple(point) for point in levels[0].T.tolist()}) == 60
    assert torch.equal((levels * codec.digits).sum(1), codes)
    assert (levels.amin(2), levels.amax(2))[1].tolist() == [[4, 3, 2]]


def test_fsq_reaches_every_level_and_none_beyond():
    codec = make(**CODECS["fsq"])
    numbers = torch.linspace(-9, 9, 999).expand(1, 3, 1, 999)
    codec.encoder = torch.nn.Identity()
    for row, count in zip(codec._found(numbers).round()[0], (5, 4, 3), strict=True):
        assert row.unique().tolist() == list(range(count))


def test_fsq_trains_on_the_very_picture_that_its_codes_make():
    codec = make(**CODECS["fsq"])
    prepared = targets(codec, MEDIA)
    made = codec.decode(codec.encode(prepared))
    assert torch.allclose(codec.fit(prepared), (made - prepared).pow(2).mean((1, 2, 3)), rtol=1e-4)


@pytest.mark.parametrize("name", ["vq", "vq, MoVQ"])
def test_a_vector_of_the_codebook_is_again_its_code(name):
    codec = make(**CODECS[name])
    codes = contract.given(codec, 3)
    assert torch.equal(codec._nearest(codec._vectors(codes)), codes)


def test_vq_makes_what_diffusers_makes_of_the_same_picture():
    codec = make(**CODECS["vq"])
    prepared = targets(codec, MEDIA)
    with torch.no_grad():
        whole = codec.network(prepared).sample
        assert torch.allclose(codec.decode(codec.encode(prepared)), whole, atol=1e-5)


def test_the_codebook_learns_from_the_encoder_more_than_the_encoder_from_it():
    codec = make(**CODECS["vq"], commitment=0.0)
    codec.network.requires_grad_(False)
    codec.network.quantize.requires_grad_(True)
    codec.fit(targets(codec, MEDIA)).sum().backward()
    assert codec.network.quantize.embedding.weight.grad.abs().sum() > 0


def test_latents_are_scaled_as_the_checkpoint_says_and_back():
    codec = make(**CODECS["autoencoder"])
    prepared = targets(codec, MEDIA)
    with torch.no_grad():
        mode = codec.network.encode(prepared).latent_dist.mode()
        latents = codec.encode(prepared)
        assert torch.allclose(latents, (0.5 * (mode - 0.2)).flatten(2).transpose(1, 2), atol=1e-6)
        assert torch.allclose(codec.decode(latents), codec.network.decode(mode).sample, atol=1e-5)


def test_standardised_latents_have_unit_variance_once_fit_has_seen_them():
    codec = make(**CODECS["autoencoder, patched"])
    prepared = targets(codec, [picture(seed) for seed in range(8)])
    loose = codec.encode(prepared).std()
    codec.train()
    codec.fit(prepared)
    codec.eval()
    assert abs(loose - 1) > 0.05
    assert codec.encode(prepared).std() == pytest.approx(1, abs=0.02)
    assert abs(codec.encode(prepared).mean()) < 0.02


@pytest.mark.parametrize("kind", ["vq", "autoencoder"])
def test_a_checkpoint_of_diffusers_is_read_whole_from_its_folder(kind, tmp_path):
    codec = make(**CODECS[kind])
    codec.network.save_pretrained(tmp_path / "pipeline" / "vae")
    recipe = {key: value for key, value in CODECS[kind].items() if key != "config"}
    again = make(**recipe, path=str(tmp_path / "pipeline"), subfolder="vae")
    assert again.options == codec.options
    assert torch.equal(again.encode(targets(codec, MEDIA)), codec.encode(targets(codec, MEDIA)))
    weights = tmp_path / "pipeline" / "vae" / "diffusion_pytorch_model.safetensors"
    state = contract.load_file(weights)
    state.pop("decoder.conv_in.weight")
    contract.save_file(state, weights, metadata={"format": "pt"})
    with pytest.raises(RecipeError, match=r"'decoder.conv_in.weight' is missing or misshapen"):
        make(**recipe, path=str(tmp_path / "pipeline"), subfolder="vae")


@pytest.mark.parametrize(
    ("recipe", "named"),
    [
        ({"kind": "fsq", **FSQ, "size": 18}, "18 pixels are no whole cells of 4"),
        ({"kind": "fsq", **FSQ, "groups": 3}, r"3 groups do not divide its channels \[8, 16, 16\]"),
        ({"kind": "fsq", **FSQ, "levels": [5, 1]}, "'levels.1'"),
        ({"kind": "fsq", **FSQ, "levels": []}, "'levels'"),
        ({"kind": "patches", "size": 16, "patch": 5}, "16 pixels are no whole cells of 5"),
        ({"kind": "vq", "size": 15, "config": TWO}, "15 pixels are no whole cells of 2"),
        ({"kind": "vq", "size": 16}, "either 'path' .* or 'config'"),
        (
            {"kind": "vq", "size": 16, "config": {**TWO, "latent_chanels": 3}},
            "VQModel has no 'latent_chanels' .did you mean",
        ),
        ({"kind": "vq", "size": 16, "config": TWO, "commitment": -1}, "'commitment'"),
        ({"kind": "autoencoder", "size": 12, "patch": 4, "config": TWO}, "6 pixels are no whole cells of 4"),
        ({"kind": "autoencoder", "size": 12, "path": "./nowhere"}, "there is no such folder"),
        ({"kind": "autoencodr", "size": 12}, "did you mean 'autoencoder'"),
    ],
)
def test_what_cannot_work_is_refused_by_name(recipe, named):
    with pytest.raises(RecipeError, match=named):
        make(**recipe)
