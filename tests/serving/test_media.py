"""The gate for media: what is taken, what is not, and that refusing costs nothing. Classes of the advisories: local files,
decode bombs, odd media, text of errors, cache confusion, client tensors."""

from __future__ import annotations

import base64
import io
import struct
import time
import zlib

import numpy as np
import psutil
import pytest
import soundfile
from PIL import Image

from polymodal.content import Part, user
from polymodal.media import writing
from polymodal.serving.routes.embeddings import embedding
from tests.conftest import picture, sound
from tests.serving.conftest import asks, code, data_uri, embedded, png, refused, vector, wav

LOCAL = [
    "file:///etc/hosts",
    "FILE:///etc/hosts",
    "file:/etc/hosts",
    "file://localhost/etc/hosts",
    "/etc/hosts",
    "../../../etc/hosts",
    "./cat.png",
    "cat.png",
    "~/cat.png",
    "\\\\server\\share\\cat.png",
    "C:\\cat.png",
    "//server/share/cat.png",
    "/proc/self/environ",
    "/dev/zero",
    "ftp://127.0.0.1/cat.png",
    "s3://bucket/cat.png",
    "jar:file:///a!/b",
    "blob:http://127.0.0.1/1",
    "concat:/etc/hosts",
    "",
    " /etc/hosts",
]


@pytest.mark.parametrize("url", LOCAL)
def test_no_request_names_a_file_of_this_machine(http, url):
    part = {"type": "image_url", "image_url": {"url": url}}
    assert refused(http, part) == "media_place_not_allowed"


def test_a_recording_is_base64_and_never_a_place(http, tmp_path):
    (tmp_path / "a.wav").write_bytes(wav())
    for data in (str(tmp_path / "a.wav"), "file:///etc/hosts", "http://127.0.0.1/a.wav", "data:audio/wav;base64,AAAA"):
        part = {"type": "input_audio", "input_audio": {"data": data, "format": "wav"}}
        assert refused(http, part) == "media_not_base64"


@pytest.mark.parametrize(
    "url",
    [
        "data:,abc",
        "data:image/png,abc",
        "data:image/png;base64",
        "data:image/png;base64,@@@@",
        "data:image/png;base64,iVBO Rw0K",
        "data:image/png;base64,iVBORw0K\n",
        "data:image/png;base64,iVBORw0",
        "data:image/png;base64,iVBORw0%3D",
        "data:image/png;base64,é",
        "data:image/png;base64,-_-_",
        "data:image/png;base64;base64,AAAA,AAAA",
        "data:\nimage/png;base64,AAAA",
    ],
)
def test_base64_is_strict(http, url):
    part = {"type": "image_url", "image_url": {"url": url}}
    assert refused(http, part) == "media_not_base64"


def save(image: Image.Image, kind: str, **options) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def taken(kind: str) -> bytes:
    if kind in ("PNG", "JPEG", "WEBP", "GIF"):
        return save(picture(3), kind)
    out = io.BytesIO()
    samples, rate = sound(1.0)
    soundfile.write(out, samples, rate, format=kind)
    return out.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "WAV", "FLAC", "MP3"])
def test_what_is_taken_is_what_the_library_sees_whatever_type_is_declared(http, maker, kind):
    data, modality = taken(kind), "audio" if kind in ("WAV", "FLAC", "MP3") else "image"
    reply = vector(embedded(http, data, modality))  # declared as PNG
    expected = embedding([Part(modality, media=data)], "")(maker)[0]
    assert np.array_equal(np.float32(reply), expected.numpy())


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("bmp", save(picture(), "BMP")),
        ("tiff", save(picture(), "TIFF")),
        ("ico", save(picture(), "ICO")),
        ("jpeg 2000", b"\0\0\0\x0cjP  \r\n\x87\n" + b"\0" * 40),
        ("svg", b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/hosts"/></svg>'),
        ("playlist", b"#EXTM3U\n#EXTINF:1,\nfile:///etc/hosts\n"),
        ("pdf", b"%PDF-1.4\n" + b"\0" * 20),
        ("zip", b"PK\x03\x04" + b"\0" * 40),
        ("pickle", b"\x80\x04\x95\x0b\0\0\0\0\0\0\0\x8c\x07builtin."),
        ("npy", b"\x93NUMPY\x01\0v\0{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999,), }"),
        ("safetensors", struct.pack("<Q", 2) + b"{}"),
        ("postscript", b"%!PS-Adobe-3.0\n"),
        ("a recording", wav()),
        ("one byte", b"\x89"),
    ],
)
def test_only_listed_formats_reach_a_decoder(http, name, data):
    assert code(embedded(http, data)) == "media_format_not_allowed"


def png_claiming(width: int, height: int, data: bytes = b"") -> bytes:
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [b"IHDR" + head, b"IDAT" + zlib.compress(data), b"IEND"]
    framed = [struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(framed)


def wav_claiming(seconds: float, rate: int = 16000) -> bytes:
    size = min(int(seconds * rate) * 2, 2**31)
    form = struct.pack("<IHHIIHH", 16, 1, 1, rate, rate * 2, 2, 16)
    return b"RIFF" + struct.pack("<I", 36 + size) + b"WAVEfmt " + form + b"data" + struct.pack("<I", size) + bytes(3200)


def gif_claiming(width: int, height: int) -> bytes:
    return (
        b"GIF89a"
        + struct.pack("<HHBBB", width, height, 0, 0, 0)
        + b","
        + struct.pack("<HHHHB", 0, 0, width, height, 0)
        + b"\2\2D\1\0;"
    )


def flac_hours() -> bytes:
    out = io.BytesIO()
    soundfile.write(out, np.zeros(16000 * 3600, np.int16), 16000, format="FLAC")  # an hour of silence: a few kB
    return out.getvalue()


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("image", png_claiming(60_000, 60_000)),
        ("image", png_claiming(2**31 - 1, 1)),
        ("image", png_claiming(10_000, 10_000, bytes(1000))),
        ("image", gif_claiming(65_535, 65_535)),
        ("audio", wav_claiming(40_000)),
        ("audio", flac_hours()),
    ],
    ids=["huge png", "long png", "hollow png", "huge gif", "wav of hours", "flac of an hour"],
)
def test_a_bomb_is_refused_before_it_goes_off(http, app, kind, data):
    embedded(http, png())  # so that there is a decoder
    before = psutil.Process(app.state.server.gate.decoders.pids[0]).memory_info().rss
    started = time.process_time()
    assert code(embedded(http, data, kind)) == "media_too_large"
    assert time.process_time() - started < 5
    after = psutil.Process(app.state.server.gate.decoders.pids[0]).memory_info().rss
    assert after - before < 60e6


def test_of_an_animation_of_thousands_of_frames_the_first_is_read(http):
    frames = [Image.new("P", (8, 8), i % 255) for i in range(2000)]
    data = save(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=10)
    assert vector(embedded(http, data))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "media_damaged"),
        (b"\x89PNG\r\n\x1a\n", "media_damaged"),
        (png()[:60], "media_damaged"),
        (png_claiming(0, 5), "media_damaged"),
        (save(picture(), "JPEG")[:200], "media_damaged"),
        (wav()[:44], "media_format_not_allowed"),
    ],
)
def test_damaged_pictures_are_refused_in_fixed_words(http, data, said):
    assert code(embedded(http, data)) == said


ODD = {
    "1x1": png(0, (1, 1)),
    "1xN": png(0, (1, 500)),
    "Nx1": png(0, (500, 1)),
    "cmyk": save(picture().convert("CMYK"), "JPEG"),
    "palette": save(picture().quantize(8), "PNG", transparency=0),
    "grey 16": save(Image.fromarray(np.arange(1200, dtype=np.uint16).reshape(30, 40) * 50), "PNG"),
    "grey alpha": save(picture().convert("LA"), "PNG"),
    "bilevel": save(picture().convert("1"), "PNG"),
    "interlaced": save(picture(), "JPEG", progressive=True),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_pictures_are_pictures(http, name):
    assert vector(embedded(http, ODD[name]))


def test_exif_rotation_is_applied(http):
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = save(picture(5).rotate(90, expand=True), "PNG", exif=exif)
    assert vector(embedded(http, turned)) == vector(embedded(http, save(picture(5), "PNG")))


def test_same_bytes_of_another_shape_or_palette_are_another_picture(http):
    raw = np.random.default_rng(0).integers(0, 256, 3 * 24 * 24, dtype=np.uint8).tobytes()
    shapes = [(24, 24), (48, 12), (12, 48), (18, 32)]
    seen = [vector(embedded(http, save(Image.frombytes("RGB", shape, raw), "PNG"))) for shape in shapes]
    index = Image.frombytes("P", (24, 24), raw[: 24 * 24])
    for palette in (bytes(range(256)) * 3, bytes(range(255, -1, -1)) * 3):
        index.putpalette(palette)
        seen.append(vector(embedded(http, save(index, "PNG"))))
    assert len({tuple(each) for each in seen}) == len(seen)
    assert vector(embedded(http, save(Image.frombytes("RGB", (24, 24), raw), "PNG"))) == seen[0]


def test_no_tensor_of_a_client_is_taken(http):
    data = base64.b64encode(b"tensor").decode()
    for part in (
        {"type": "image_embeds", "image_embeds": data},
        {"type": "prompt_embeds", "prompt_embeds": data},
        {"type": "image_pil", "image_pil": data},
    ):
        assert refused(http, part) == "invalid_field"
    assert refused(http, "hi", prompt_embeds=data) == "unknown_field"
    assert code(http.post("/v1/embeddings", json={"model": "tiny", "input": [1, 2, 3]})) == "invalid_field"


def test_items_bytes_and_characters_are_counted_over_the_request(http, engine):
    from polymodal.serving.app import create
    from tests.serving.conftest import LIMITS, serving

    tight = {"media": 2, "media_bytes": 6_000, "request_media_bytes": 8_000, "text": 20, "parts": 4, "decoded_bytes": 9_000}
    app = create(engine, LIMITS.model_copy(update=tight), name="tiny", closes=False)
    import httpx

    with serving(app) as address, httpx.Client(base_url=address, timeout=60) as small:
        assert refused(small, png(0, (8, 8)), png(1, (8, 8)), png(2, (8, 8))) == "too_many_media"
        assert refused(small, png(0, (60, 60))) == "media_too_large"  # bytes of an item
        assert refused(small, png(0, (40, 40)), png(1, (40, 40))) == "media_too_large"  # bytes of all
        assert refused(small, save(Image.new("RGB", (60, 60)), "PNG")) == "media_too_large"  # once decoded
        assert refused(small, "a" * 21) == "text_too_long"
        assert refused(small, "a", "b", "c", "d", "e") == "too_many_parts"


def test_a_modality_that_the_model_lacks_is_refused_by_name(http):
    clip = {"type": "video_url", "video_url": {"url": data_uri(b"never decoded", "video/mp4")}}
    reply = http.post("/v1/chat/completions", json=asks(clip))
    assert code(reply) == "modality_not_supported"
    assert reply.json()["error"]["message"] == "This model takes no video; it takes audio, image."


def test_a_clip_is_seen_as_the_library_sees_it(tiny_recipe):
    """Through the decoder alone: the tiny model has no eyes for clips."""
    import asyncio

    from polymodal.media import load_video
    from polymodal.serving.decoding import Decoders
    from tests.serving.conftest import LIMITS

    frames = [picture(i, (32, 24)) for i in range(12)]
    data = writing.encoded("video", (frames, 6.0))[1]

    async def decoded(**limits):
        decoders = Decoders(LIMITS.model_copy(update=limits))
        try:
            return (await decoders.decode("video", data, 10**8))[0]
        finally:
            await decoders.close()

    times = [0.1, 0.6, 1.4, 1.95]
    whole, few = asyncio.run(decoded()), asyncio.run(decoded(video_kept=4))
    shown = [np.asarray(frame) for frame in load_video(data).at(times)]
    again = [np.asarray(frame) for frame in load_video(whole.media).at(times)]
    assert all(np.array_equal(a, b) for a, b in zip(shown, again, strict=True))
    assert len(few.media[0]) == 4
    assert np.array_equal(np.asarray(few.media[0][1]), np.asarray(next(iter(load_video(data).at([0.5])))))
    assert user(whole)
