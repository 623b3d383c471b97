"""Every kind of picture becomes upright opaque RGB; every damaged, disguised or huge one is refused by name."""

from __future__ import annotations

import io
import resource
import struct
import time
import tracemalloc
import warnings
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile

from polymodal.errors import MediaError
from polymodal.media.gate import Limits
from polymodal.media.image import DECODERS, load_image

RED, BLUE, WHITE = (255, 0, 0), (0, 0, 255), (255, 255, 255)


def encoded(picture: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format=kind, **options)
    return buffer.getvalue()


def pixel(data: bytes, at=(0, 0)):
    picture = load_image(data)
    assert picture.mode == "RGB"
    return picture.getpixel(at)


def refusal(source, limits=Limits()) -> str:  # noqa: B008
    with pytest.raises(MediaError) as caught:
        load_image(source, limits)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def photo(size=(64, 48)) -> Image.Image:
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(noise)


def png_header(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


@pytest.mark.parametrize("kind", [name.upper() for name in DECODERS])
def test_every_listed_format_loads_as_rgb(kind, tmp_path):
    path = tmp_path / "picture.misnamed"
    path.write_bytes(encoded(Image.new("RGB", (16, 8), RED), kind))
    picture = load_image(path)
    assert (picture.mode, picture.size) == ("RGB", (16, 8))
    assert np.abs(np.asarray(picture).astype(int) - RED).max() < 12


@pytest.mark.parametrize("kind", [name.upper() for name in DECODERS])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_truncated_picture_is_refused_by_name(kind, share, tmp_path):
    data = encoded(photo(), kind)
    path = tmp_path / f"photo.{kind.lower()}"
    path.write_bytes(data[: int(len(data) * share)])
    assert refusal(path).startswith(f"{path}: cannot be decoded (")
    assert ImageFile.LOAD_TRUNCATED_IMAGES is False


def test_text_renamed_png_is_refused(tmp_path):
    (tmp_path / "notes.png").write_text("remember the milk\n")
    assert "notes.png is not a picture (its first bytes look like text" in refusal(tmp_path / "notes.png")


def test_recording_named_png_is_refused_as_what_it_is():
    assert "(its first bytes look like flac" in refusal(b"fLaC" + bytes(100))


@pytest.mark.parametrize("kind", ["EPS", "PDF", "ICO", "PPM", "TGA", "SGI"])
def test_format_outside_the_list_reaches_no_decoder(kind):
    assert "is not a picture" in refusal(encoded(photo((32, 32)), kind))


def test_400_megapixel_header_is_refused_without_allocating(tmp_path):
    (tmp_path / "bomb.png").write_bytes(png_header(20_000, 20_000))
    load_image(encoded(photo()))  # imports happen outside the measurement
    tracemalloc.start()  # sees Python's memory; the process's peak sees Pillow's, which would be 1.2 GB
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    message = refusal(tmp_path / "bomb.png")
    assert time.process_time() - start < 0.5
    assert tracemalloc.get_traced_memory()[1] < 5_000_000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # KiB
    tracemalloc.stop()
    assert message.endswith("bomb.png: 400 megapixels (20000 x 20000) is over the limit of 89.48 megapixels")


def test_size_between_pillows_warning_and_error_is_refused_without_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "100 megapixels (10000 x 10000) is over the limit" in refusal(png_header(10_000, 10_000))


def test_limits_hold_whatever_pillows_own_limit_is(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert "400 megapixels" in refusal(png_header(20_000, 20_000))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    assert load_image(encoded(photo())).size == (64, 48)


def test_long_side_is_refused():
    assert refusal(png_header(20_001, 1)) == "<bytes>: 20001 pixels on a side (20001 x 1) is over the limit of 20000"


def test_limits_apply_to_decoded_pictures_too():
    limits = Limits(max_pixels=100)
    assert "over the limit" in refusal(Image.new("RGB", (11, 10)), limits)
    assert "over the limit" in refusal(np.zeros((11, 10, 3), np.uint8), limits)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation):
    upright = np.zeros((16, 32, 3), np.uint8)
    upright[:8, :8] = RED
    stored = {  # how a camera held that way stores the upright picture: the inverse of what EXIF says to do
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, 1),
        7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
        8: lambda a: np.rot90(a, -1),
    }[orientation](upright)
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(Image.fromarray(np.ascontiguousarray(stored)), exif=exif)
    np.testing.assert_array_equal(np.asarray(load_image(data)), upright)
    np.testing.assert_array_equal(np.asarray(load_image(Image.open(io.BytesIO(data)))), upright)


def test_alpha_is_composited_on_white():
    assert pixel(encoded(Image.new("RGBA", (2, 2), (255, 0, 0, 0)))) == WHITE
    assert pixel(encoded(Image.new("RGBA", (2, 2), (255, 0, 0, 255)))) == RED
    assert pixel(encoded(Image.new("RGBA", (2, 2), (0, 0, 0, 128)))) == (127, 127, 127)
    assert pixel(encoded(Image.new("LA", (2, 2), (0, 0)))) == WHITE
    assert pixel(encoded(Image.new("LA", (2, 2), (7, 255)))) == (7, 7, 7)


def test_palette_and_its_transparency_are_resolved():
    picture = Image.new("P", (2, 1))
    picture.putpalette([*RED, *BLUE])
    picture.putpixel((1, 0), 1)
    assert [pixel(encoded(picture), (x, 0)) for x in (0, 1)] == [RED, BLUE]
    assert [pixel(encoded(picture, transparency=0), (x, 0)) for x in (0, 1)] == [WHITE, BLUE]


def test_transparent_colour_of_rgb_and_grey_is_white():
    assert pixel(encoded(Image.new("RGB", (2, 2), RED), transparency=RED)) == WHITE
    assert pixel(encoded(Image.new("L", (2, 2), 9), transparency=9)) == WHITE


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bit_grey_is_scaled_not_cut_off(kind):
    values = np.array([[0, 257 * 10, 257 * 20 + 129, 65_535]], np.uint16)
    picture = load_image(encoded(Image.fromarray(values), kind))
    np.testing.assert_array_equal(np.asarray(picture)[0, :, 0], [0, 10, 21, 255])
    assert picture.mode == "RGB"


def test_32_bit_pictures_are_scaled_only_where_they_hold_16_bits():
    assert load_image(Image.new("I", (1, 1), 65_535)).getpixel((0, 0)) == WHITE
    assert "no white level" in refusal(Image.new("I", (1, 1), 65_536))
    assert "no white level" in refusal(encoded(Image.new("F", (1, 1), 0.5), "TIFF"))


def test_cmyk_one_bit_and_grey_become_rgb():
    assert pixel(encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "TIFF")) == RED
    near_red = pixel(encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG", quality=100))
    assert np.abs(np.subtract(near_red, RED)).max() < 6
    assert pixel(encoded(Image.new("1", (2, 2), 1))) == WHITE
    assert pixel(encoded(Image.new("L", (2, 2), 9))) == (9, 9, 9)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_animation_gives_its_first_frame(kind):
    frames = [Image.new("RGB", (8, 8), colour) for colour in (RED, BLUE)]
    found = pixel(encoded(frames[0], kind, save_all=True, append_images=frames[1:]))
    assert np.abs(np.subtract(found, RED)).max() < 6


def test_arrays_and_pictures_pass_unchanged():
    picture = photo()
    array = np.asarray(picture)
    np.testing.assert_array_equal(np.asarray(load_image(array)), array)
    np.testing.assert_array_equal(np.asarray(load_image(picture)), array)
    assert load_image(picture) is not picture


@pytest.mark.parametrize("array", [np.zeros((4, 4)), np.zeros((4, 4, 4), np.uint8), np.zeros((0, 4, 3), np.uint8)])
def test_other_arrays_are_refused_with_their_shape(array):
    assert refusal(array).startswith("<array>: a picture is uint8 [height, width, 3], not ")


@settings(deadline=None)  # a busy machine is no defect
@given(st.data())
def test_damaged_bytes_give_a_picture_or_a_media_error(data):
    kind = data.draw(st.sampled_from([name.upper() for name in DECODERS]))
    good = bytearray(encoded(photo((16, 16)), kind))
    for _ in range(data.draw(st.integers(1, 8))):
        good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    try:
        picture = load_image(bytes(good))
    except MediaError:
        return
    assert picture.mode == "RGB"
