"""Ready features in a file stand where their medium would."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from polymodal.content import Part, user
from polymodal.errors import MediaError
from polymodal.media.features import MOST, load_features
from polymodal.model.composition import Composition
from polymodal.parts.base import Encoder
from tests.parts.encoders.contract import check_lengths_and_neighbours, check_options_rebuild, make

READY = {"modality": "image", "width": 5}


def numbers(seed: int = 0, n: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, 5)).astype(np.float32)


def test_features_are_what_was_given_alone_or_in_a_batch():
    encoder = make("precomputed", **READY)
    check_lengths_and_neighbours(encoder, [numbers(0), numbers(1, 7), numbers(2, 1)])
    check_options_rebuild(encoder, "precomputed", [numbers()])
    assert torch.equal(encoder([encoder.prepare(numbers())]).tokens[0], torch.from_numpy(numbers()))


def test_a_file_of_either_kind_and_an_array_and_a_tensor_are_answered_alike(tmp_path, tiny_recipe):
    image = {"encoder": {"kind": "precomputed", **READY}, "projector": {"kind": "mlp"}}
    model = Composition.from_recipe(tiny_recipe(image=image))
    np.save(tmp_path / "one.npy", numbers())
    save_file({"features": numbers()}, tmp_path / "one.safetensors")
    said = []
    for given in (tmp_path / "one.npy", tmp_path / "one.safetensors", numbers(), torch.from_numpy(numbers())):
        example = model.processor.encode([user(Part("image", media=given), "What is this?")], generate=True)
        (item,) = example.media
        assert item.length == 3
        with torch.no_grad():
            said.append(model.model.features([item])[0])
    assert all(torch.equal(said[0], other) for other in said[1:])


def test_a_vector_is_one_feature():
    assert load_features(np.ones(5)).shape == (1, 5)


@pytest.mark.parametrize(
    ("media", "said"),
    [
        (np.full((2, 5), np.nan), "not finite"),
        (np.full((2, 5), 1e300), "not finite"),
        (np.ones((2, 2, 5)), r"numbers \[N, De\], not float64 \[2, 2, 5\]"),
        (np.ones((MOST + 1, 1), np.float16), f"the limit is {MOST}"),
        (b"\x89PNG\r\n\x1a\n" + bytes(64), "features"),
    ],
)
def test_what_are_no_features_is_refused(media, said):
    with pytest.raises(MediaError, match=said):
        load_features(media)


def test_features_of_another_width_are_refused_from_a_file_and_ready(tiny_recipe):
    with pytest.raises(MediaError, match="of width 4; this model's image has 5"):
        make("precomputed", **READY).prepare(np.ones((2, 4), np.float32))
    model = Composition.from_recipe(tiny_recipe())
    width = model.model.modalities["image"].width
    with pytest.raises(MediaError, match=rf"ready image: features \[2, 3\], and this model's .* \[N, {width}\]"):
        model.processor.encode([user(Part("image", media=torch.ones(2, 3)), "What?")], generate=True)


def test_other_encoders_read_what_their_modality_reads():
    assert Encoder.media_reader is None
