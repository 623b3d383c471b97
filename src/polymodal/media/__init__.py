"""Media: bytes -> arrays. Decides which reader a part's type gets, and what makes two items of media the same.

`load` is the only way from a part to an array; each reader takes its bytes through `polymodal.media.gate`. Decoders are
imported when first used, so importing this package costs nothing.
"""

from __future__ import annotations

import hashlib
import numbers
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from polymodal.errors import MediaError
from polymodal.media import gate
from polymodal.media.audio import load_audio
from polymodal.media.gate import DEFAULT_LIMITS, Limits
from polymodal.media.image import check_size, load_image
from polymodal.media.maps import load_map
from polymodal.media.points import load_points
from polymodal.media.series import load_series
from polymodal.media.video import load_video

if TYPE_CHECKING:
    from polymodal.content import Part

__all__ = [
    "DEFAULT_LIMITS",
    "READERS",
    "Limits",
    "digest",
    "fingerprint",
    "load",
    "load_audio",
    "load_image",
    "load_map",
    "load_points",
    "load_series",
    "load_video",
]

READERS: dict[str, Callable[..., Any]] = {
    "image": load_image,
    "audio": load_audio,
    "video": load_video,
    "points": load_points,
    "imu": load_series,
    "depth": load_map,
    "thermal": load_map,
    "segmentation": load_image,
}


def load(part: Part, limits: Limits = DEFAULT_LIMITS) -> Any:
    """The media of one part, decoded: an image, and drawn segments, as a `PIL.Image.Image` in RGB, audio as float32
    [samples] at 16 kHz, video as a `media.video.Video`, whose frames are decoded when they are asked for, points as float32
    [N, 6], imu as a `media.series.Series`, depth and thermal as float32 [height, width].

    Raises `MediaError` where the media is refused, or the type of the part has no reader.
    """
    reader = READERS.get(part.type)
    if reader is None:
        raise MediaError(f"a '{part.type}' part has no reader; these have one: {', '.join(READERS)}")
    return reader(part.media, limits=limits)


def fingerprint(part: Part, limits: Limits = DEFAULT_LIMITS) -> str:
    """SHA-256 (hex) of what the part holds: equal for equal bytes however they are given (path, bytes, data URI).

    Nothing is decoded: the same picture as PNG and as JPEG, or as bytes and as a decoded object, has two fingerprints.
    Each field is hashed behind its length, so no two different parts feed the hash the same bytes. Raises `MediaError`.
    """
    return digest(b"polymodal.media.1", part.type.encode(), *_fields(part, limits))


def digest(*fields: bytes) -> str:
    """SHA-256 (hex) of fields, each behind its length."""
    found = hashlib.sha256()
    for field in fields:
        found.update(len(field).to_bytes(8, "big"))
        found.update(field)
    return found.hexdigest()


def _fields(part: Part, limits: Limits) -> tuple[bytes, ...]:
    if part.text is not None:
        return b"text", part.text.encode("utf-8", "surrogatepass")
    if part.media is None:  # known by its caption alone
        return b"made", *(f"{name}={value}".encode() for name, value in part.made.items())
    return _media_fields(part.media, part.type, limits)


def _media_fields(media: Any, kind: str, limits: Limits) -> tuple[bytes, ...]:
    if isinstance(media, (str, bytes, bytearray, memoryview, os.PathLike)):
        return b"bytes", gate.read(media, limits)[0]
    if hasattr(media, "getpalette"):  # a PIL image; its palette, transparency and orientation are not in its bytes
        check_size(media.size, "<picture>", limits)
        with gate.decoding("<picture>"):
            looks = media.getpalette(), media.info.get("transparency"), media.getexif().get(0x0112)
            return b"picture", repr((media.mode, media.size, *looks)).encode(), media.tobytes()
    if isinstance(media, tuple) and len(media) == 2 and isinstance(media[1], numbers.Real):
        rate = repr(float(media[1])).encode()
        if isinstance(media[0], (list, tuple)) and kind == "video":
            frames = (digest(*_media_fields(frame, "image", limits)) for frame in media[0])
            return b"frames", rate, *(frame.encode() for frame in frames)
        return b"samples", rate, *_array_fields(media[0], kind)
    return b"array", *_array_fields(media, kind)


def _array_fields(media: Any, kind: str) -> tuple[bytes, ...]:
    import numpy as np

    try:
        array = np.asarray(media)
        if array.dtype.kind not in "biuf":
            raise ValueError(f"it becomes an array of {array.dtype}")
    except ValueError as error:
        reason = f"{kind} media of type {type(media).__name__} has no fingerprint"
        raise MediaError(f"{reason}; give a path, bytes or an array of numbers ({error})") from error
    return array.dtype.str.encode(), repr(array.shape).encode(), array.tobytes()
