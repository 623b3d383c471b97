"""Recordings as codes of EnCodec: every frame whole, each codebook with ids of its own."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from polymodal.errors import MediaError, RecipeError
from polymodal.media import load_audio
from tests.conftest import sound
from tests.parts.generators import contract
from tests.parts.generators.contract import make, random, targets

TINY = {
    **{"model_type": "encodec", "sampling_rate": 8000, "num_filters": 4, "upsampling_ratios": [5, 4], "hidden_size": 8},
    **{
        "codebook_size": 16,
        "num_lstm_layers": 1,
        "kernel_size": 3,
        "last_kernel_size": 3,
        "target_bandwidths": [1.6, 16.0],
    },
}
RECIPE = {"kind": "encodec", "config": TINY, "seconds": 0.5, "books": 3}
MEDIA = [load_audio(sound(0.5, 440)), load_audio(sound(0.3, 1500))]
FRAMES = 200  # of 20 samples, half a second


@pytest.fixture(scope="module")
def codec():
    """Codebooks as near to each other as what a random encoder emits."""
    made = make(**RECIPE)
    for layer in made.network.quantizer.layers:
        layer.codebook.embed.mul_(0.05)
    return made


def test_codes_have_the_promised_shape_and_make_the_same_recording_again(codec):
    assert (codec.positions, codec.vocabulary, codec.width) == (3 * FRAMES, 48, 8)
    contract.check_codec(codec, MEDIA)
    samples, rate = codec.make(codec.encode(targets(codec, MEDIA)), random())[0]
    assert (samples.dtype, samples.shape, rate) == (np.float32, (4000,), 8000)
    assert np.abs(samples).max() <= 1
    assert len(load_audio((samples, rate))) == 8000


def test_options_and_weights_make_the_same_codec_again(codec, tmp_path):
    contract.check_rebuilt(codec, "encodec", MEDIA, tmp_path)


def test_encoding_and_making_change_no_weight(codec):
    contract.check_frozen(codec, MEDIA)


def test_codes_stand_frame_by_frame_with_ids_of_their_own_book(codec):
    prepared = targets(codec, MEDIA)
    codes = codec.encode(prepared)
    assert (codes // 16).unflatten(1, (FRAMES, 3)).unique(dim=1).flatten(0, 1).tolist() == [[0, 1, 2]] * 2
    whole = codec.network.encode(prepared[:, None], bandwidth=16.0).audio_codes[0]
    assert codec.network.quantizer.layers[0].codebook.embed.abs().sum() > 0
    for frame, book in ((0, 0), (7, 2), (199, 1)):
        assert torch.equal(codes[:, 3 * frame + book] - 16 * book, whole[:, book, frame])


def test_a_recording_is_made_as_transformers_makes_it(codec):
    prepared = targets(codec, MEDIA)
    with torch.no_grad():
        whole = codec.network.encode(prepared[:, None], bandwidth=16.0).audio_codes[:, :, :3]
        wanted = codec.network.decode(whole, [None]).audio_values[:, 0].clamp(-1, 1).numpy()
    made = [samples for samples, _ in codec.make(codec.encode(prepared), random())]
    assert np.array_equal(np.stack(made), wanted)


def test_an_id_of_another_book_is_the_entry_of_the_book_where_it_stands(codec):
    codes = contract.given(codec, 2)
    own = codes % 16 + torch.arange(codec.positions) % 3 * 16
    assert contract.equal(codec.make(codes, random()), codec.make(own, random()))


def test_short_recordings_end_in_silence_and_long_ones_are_refused_or_cut(codec):
    short = codec.prepare(MEDIA[1])
    assert short.shape == (4000,)
    assert short[2400:].abs().max() == 0
    long = load_audio(sound(0.8, 440))
    with pytest.raises(MediaError, match=r"0.80 s is too long: the generator makes 0.5 s"):
        codec.prepare(long)
    assert torch.allclose(make(**RECIPE, cut=True).prepare(long)[:3900], codec.prepare(MEDIA[0])[:3900], atol=1e-4)


def test_a_checkpoint_of_transformers_is_read_from_its_folder(codec, tmp_path):
    codec.network.save_pretrained(tmp_path)
    recipe = {key: value for key, value in RECIPE.items() if key != "config"}
    again = make(**recipe, path=str(tmp_path))
    assert torch.equal(again.encode(targets(again, MEDIA)), codec.encode(targets(codec, MEDIA)))


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"books": 999}, "999 are more than the .* codebooks there are"),
        ({"seconds": 0}, "'seconds'"),
        ({"config": {**TINY, "normalize": True, "chunk_length_s": 1.0, "overlap": 0.1}}, "not of 48"),
        ({"config": {**TINY, "audio_channels": 2}}, "takes mono"),
        ({"config": {**TINY, "codebook_size": 12}}, "power of 2"),
        ({"config": {"model_type": "hubert"}}, "takes EnCodec, not 'hubert'"),
        ({"path": "x"}, "either 'path'"),
    ],
)
def test_what_cannot_work_is_refused_by_name(options, named):
    with pytest.raises(RecipeError, match=named):
        make(**{**RECIPE, **options})
