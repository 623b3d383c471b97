"""The process that decodes what strangers send. Decides that a decoder's defect can cost one item and nothing else.

It reads one request after the other from its stdin and writes each result to its stdout: a length, JSON of that length, and
bytes. Pillow, libsndfile and FFmpeg run here, with bounded memory, no files to write and no model beside them; the server
kills it when an item takes too long. What leaves it is plain numbers: nothing hostile reaches the model's process.
"""

from __future__ import annotations

import io
import json
import struct
import sys
from collections.abc import Callable
from typing import Any, BinaryIO

from polymodal.errors import MediaError
from polymodal.media import load_audio, load_image, load_map, load_points, load_series, load_video
from polymodal.media.gate import Limits, sniff

# kind -> formats by their first bytes. What is not listed reaches no decoder.
FORMATS: dict[str, tuple[str, ...]] = {
    "image": ("png", "jpeg", "webp", "gif"),
    "audio": ("wav", "flac", "mp3"),
    "video": ("mp4",),
    "points": ("ply", "npy"),
    "imu": ("npy", "text"),
    "depth": ("png", "npy"),
    "thermal": ("png", "npy"),
    "segmentation": ("png",),
}
RATE = 16_000  # of what the encoders of recordings take


def decode(kind: str, data: bytes, limits: Limits, kept: int, budget: int) -> tuple[dict[str, Any], bytes]:
    """What a part of a kind holds, as a header and bytes: pictures RGB, recordings float32 at 16 kHz, of clips at most
    `kept` frames, as many as fit into `budget` bytes; series as safetensors, all else npy. Raises `MediaError`."""
    if kind in ("image", "segmentation"):
        picture = load_image(data, limits)
        return {"size": picture.size}, picture.tobytes()
    if kind == "audio":
        return {"rate": RATE}, load_audio(data, RATE, limits).tobytes()
    if kind == "video":
        return _clip(data, limits, kept, budget)
    if kind == "imu":
        from polymodal.media.series import encoded

        return {}, encoded(load_series(data, limits))
    import numpy as np

    out = io.BytesIO()
    reader: Callable[..., Any] = load_points if kind == "points" else load_map
    np.save(out, reader(data, limits=limits), allow_pickle=False)
    return {}, out.getvalue()


def _clip(data: bytes, limits: Limits, kept: int, budget: int) -> tuple[dict[str, Any], bytes]:
    """Every frame of a short clip, so that a model sees what it would see of the file; of a longer one, frames in even
    steps, of which a number that divides `kept` are those that the file would have shown."""
    clip = load_video(data, limits)
    first = next(iter(clip.at([0.0])))
    room = budget // (3 * first.width * first.height)
    if room < 2:
        raise MediaError(f"<bytes>: two frames are over the limit of {budget} bytes")
    count = min(len(clip.starts), kept, room)
    short = count == len(clip.starts)
    times = clip.starts if short else [number * clip.seconds / count for number in range(count)]
    frames, size = [], None
    for frame in clip.at(times):
        size = size or frame.size
        if frame.size != size:
            raise MediaError("<bytes>: its frames have several sizes")
        frames.append(frame.convert("RGB").tobytes())
    return {"size": size, "frames": len(frames), "rate": count / clip.seconds}, b"".join(frames)


def answer(request: dict[str, Any], data: bytes) -> tuple[dict[str, Any], bytes]:
    """The reply to one request: `{"ok": ...}` and bytes, or `{"code": ..., "detail": ...}`."""
    kind, limits = request["kind"], Limits(**request["limits"])
    if sniff(data) not in FORMATS[kind]:
        return {"code": "media_format_not_allowed", "detail": sniff(data)}, b""
    try:
        header, out = decode(kind, data, limits, request["kept"], request["budget"])
    except MediaError as error:
        over = any(f"{word} the limit" in str(error) for word in ("over", "under", "outside"))
        return {"code": "media_too_large" if over else "media_damaged", "detail": str(error)}, b""
    except MemoryError:
        return {"code": "media_too_large", "detail": "out of memory"}, b""
    if len(out) > request["budget"]:
        return {"code": "media_too_large", "detail": f"{len(out)} bytes decoded"}, b""
    return {"ok": header}, out


def read(stream: BinaryIO) -> tuple[dict[str, Any], bytes] | None:
    head = stream.read(4)
    if len(head) < 4:
        return None
    request = json.loads(stream.read(struct.unpack(">I", head)[0]))
    return request, stream.read(request["bytes"])


def framed(header: dict[str, Any], data: bytes) -> bytes:
    """A message without its bytes, whose number it tells."""
    text = json.dumps({**header, "bytes": len(data)}).encode()
    return struct.pack(">I", len(text)) + text


def confine(memory: int) -> None:
    """Bounds for this process: address space in bytes, no file written, no core dumped. Windows has none of them."""
    try:
        import resource
    except ImportError:
        return
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def main() -> None:
    import av
    import numpy  # noqa: F401
    import soundfile  # noqa: F401
    import soxr  # noqa: F401
    from PIL import Image  # noqa: F401

    av.logging.set_level(None)
    confine(int(sys.argv[1]))
    source, out = sys.stdin.buffer, sys.stdout.buffer
    out.write(framed({"ready": True}, b""))
    out.flush()
    while (request := read(source)) is not None:
        header, data = answer(*request)
        out.write(framed(header, data))
        out.write(data)
        out.flush()


if __name__ == "__main__":
    main()
