"""A series carries what its file states and nothing else; what is damaged or uneven is refused by name."""

from __future__ import annotations

import io

import numpy as np
import pytest

from polymodal.errors import MediaError
from polymodal.media import Limits, load_series
from polymodal.media.series import NOT_STATED, Series, encoded

CSV = "time,ax [g],ay [g],wx [rad/s]\n" + "".join(f"{i / 50:.3f},{i},{-i},0.5\n" for i in range(20))


def refusal(source, limits=Limits()) -> str:  # noqa: B008
    with pytest.raises(MediaError) as caught:
        load_series(source, limits)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_csv_states_its_rate_channels_and_units(tmp_path):
    (tmp_path / "walk.csv").write_text("\ufeff" + CSV + "\n")
    series = load_series(tmp_path / "walk.csv")
    assert series.rate == pytest.approx(50)
    assert (series.channels, series.units) == (("ax", "ay", "wx"), "g, rad/s")
    assert series.samples.dtype == np.float32
    np.testing.assert_array_equal(series.samples[3], (3, -3, 0.5))


def test_a_csv_without_time_or_units_states_neither():
    series = load_series(b"ax,ay\n1,2\n3,4\n")
    assert (series.rate, series.units, series.channels) == (None, None, ("ax", "ay"))


def test_an_array_states_nothing_and_a_pair_its_rate():
    samples = np.arange(12.0).reshape(6, 2)
    buffer = io.BytesIO()
    np.save(buffer, samples)
    for source in (samples, buffer.getvalue()):
        series = load_series(source)
        assert series[1:] == (None, None, None)
        np.testing.assert_array_equal(series.samples, samples)
    assert load_series((samples, 25)).rate == 25


@pytest.mark.parametrize("units", ["g, rad/s", NOT_STATED])
def test_an_item_of_a_corpus_comes_back_with_what_is_known(units):
    samples = np.random.default_rng(0).normal(size=(100, 2)).astype(np.float32)
    series = load_series(encoded(Series(samples, 50, ("ax", "ay"), units)))
    np.testing.assert_array_equal(series.samples, samples)
    assert series[1:] == (50, ("ax", "ay"), None if units == NOT_STATED else units)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (np.zeros(5), "<array>: a series is numbers [T, C] (samples, channels), not float64 [5]"),
        (np.zeros((0, 3)), "<array>: a series is numbers [T, C] (samples, channels), not float64 [0, 3]"),
        (np.full((4, 2), np.inf), "<array>: holds samples that are not finite (NaN or infinity)"),
        ((np.zeros((4, 2)), -1), "<array>: a series with its rate is given as (array [T, C], rate in Hz)"),
        (b"1,2\n3,4\n", "<bytes>: its first line must name the channels, such as 'time,ax [g],ay [g],az [g]'"),
        (b"ax,ay\n1,2\n3\n", "<bytes>: line 3 does not hold 2 numbers"),
        (b"ax,ay\n1,2\n3,x\n", "<bytes>: line 3 does not hold 2 numbers"),
        (b"ax,ay\n1,nan\n", "<bytes>: holds samples that are not finite (NaN or infinity)"),
        (b"ax,ay\n", "<bytes>: a series is numbers [T, C] (samples, channels), not float64 [0, 2]"),
        (b"time,ax\n1,1\n1,1\n", "<bytes>: its column 'time' must hold seconds that grow"),
        (
            b"time,ax\n0,1\n1,1\n2,1\n9,1\n",
            "<bytes>: its samples are not evenly spaced (7 s after sample 3, 3 s on average); resample it first",
        ),
        ("walk.csv", "walk.csv: no such file"),
    ],
)
def test_what_is_no_series_is_refused_by_name(source, said):
    assert refusal(source) == said


def test_a_long_series_is_refused():
    said = "<array>: 11 seconds is over the limit of 10 seconds"
    assert refusal((np.zeros((22, 1)), 2), Limits(max_seconds=10)) == said
