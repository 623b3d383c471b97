"""Arrays -> files: what a model made, as bytes that any player opens. Decides the format of each modality: PNG, WAV of 16
bits, and MP4 (H.264), in which alone something is lost."""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polymodal.errors import MediaError
from polymodal.media import gate

if TYPE_CHECKING:
    from PIL import Image

# One thread and no look-ahead: with either, x264 writes other bytes each time.
_CODEC = {"crf": "18", "threads": "1", "x264-params": "rc-lookahead=0"}


def encoded(kind: str, media: Any) -> tuple[str, bytes]:
    """The suffix of a file and its bytes: of a picture, of `(samples, rate)`, of `(frames, frames per second)`, or of what
    is the bytes or path of a file already. Raises `MediaError` for what has no such form."""
    if isinstance(media, (str, os.PathLike, bytes, bytearray, memoryview)):
        data = gate.read(media)[0]
        return gate.sniff(data) or "bin", data
    if kind == "image" and hasattr(media, "save"):
        out = io.BytesIO()
        media.save(out, format="PNG")
        return "png", out.getvalue()
    if kind == "audio" and isinstance(media, tuple):
        import soundfile

        out = io.BytesIO()
        soundfile.write(out, media[0], int(media[1]), format="WAV", subtype="PCM_16")
        return "wav", out.getvalue()
    if kind == "video" and isinstance(media, tuple):
        return "mp4", mp4(media[0], media[1])
    raise MediaError(f"{kind} media of type {type(media).__name__} has no file format here")


def mp4(frames: Sequence[Image.Image], rate: float) -> bytes:
    """Pictures of one size, of even sides, as an MP4 file of `rate` frames per second without sound."""
    from fractions import Fraction

    import av

    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(rate).limit_denominator(1000), options=_CODEC)
        stream.width, stream.height = frames[0].size
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_image(frame)))
        container.mux(stream.encode())
    return out.getvalue()


def write(folder: Path, kind: str, media: Any) -> Path:
    """Write a medium as KIND-N.suffix, of the first N that is free, whole or not at all."""
    suffix, data = encoded(kind, media)
    folder.mkdir(parents=True, exist_ok=True)
    number = 1
    while any(folder.glob(f"{kind}-{number}.*")):
        number += 1
    handle, staging = tempfile.mkstemp(dir=folder, prefix=".", suffix=".part")
    with os.fdopen(handle, "wb") as file:
        file.write(data)
    os.chmod(staging, 0o644)
    target = folder / f"{kind}-{number}.{suffix}"
    os.replace(staging, target)
    return target
