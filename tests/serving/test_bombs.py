"""Media that claim to be far more than they are: refused by their headers, in little time and memory."""

from __future__ import annotations

import io
import struct
import time
import zlib

import numpy as np
import psutil
import pytest
import soundfile
from PIL import Image

from tests.serving.conftest import code, embedded, png, vector


def save(image: Image.Image, kind: str, **options) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


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


def webp_claiming(width: int, height: int, frames: int = 0) -> bytes:
    """The canvas of an extended file; with `frames`, an animation that has so many of it."""
    size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    one = struct.pack("<BI", 0x2F, (min(width, 16384) - 1) | (min(height, 16384) - 1) << 14) + bytes(8)
    one = b"VP8L" + struct.pack("<I", len(one)) + one + bytes(len(one) % 2)
    frame = bytes(6) + size + bytes(4) + one
    chunks = [b"VP8X", struct.pack("<I", 10), bytes([2 if frames else 0, 0, 0, 0]), size]
    chunks += [b"ANIM", struct.pack("<I", 6), bytes(6)] if frames else [one]
    chunks += [b"ANMF", struct.pack("<I", len(frame)), frame] * frames
    body = b"WEBP" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


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
        ("image", webp_claiming(16_384, 16_384)),
        ("image", webp_claiming(16_384, 16_384, frames=5000)),
        ("audio", wav_claiming(40_000)),
        ("audio", flac_hours()),
    ],
    ids=["huge png", "long png", "hollow png", "huge gif", "huge webp", "webp frames", "wav of hours", "flac of an hour"],
)
def test_a_bomb_is_refused_before_it_goes_off(http, app, kind, data):
    embedded(http, png())  # so that there is a decoder
    before = psutil.Process(app.state.server.gate.decoders.pids[0]).memory_info().rss
    started = time.process_time()
    assert code(embedded(http, data, kind)) == "media_too_large"
    assert time.process_time() - started < 5
    after = psutil.Process(app.state.server.gate.decoders.pids[0]).memory_info().rss
    assert after - before < 60e6


@pytest.mark.parametrize("kind", ["GIF", "PNG"])
def test_of_an_animation_of_thousands_of_frames_the_first_is_read(http, kind):
    frames = [Image.new("P", (8, 8), i % 255) for i in range(2000)]
    data = save(frames[0], kind, save_all=True, append_images=frames[1:], duration=10)
    assert vector(embedded(http, data))
