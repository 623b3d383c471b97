"""Sensor series: what is stated and differs is refused; nothing is bent in silence."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from polymodal.errors import MediaError, RecipeError
from polymodal.media.series import Series
from tests.parts.encoders.contract import check_lengths_and_neighbours, check_options_rebuild, features, make

CHANNELS = ["ax", "ay", "wx"]
TINY = {
    "rate": 50,
    "channels": CHANNELS,
    "units": "g, rad/s",
    "patch": 5,
    "window": 20,
    "width": 24,
    "depth": 2,
    "heads": 3,
}


def series(length: int = 33, seed: int = 0, **known) -> Series:
    samples = np.random.default_rng(seed).normal(size=(length, 3)).astype(np.float32)
    return Series(samples, **{"rate": 50.0, "channels": tuple(CHANNELS), "units": "g, rad/s", **known})


RECORDINGS = [series(33), series(20, 1), series(3, 2), series(101, 3)]


def test_length_is_what_is_emitted_alone_or_in_a_batch():
    encoder = make("series", **TINY)
    assert [encoder.length(encoder.prepare(one)) for one in RECORDINGS] == [7, 4, 1, 21]
    check_lengths_and_neighbours(encoder, RECORDINGS)


def test_options_and_weights_make_the_same_encoder_again():
    encoder = make("series", **TINY, mean=[0.1, 0, 0], std=[1, 2, 3])
    check_options_rebuild(encoder, "series", RECORDINGS)


def test_a_long_series_is_encoded_window_by_window():
    encoder = make("series", **TINY)
    long = series(40)
    (whole,) = features(encoder, [long])
    first, second = features(encoder, [long._replace(samples=part) for part in (long.samples[:20], long.samples[20:])])
    assert torch.allclose(whole, torch.cat((first, second)), atol=1e-5)


def test_channels_are_taken_by_name_in_the_encoders_order():
    encoder, plain = make("series", **TINY), series()
    mixed = np.column_stack((plain.samples[:, [2, 0]], np.ones(33), plain.samples[:, 1])).astype(np.float32)
    other = series()._replace(samples=mixed, channels=("wx", "ax", "temperature", "ay"))
    assert torch.equal(encoder.prepare(plain)["samples"], encoder.prepare(other)["samples"])


def test_what_is_not_stated_is_read_as_what_the_encoder_takes():
    encoder, plain = make("series", **TINY), series()
    assert torch.equal(encoder.prepare(plain)["samples"], encoder.prepare(Series(plain.samples))["samples"])


def test_channels_are_standardised_by_the_values_of_the_training_data():
    plain = series(20)
    scaled = make("series", **TINY, mean=[1, 0, 0], std=[2, 1, 1]).prepare(plain)["samples"]
    np.testing.assert_allclose(scaled[0], (plain.samples[:, 0] - 1) / 2, atol=1e-6)
    np.testing.assert_array_equal(scaled[1:], plain.samples.T[1:])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"rate": 100.0}, "rate: a series of 100 Hz, but this encoder takes 50 Hz"),
        ({"units": "m/s^2"}, "units: a series in 'm/s^2', but this encoder takes 'g, rad/s'"),
        (
            {"channels": ("ax", "ay", "az")},
            "channels: a series without 'wx', which this encoder takes (it has: ax, ay, az)",
        ),
        (
            {"samples": np.zeros((9, 2), np.float32), "channels": None},
            "channels: a series of 2, but this encoder takes 3 (ax, ay, wx)",
        ),
    ],
)
def test_a_series_of_another_kind_is_refused_with_the_field(changes, said):
    with pytest.raises(MediaError) as refusal:
        make("series", **TINY).prepare(series()._replace(**changes))
    assert str(refusal.value).startswith(said)


def test_a_rate_is_changed_only_where_the_recipe_says_so():
    time = np.arange(200) / 100
    wave = np.sin(2 * np.pi * 2 * time)[:, None].repeat(3, 1).astype(np.float32)
    encoder = make("series", **TINY, resample=True)
    found = encoder.prepare(series()._replace(samples=wave, rate=100.0))["samples"]
    assert found.shape == (3, 100)
    np.testing.assert_allclose(found[0, 10:90], wave[::2, 0][10:90], atol=0.05)
    jittered = series()._replace(rate=50.4)  # what a clock measures of 50 Hz
    assert encoder.prepare(jittered)["samples"].shape == (3, 35)


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ({"window": 21}, "option 'window': 21 samples are no whole patches of 5"),
        ({"std": [1.0, 2.0]}, "option 'std': 2 values for 3 channels"),
        ({"std": [1.0, 0.0, 1.0]}, "option 'std': must be above 0"),
        ({"rate": 0}, "needs a 'rate' above 0"),
        ({"heads": 5}, "option 'width': 24 is no multiple of its 5 heads"),
    ],
)
def test_a_contract_that_cannot_be_is_refused(option, said):
    with pytest.raises(RecipeError, match=said):
        make("series", **{**TINY, **option})
