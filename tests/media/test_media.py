"""One way from a part to an array, and one fingerprint for equal bytes."""

from __future__ import annotations

import base64
import io
import subprocess
import sys

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from polymodal import content, media
from polymodal.content import Part
from polymodal.errors import MediaError
from polymodal.media import Limits, fingerprint


def png(colour="red") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (4, 2), colour).save(buffer, format="PNG")
    return buffer.getvalue()


def test_parts_are_loaded_by_type():
    assert media.load(content.image(png())).size == (4, 2)
    samples = media.load(content.audio((np.zeros(8_000, np.float32), 8_000)))
    assert (samples.shape, samples.dtype) == ((16_000,), np.float32)


def test_modality_without_a_reader_is_refused_with_those_that_have_one(monkeypatch):
    monkeypatch.setattr(media, "READERS", {"image": media.load_image, "audio": media.load_audio})
    with pytest.raises(MediaError, match="^a 'thermal' part has no reader; these have one: image, audio$"):
        media.load(Part("thermal", media="a.npy"))
    with pytest.raises(MediaError, match="^a 'text' part has no reader"):
        media.load(content.text("hello"))


def test_limits_reach_the_readers():
    with pytest.raises(MediaError, match="over the limit of 5e-06 megapixels"):
        media.load(content.image(png()), Limits(max_pixels=5))
    with pytest.raises(MediaError, match="over the limit of 1 seconds"):
        media.load(content.audio((np.zeros(8_001), 8_000)), Limits(max_seconds=1))
    with pytest.raises(MediaError, match="files are not opened here"):
        fingerprint(content.image("a.png"), Limits(allow_files=False))


def test_fingerprint_is_the_same_however_the_bytes_are_given(tmp_path):
    data = png()
    (tmp_path / "a.png").write_bytes(data)
    (tmp_path / "b.jpg").write_bytes(data)
    uri = "data:image/png;base64," + base64.b64encode(data).decode()
    sources = (data, bytearray(data), uri, tmp_path / "a.png", str(tmp_path / "b.jpg"))
    assert len({fingerprint(content.image(source)) for source in sources}) == 1
    assert fingerprint(content.image(data)) != fingerprint(content.image(png("blue")))


def test_fingerprints_of_different_kinds_never_collide():
    zeros = np.zeros(4, np.uint8)
    palettes = []
    for colours in ((255, 0, 0), (0, 0, 255)):
        palettes.append(Image.new("P", (2, 2)))
        palettes[-1].putpalette(colours)
    turned = Image.new("RGB", (2, 2))
    turned.getexif()[0x0112] = 6
    different = [
        content.text("ab"),
        Part("image", media=b"ab"),
        Part("audio", media=b"ab"),
        Part("image", media=Image.new("RGB", (4, 1))),
        Part("image", media=Image.new("RGB", (1, 4))),
        Part("image", media=Image.new("RGB", (2, 2))),
        Part("image", media=turned),
        *(Part("image", media=picture) for picture in palettes),
        Part("imu", media=zeros),
        Part("imu", media=zeros.reshape(2, 2)),
        Part("imu", media=zeros.view(np.int8)),
        Part("imu", media=np.zeros(1, np.float32)),
        Part("imu", media=bytes(4)),
        Part("audio", media=(zeros, 8_000)),
        Part("audio", media=(zeros, 16_000)),
    ]
    assert len({fingerprint(part) for part in different}) == len(different)


@settings(deadline=None)  # a busy machine is no defect
@given(st.lists(st.binary(max_size=4), min_size=2, max_size=2, unique=True))
def test_different_bytes_have_different_fingerprints(pair):
    first, second = (fingerprint(Part("image", media=b"x" + data)) for data in pair)
    assert first != second
    assert len(first) == 64


def test_fingerprint_marks_where_one_field_ends():
    assert len({media.digest(*fields) for fields in ((b"ab", b"c"), (b"a", b"bc"), (b"abc",), (b"", b"abc"))}) == 4


def test_fingerprint_of_media_without_bytes_is_refused():
    for unusable in ({"a": 1}, [[1], [2, 3]], object()):
        with pytest.raises(MediaError, match="has no fingerprint; give a path, bytes or an array"):
            fingerprint(Part("imu", media=unusable))


def test_fingerprint_decodes_no_picture_over_the_limits():
    with pytest.raises(MediaError, match="over the limit"):
        fingerprint(content.image(Image.new("RGB", (3, 3))), Limits(max_pixels=8))


def test_fingerprint_decodes_nothing():
    assert len(fingerprint(content.audio(b"not a recording"))) == 64


def test_importing_media_imports_no_decoder():
    heavy = ("numpy", "PIL", "soundfile", "av", "soxr", "torch")
    code = f"import sys, polymodal.media, polymodal.content; sys.exit(any(m in sys.modules for m in {heavy}))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_recording_as_file_and_as_array_load_alike():
    samples = np.random.default_rng(0).uniform(-1, 1, 8_000).astype(np.float32)
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, 16_000, format="WAV", subtype="FLOAT")
    np.testing.assert_array_equal(
        media.load(content.audio(buffer.getvalue())), media.load(content.audio((samples, 16_000)))
    )
