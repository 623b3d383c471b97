"""Clips: bytes -> upright RGB pictures by time. Decides which frame is on show, and that no more is decoded than is asked.

Which frames matter is for the encoder to say, so a clip comes as a `Video`: the second at which each frame begins, read
from the packets of the file without decoding any, and `at(times)`, which decodes one picture after the other. Memory is
one frame, however long the clip; groups of frames of which none is wanted are passed over.

- A frame is chosen by its time stamp and never by its number: many clips have no constant rate.
- The first frame is at second 0, and the last is shown as long as its packet says.
- Rotation metadata is applied, as the player of a phone does. Sound is not read: give it as audio.
- GIF, WebP and APNG are animations if they have two frames or more; frames without a duration last 0.1 s, as in browsers.
- A clip that ends before its header says is refused.
"""

from __future__ import annotations

import io
import math
import numbers
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import TYPE_CHECKING, Any

from polymodal.errors import MediaError, MediaLimit
from polymodal.media import gate
from polymodal.media.gate import DEFAULT_LIMITS, Limits
from polymodal.media.image import check_size, load_image, opened, to_rgb

if TYPE_CHECKING:
    from PIL import Image

BLINK = 0.1  # seconds of a frame of an animation that says none
SLACK = 0.1  # seconds that may be missing at the end, beside the longest frame
_ANIMATIONS = ("gif", "webp", "png")
_PYAV = {"mp4": "mov", "webm": "matroska", "avi": "avi"}  # format -> FFmpeg's demuxer, which is named and not guessed
FORMATS = (*_PYAV, *_ANIMATIONS)


@dataclass(frozen=True)
class Video:
    """A clip of which nothing is decoded yet. `starts` [F]: the second at which each frame begins, rising from 0.
    `seconds`: when the last one ends. `decode`: the pictures of frames by number; the numbers rise."""

    starts: list[float]
    seconds: float
    decode: Callable[[list[int]], Iterator[Image.Image]]

    def at(self, times: Sequence[float]) -> Iterator[Image.Image]:
        """The picture on show at each of the times (seconds, in order), RGB and upright; before the first frame and after
        the last, these. Raises `MediaError` where the clip is damaged."""
        shown = [max(0, bisect_right(self.starts, time) - 1) for time in times]
        pictures = self.decode([number for number, _ in groupby(shown)])
        for (_, each), picture in zip(groupby(shown), pictures, strict=True):
            for _ in each:
                yield picture


def load_video(source: Any, limits: Limits = DEFAULT_LIMITS) -> Video:
    """One clip, ready to be decoded.

    `source`: a path, bytes or a data URI of MP4, WebM, Matroska, AVI, or animated GIF, WebP or PNG; or `(frames, rate)`
    with uint8 frames [F, height, width, 3] or a list of pictures, `rate` of them per second. Raises `MediaError` for what
    is not a clip, is cut short, has no frame, or is over `limits`, before a frame of a film is decoded.
    """
    if isinstance(source, tuple):
        return _from_frames(source, limits)
    if isinstance(source, list) or hasattr(source, "__array__"):
        raise MediaError("<array>: frames need their rate; give (frames, rate)")
    data, name = gate.read(source, limits)
    kind = gate.expect(data, name, FORMATS, "clip")
    with gate.decoding(name):
        return (_from_animation if kind in _ANIMATIONS else _from_pyav)(data, name, kind, limits)


def _check(name: str, frames: int, size: tuple[int, int], seconds: float, limits: Limits) -> None:
    check_size(size, name, limits)
    pixels = frames * size[0] * size[1]
    if frames > limits.max_frames:
        raise MediaLimit(f"{name}: {frames} frames are over the limit of {limits.max_frames}")
    if pixels > limits.max_clip_pixels:
        found, limit = f"{pixels / 1e6:.4g}", f"{limits.max_clip_pixels / 1e6:.4g}"
        raise MediaLimit(f"{name}: {found} megapixels in {frames} frames are over the limit of {limit} megapixels")
    if seconds > limits.max_seconds:
        raise MediaLimit(f"{name}: {seconds:.6g} seconds is over the limit of {limits.max_seconds:g} seconds")


def _from_frames(source: tuple[Any, ...], limits: Limits) -> Video:
    form = "<array>: a clip is given as (frames, rate): uint8 [frames, height, width, 3] or pictures, and frames per second"
    if len(source) != 2 or not hasattr(source[0], "__len__") or not isinstance(source[1], numbers.Real):
        raise MediaError(form)
    frames, rate = source[0], float(source[1])
    if not len(frames) or not 0 < rate < math.inf:
        raise MediaError(f"{form}; this has {len(frames)} frames at {rate:g}")
    first = load_image(frames[0], limits)
    _check("<array>", len(frames), first.size, len(frames) / rate, limits)

    def decode(wanted: list[int]) -> Iterator[Image.Image]:
        return (load_image(frames[number], limits) for number in wanted)

    return Video([number / rate for number in range(len(frames))], len(frames) / rate, decode)


def _from_animation(data: bytes, name: str, kind: str, limits: Limits) -> Video:
    animation = opened(data, kind)
    first = int(getattr(animation, "default_image", False))  # an APNG may begin with a picture that is not of the animation
    frames = getattr(animation, "n_frames", 1) - first
    if frames < 2:
        raise MediaError(f"{name}: is a still picture and not a clip; give it as an image")
    _check(name, frames, animation.size, 0.0, limits)
    starts, seconds = [], 0.0
    for number in range(first, first + frames):  # WebP tells the duration of a frame when it is decoded
        animation.seek(number)
        animation.load()
        starts.append(seconds)
        seconds += animation.info.get("duration", 0) / 1000 or BLINK
    _check(name, frames, animation.size, seconds, limits)

    def decode(wanted: list[int]) -> Iterator[Image.Image]:
        with gate.decoding(name):
            shown = opened(data, kind)
            for number in wanted:
                shown.seek(first + number)
                yield to_rgb(shown, name)

    return Video(starts, seconds, decode)


@dataclass(frozen=True)
class _Index:
    """What the packets of a track say. `stamps`: of its frames, in the order of showing; `keys`: (time stamp, number of the
    packet) that decoding may begin with; `length`: from the first frame to the end of the last, and `unit`, in seconds."""

    stamps: list[int]
    keys: list[tuple[int, int]]
    length: int
    unit: float


def _from_pyav(data: bytes, name: str, kind: str, limits: Limits) -> Video:
    riff = int.from_bytes(data[4:8], "little") + 8
    if kind == "avi" and len(data) < riff < 2**31:  # written into a pipe it claims 0 or 4 GiB
        raise MediaError(f"{name}: is cut short (it holds {len(data)} of the {riff} bytes in its header)")
    with _opening(data, kind) as container:
        track = _track(container, name)
        index = _index(container, track, name, limits)
        _check(name, len(index.stamps), (track.width, track.height), index.length * index.unit, limits)
    starts = [(stamp - index.stamps[0]) * index.unit for stamp in index.stamps]

    def decode(wanted: list[int]) -> Iterator[Image.Image]:
        with gate.decoding(name), _opening(data, kind) as container:
            track, begin = _track(container, name), [0]
            track.codec_context.options = {"max_pixels": str(limits.max_pixels)}  # a stream may outgrow its header
            frames = _frames(container, track, begin)
            if kind == "avi":  # has no time stamps for frames, only an order: none may be passed over
                frames = zip(index.stamps, (frame for _, frame in frames), strict=False)
            now, frame = -math.inf, None
            for number in wanted:
                stamp = index.stamps[number]
                if kind != "avi":
                    begin[0] = max((packet for key, packet in index.keys if key <= stamp), default=0)
                while now < stamp:
                    now, frame = next(frames, (math.inf, None))
                if frame is None:
                    raise MediaError(f"{name}: cannot be decoded (no frame at {starts[number]:.4g} seconds)")
                check_size((frame.width, frame.height), name, limits)
                yield frame.to_image().rotate(frame.rotation, expand=True)

    return Video(starts, index.length * index.unit, decode)


def _opening(data: bytes, kind: str) -> Any:
    import av

    return av.open(io.BytesIO(data), mode="r", format=_PYAV[kind])


def _index(container: Any, track: Any, name: str, limits: Limits) -> _Index:
    """Reads every packet and decodes none. Raises `MediaError` for too many frames, for none, and for a track cut short."""
    stamps: set[int] = set()
    keys: list[tuple[int, int]] = []
    begin, end = math.inf, 0
    for number, packet in enumerate(container.demux(track)):
        if packet.pts is None:  # the empty one at the end
            continue
        begin, end = min(begin, packet.pts), max(end, packet.pts + (packet.duration or 0))
        if packet.is_discard:  # before the cut of an edit list: decoded, but not shown
            continue
        stamps.add(packet.pts)
        if packet.is_keyframe:
            keys.append((packet.pts, number))
        if len(stamps) > limits.max_frames:
            raise MediaLimit(f"{name}: more frames than the limit of {limits.max_frames}")
    if not stamps:
        raise MediaError(f"{name}: has no frame")
    shown, unit = sorted(stamps), float(track.time_base)
    longest = max((after - before for before, after in pairwise(shown)), default=0)
    claimed = track.duration or 0
    if not claimed and len(container.streams) == 1:
        claimed = (container.duration or 0) / 1e6 / unit
    if end - begin < claimed - longest - SLACK / unit:
        held = f"{(end - begin) * unit:.4g} of the {claimed * unit:.4g} seconds in its header"
        raise MediaError(f"{name}: is cut short (it holds {held})")
    return _Index(shown, keys, end - shown[0], unit)


def _track(container: Any, name: str) -> Any:
    """The first video track that is not the cover of an album."""
    from av.stream import Disposition

    tracks = [track for track in container.streams.video if not track.disposition & Disposition.attached_pic]
    if not tracks:
        raise MediaError(f"{name}: has no video track")
    return tracks[0]


def _frames(container: Any, track: Any, begin: list[int]) -> Iterator[tuple[int, Any]]:
    """(time stamp, frame) in the order of showing. Packets before number `begin[0]`, which may rise, are not decoded."""
    skipped = False
    for number, packet in enumerate(container.demux(track)):
        if number < begin[0]:
            skipped = True
            continue
        if skipped:
            track.codec_context.flush_buffers()
            skipped = False
        for frame in packet.decode():
            yield frame.pts, frame
