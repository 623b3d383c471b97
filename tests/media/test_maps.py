"""A map's own numbers come through, whatever file they are in; a picture in colours is no map."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save

from polymodal.errors import MediaError
from polymodal.media import Limits, load_map


def encoded(picture: Image.Image, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format=kind)
    return buffer.getvalue()


def npy(array) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def refusal(source, limits=Limits()) -> str:  # noqa: B008
    with pytest.raises(MediaError) as caught:
        load_map(source, limits)
    assert "\n" not in str(caught.value)
    return str(caught.value)


MILLIMETRES = np.array([[0, 500, 1234], [65535, 1, 2]], np.uint16)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_grey_picture_gives_its_numbers(kind, dtype, tmp_path):
    values = MILLIMETRES.astype(dtype)
    (tmp_path / "map.misnamed").write_bytes(encoded(Image.fromarray(values), kind))
    for source in (tmp_path / "map.misnamed", Image.fromarray(values), values):
        found = load_map(source)
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, values)


def test_floats_come_through_with_their_holes():
    values = np.array([[0.5, np.nan], [np.inf, -3.25]], np.float32)
    for source in (npy(values), save({"map": values}), encoded(Image.fromarray(values), "TIFF"), values.astype(np.float64)):
        np.testing.assert_array_equal(load_map(source), values)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (encoded(Image.new("RGB", (4, 4))), "<bytes>: a map has one channel of numbers; this picture is of mode RGB"),
        (encoded(Image.new("P", (4, 4))), "<bytes>: a map has one channel of numbers; this picture is of mode P"),
        (np.zeros((2, 3, 3)), "<array>: a map is numbers [height, width], not float64 [2, 3, 3]"),
        (np.zeros((0, 3)), "<array>: has no pixels (3 x 0)"),
        (np.full((2, 2), True), "<array>: a map is numbers [height, width], not bool [2, 2]"),
    ],
)
def test_what_is_no_map_is_refused_by_name(source, said):
    assert refusal(source) == said


def test_a_jpeg_is_no_map_because_it_changes_numbers():
    found = refusal(encoded(Image.new("L", (8, 8)), "JPEG"))
    assert found == "<bytes> is not a map (its first bytes look like jpeg; a map is one of: png, tiff, npy, safetensors)"


def test_limits_hold_for_arrays_and_pictures():
    for source in (np.zeros((11, 10)), encoded(Image.new("L", (10, 11)))):
        assert "over the limit of 0.0001 megapixels" in refusal(source, Limits(max_pixels=100))


@pytest.mark.parametrize("share", [0.3, 0.9])
def test_a_map_cut_short_is_refused(share):
    noise = np.random.default_rng(0).integers(0, 65536, (32, 32), dtype=np.uint16)
    data = encoded(Image.fromarray(noise))
    assert refusal(data[: int(len(data) * share)]).startswith("<bytes>: cannot be decoded (")
