"""The one door for untrusted media. Decides what may be read at all, and how much of it.

Every byte of media reaches a decoder through `read` (where it may come from, how many bytes) and `expect` (what its
first bytes say it is). Three rules follow from "anyone can send us a file": nothing is fetched from a network; nothing
but a regular file is read (a pipe would block for ever, a device never ends); and a format is what the bytes say, never
what the name says, so that exactly one decoder, chosen from a list, sees each input.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import stat
import urllib.parse
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from polymodal.errors import MediaError, MediaLimit


@dataclass(frozen=True)
class Limits:
    """What one item of media may cost, checked before it is paid: bytes before reading, the rest before decoding."""

    max_bytes: int = 100_000_000
    max_pixels: int = 89_478_485  # Pillow's own warning level: a quarter of a GiB as RGB
    max_side: int = 20_000
    min_seconds: float = 0.02  # shorter than one analysis window (25 ms) of a speech encoder: no features
    max_seconds: float = 600.0
    max_frames: int = 36_000  # of a clip: ten minutes at 60 per second
    max_clip_pixels: int = 40_000_000_000  # of all its frames: ten minutes of 1920 x 1080 at 30 per second
    min_rate: int = 4_000  # samples per second
    max_rate: int = 384_000
    max_channels: int = 32
    max_points: int = 2_000_000  # of a point cloud, or vertices and faces of a mesh: far more than any encoder reads
    max_peak: float = 10.0  # +20 dB over full scale; above it the "floats" are integers that nobody scaled
    allow_files: bool = True  # False on a server: a request must bring its bytes, not name a file of ours


DEFAULT_LIMITS = Limits()

MIME = {
    **{name: f"image/{name}" for name in ("png", "jpeg", "gif", "bmp", "tiff", "webp", "avif", "heic")},
    **{"wav": "audio/wav", "flac": "audio/flac", "ogg": "audio/ogg", "mp3": "audio/mpeg", "aac": "audio/aac"},
    **{"aiff": "audio/aiff", "m4a": "audio/mp4", "mp4": "video/mp4", "webm": "video/webm", "avi": "video/x-msvideo"},
}

_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"\xff\xd8\xff", "jpeg"),
    (b"GIF87a", "gif"),
    (b"GIF89a", "gif"),
    (b"II*\0", "tiff"),
    (b"MM\0*", "tiff"),
    (b"fLaC", "flac"),
    (b"OggS", "ogg"),
    (b"ID3", "mp3"),
    (b"\x1aE\xdf\xa3", "webm"),  # EBML: WebM and Matroska alike
    (b"\x93NUMPY", "npy"),
    (b"ply\n", "ply"),
    (b"ply\r\n", "ply"),
    (b"glTF", "glb"),
    (b"PK\x03\x04", "zip"),
    (b"\x1f\x8b", "gzip"),
    (b"%PDF-", "pdf"),
)
_RIFF = {b"WAVE": "wav", b"WEBP": "webp", b"AVI ": "avi"}
_BRANDS = {  # ISO base media: the brand after `ftyp`; any other brand is an mp4
    **dict.fromkeys((b"avif", b"avis"), "avif"),
    **dict.fromkeys((b"heic", b"heix", b"hevc", b"mif1", b"msf1"), "heic"),
    **dict.fromkeys((b"M4A ", b"M4B "), "m4a"),
}
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)


def read(source: Any, limits: Limits = DEFAULT_LIMITS) -> tuple[bytes, str]:
    """The bytes of `source` (a path, `bytes` or a `data:` URI) and the name that errors call it by.

    Raises `MediaError` for a URL, a file that is missing, empty, over `limits.max_bytes` or not a regular file, and for
    bad base64. The size of a file is known before its first byte is read.
    """
    if isinstance(source, (bytes, bytearray, memoryview)):
        name, size = "<bytes>", memoryview(source).nbytes
        _check_size(size, name, limits)
        return bytes(source), name
    if isinstance(source, str) and source[:5].lower() == "data:":
        _check_size(len(source) * 3 // 4, "<data URI>", limits)
        data = decode_data_uri(source)
        _check_size(len(data), "<data URI>", limits)
        return data, "<data URI>"
    if not isinstance(source, (str, os.PathLike)):
        raise MediaError(f"media of type {type(source).__name__} cannot be read; give a path, bytes or a data URI")
    path = os.fspath(source)
    name = display(path)
    if isinstance(source, str) and _SCHEME.match(source):
        raise MediaError(f"{name}: URLs are never fetched; download it and give the path, the bytes or a data URI")
    if not limits.allow_files:
        raise MediaError(f"{name}: files are not opened here; send the bytes or a data URI")
    try:
        # Non-blocking, because opening a pipe waits for its writer; and the open file is what gets inspected, because
        # whatever a path names can be exchanged between a look at it and its opening.
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with os.fdopen(handle, "rb") as file:
            status = os.fstat(handle)
            if not stat.S_ISREG(status.st_mode):
                raise MediaError(f"{name}: is not a regular file")
            _check_size(status.st_size, name, limits)
            data = file.read(status.st_size)  # and no more, should it be growing
    except IsADirectoryError as error:
        raise MediaError(f"{name}: is a folder, not a file") from error
    except FileNotFoundError as error:
        raise MediaError(f"{name}: no such file") from error
    except (OSError, ValueError) as error:
        raise MediaError(f"{name}: cannot be read ({getattr(error, 'strerror', None) or error})") from error
    _check_size(len(data), name, limits)  # it may have been emptied meanwhile
    return data, name


def decode_data_uri(uri: str) -> bytes:
    """The payload of `data:[type][;base64],payload` (RFC 2397). Raises `MediaError`."""
    header, comma, payload = uri.partition(",")
    if not comma:
        raise MediaError("<data URI>: has no comma between its type and its payload")
    if not header.lower().endswith(";base64"):
        return urllib.parse.unquote_to_bytes(payload)
    try:
        return base64.b64decode(urllib.parse.unquote(payload) if "%" in payload else payload, validate=True)
    except (binascii.Error, ValueError) as error:
        raise MediaError(f"<data URI>: its payload is not base64 ({error})") from error


def sniff(data: bytes) -> str:
    """The format that the first bytes show, such as `png` or `wav`; `text` for readable text, or `unknown`."""
    for magic, name in _MAGIC:
        if data.startswith(magic):
            return name
    if data[8:9] == b"{" and int.from_bytes(data[:8], "little") <= len(data) - 8:  # the length of the header that follows
        return "safetensors"
    if data[:4] == b"RIFF" and data[8:12] in _RIFF:
        return _RIFF[data[8:12]]
    if data[:4] == b"FORM" and data[8:12] in (b"AIFF", b"AIFC"):
        return "aiff"
    if data[4:8] == b"ftyp":
        return _brand(data)
    if data[:2] == b"BM" and data[6:10] == b"\0\0\0\0":  # two letters alone also begin English words
        return "bmp"
    if len(data) >= 3 and data[0] == 0xFF and data[1] & 0xE0 == 0xE0:  # MPEG audio frame sync
        if data[1] & 0xF6 == 0xF0:
            return "aac"
        if data[1] & 0x06 == 0x02 and data[2] >> 4 not in (0, 15) and data[2] & 0x0C != 0x0C:
            return "mp3"
    return "text" if _is_text(data[:512]) else "unknown"


def expect(data: bytes, name: str, formats: Collection[str], what: str) -> str:
    """The format of `data`, which must be one of `formats`; `what` ("picture") is the noun of the `MediaError`."""
    found = sniff(data)
    if found in formats:
        return found
    known = "match no format we know" if found == "unknown" else f"look like {found}"
    raise MediaError(f"{name} is not a {what} (its first bytes {known}; a {what} is one of: {', '.join(formats)})")


@contextmanager
def decoding(name: str) -> Iterator[None]:
    """Whatever a decoder raises becomes a `MediaError`: on damaged bytes they raise some ten types, none documented."""
    try:
        yield
    except MediaError:
        raise
    except Exception as error:
        reason = getattr(error, "error_string", None) or getattr(error, "strerror", None) or str(error)
        reason = " ".join(reason.removeprefix("Error : ").split()) or type(error).__name__
        raise MediaError(f"{name}: cannot be decoded ({reason})") from error


def display(path: str | bytes) -> str:
    """A path as errors show it: one line, printable, at most 120 characters."""
    shown = "".join(char if char.isprintable() else "?" for char in os.fsdecode(path))
    return (f"{shown[:58]}...{shown[-58:]}" if len(shown) > 120 else shown) or "''"


def _check_size(size: int, name: str, limits: Limits) -> None:
    if size > limits.max_bytes:
        raise MediaLimit(f"{name}: {size / 1e6:.4g} MB is over the limit of {limits.max_bytes / 1e6:.4g} MB")
    if size == 0:
        raise MediaError(f"{name}: is empty (0 bytes)")


def _brand(data: bytes) -> str:
    """The major brand decides, unless it is one of HEIF's generic ones and a compatible brand says AVIF."""
    found = _BRANDS.get(data[8:12], "mp4")
    end = min(int.from_bytes(data[:4], "big"), 256)
    compatible = [data[i : i + 4] for i in range(16, end, 4)]
    return "avif" if found == "heic" and b"avif" in compatible else found


def _is_text(head: bytes) -> bool:
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):  # the byte order mark of UTF-16
        return True
    try:
        text = head.decode()
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3:  # a character cut by the end of `head` is no evidence
            return False
        text = head[: error.start].decode()
    return bool(text) and all(char.isprintable() or char in "\t\n\r\f\ufeff" for char in text)
