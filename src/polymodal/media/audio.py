"""Recordings: bytes -> mono float32 at one rate. Decides how channels, rates and sample formats become one array.

The header is believed only to refuse: what it says is checked before decoding, and the samples are counted again while
decoding in blocks, mixed and resampled as they come, so memory follows `limits` and not what the file claims.

- Mono is the mean of the channels, as in librosa; opposite channels cancel.
- Rates are changed by soxr (quality HQ), streamed: equal to resampling at once.
- The result lies in [-1, 1]. Overshoot (decoded MP3, float WAV) is clipped, as by the 16-bit pipelines that speech
  encoders were trained behind; scaling the file down instead would let one sample set the loudness of all.
- A recording that ends before its header says is refused, where the format tells (Ogg, AAC and some MP3 do not).
"""

from __future__ import annotations

import io
import numbers
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from polymodal.errors import MediaError, MediaLimit
from polymodal.media import gate
from polymodal.media.gate import DEFAULT_LIMITS, Limits

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np

BLOCK = 65_536  # samples per channel decoded at once
SLACK = 0.1  # seconds that may be missing at the end: encoders pad, and headers count the padding
_SOUNDFILE = ("wav", "flac", "ogg")
# Our format -> FFmpeg's demuxer. Naming it keeps FFmpeg from guessing, and so from the playlists that open other files.
# MP3 is here because libsndfile stops a file without a Xing header at its *estimated* length: 1.7 s of 10 s in a test.
_PYAV = {"mp3": "mp3", "m4a": "mov", "mp4": "mov", "webm": "matroska", "aac": "aac", "aiff": "aiff"}
FORMATS = (*_SOUNDFILE, *_PYAV)


@dataclass
class _Recording:
    """An opened recording: what its header says, and its samples as blocks of float32 [samples, channels]."""

    name: str
    rate: float
    channels: int
    blocks: Iterator[np.ndarray]
    seconds: float | None  # by the header; None where it does not say


def load_audio(source: Any, rate: int = 16_000, limits: Limits = DEFAULT_LIMITS) -> np.ndarray:
    """One recording as mono float32 [samples] in [-1, 1] at `rate` samples per second.

    `source`: a path, bytes, a data URI, or `(array, rate)` with an array [samples] or [samples, channels] of floats in
    [-1, 1] or of uint8, int16 or int32. Raises `MediaError` for what is not a recording, is damaged, cut short, empty,
    not finite, or outside `limits`; the length is checked before decoding and again while decoding.
    """
    if isinstance(source, tuple):
        return _collect(_from_array(source), rate, limits)
    if hasattr(source, "__array__"):
        raise MediaError("<array>: an array of samples needs its rate; give (samples, rate)")
    data, name = gate.read(source, limits)
    kind = gate.expect(data, name, FORMATS, "recording")
    with gate.decoding(name):
        recording = _from_soundfile(data, name) if kind in _SOUNDFILE else _from_pyav(data, name, _PYAV[kind])
        return _collect(recording, rate, limits)


def _collect(recording: _Recording, rate: int, limits: Limits) -> np.ndarray:
    """Decodes, checks, mixes and resamples block by block."""
    import numpy as np
    import soxr

    name, source_rate = recording.name, recording.rate
    if not limits.min_rate <= source_rate <= limits.max_rate:
        allowed = f"{limits.min_rate} to {limits.max_rate}"
        raise MediaLimit(f"{name}: {source_rate:g} samples per second is outside the limits of {allowed}")
    if not 1 <= recording.channels <= limits.max_channels:
        raise MediaLimit(f"{name}: {recording.channels} channels is outside the limits of 1 to {limits.max_channels}")
    if recording.seconds is not None:
        _check_seconds(recording.seconds, name, limits)
    stream = None if source_rate == rate else soxr.ResampleStream(source_rate, rate, 1, dtype="float32", quality="HQ")
    count, parts = 0, []
    for block in recording.blocks:
        count += len(block)
        if count > limits.max_seconds * source_rate:
            _check_seconds(count / source_rate, name, limits, "at least ")
        if not np.isfinite(block).all():
            raise MediaError(f"{name}: holds samples that are not finite (NaN or infinity)")
        peak = np.abs(block).max(initial=0.0)
        if peak > limits.max_peak:
            hint = "floats must lie in [-1, 1]; are these integers that were not scaled?"
            raise MediaLimit(f"{name}: a peak of {peak:g} is over the limit of {limits.max_peak:g} ({hint})")
        mono = np.ascontiguousarray(block.mean(axis=1, dtype=np.float32))
        parts.append(mono if stream is None else stream.resample_chunk(mono))
    _check_seconds(count / source_rate, name, limits)
    if recording.seconds is not None and count / source_rate < recording.seconds - SLACK:
        held = f"{count / source_rate:.4g} of the {recording.seconds:.4g} seconds in its header"
        raise MediaError(f"{name}: is cut short (it holds {held})")
    if stream is not None:
        parts.append(stream.resample_chunk(np.empty(0, np.float32), last=True))
    samples = np.concatenate(parts)
    return np.clip(samples, -1.0, 1.0, out=samples)


def _from_soundfile(data: bytes, name: str) -> _Recording:
    import soundfile

    file = soundfile.SoundFile(io.BytesIO(data))
    if file.frames == 2**63 - 1:  # a FLAC written into a pipe has no length; libsndfile reads it but cannot end
        return _from_pyav(data, name, "flac")
    seconds = file.frames / file.samplerate
    if file.format in ("WAV", "WAVEX"):
        seconds = max(seconds, _wav_claim(data))

    def blocks() -> Iterator[np.ndarray]:
        with file:
            while len(block := file.read(BLOCK, dtype="float32", always_2d=True)):
                yield block

    return _Recording(name, file.samplerate, file.channels, blocks(), seconds)


def _from_pyav(data: bytes, name: str, demuxer: str) -> _Recording:
    import av

    container = av.open(io.BytesIO(data), mode="r", format=demuxer)
    if not container.streams.audio:
        raise MediaError(f"{name}: has no audio track")
    stream = container.streams.audio[0]
    seconds = None
    if demuxer == "aac" or (demuxer == "mp3" and not _has_xing(data)):
        pass  # FFmpeg guesses the length from the bit rate of the start
    elif stream.duration is not None and stream.time_base is not None:
        seconds = float(stream.duration * stream.time_base)
    elif container.duration is not None and len(container.streams) == 1:
        seconds = container.duration / av.time_base
    # It changes the sample format alone: channels stay as they are in the frames, and are mixed as for any other format.
    # Interleaved ("flt", not "fltp"), because PyAV reads past its eight plane pointers where a frame has more channels.
    converter = av.AudioResampler(format="flt", rate=stream.rate)

    def blocks() -> Iterator[np.ndarray]:
        with container:
            for frame in container.decode(stream):
                for block in converter.resample(frame):
                    yield block.to_ndarray().reshape(-1, block.layout.nb_channels)

    return _Recording(name, stream.rate, stream.channels, blocks(), seconds)


def _from_array(source: tuple[Any, ...]) -> _Recording:
    import numpy as np

    if len(source) != 2 or not isinstance(source[1], numbers.Real) or np.ndim(source[0]) not in (1, 2):
        raise MediaError("<array>: samples are given as (array [samples] or [samples, channels], rate)")
    array, rate = np.asarray(source[0]), float(source[1])
    scales = {"uint8": (128.0, 128.0), "int16": (0.0, 2.0**15), "int32": (0.0, 2.0**31)}
    if array.dtype.kind != "f" and array.dtype.name not in scales:
        raise MediaError(f"<array>: samples are floats in [-1, 1], uint8, int16 or int32, not {array.dtype}")
    zero, full = scales.get(array.dtype.name, (0.0, 1.0))
    array = array[:, None] if array.ndim == 1 else array

    def blocks() -> Iterator[np.ndarray]:
        for start in range(0, len(array), BLOCK):
            with np.errstate(over="ignore"):  # becomes infinity, which is refused by name
                block = ((array[start : start + BLOCK] - zero) / full).astype(np.float32)
            yield block

    return _Recording("<array>", rate, array.shape[1], blocks(), len(array) / rate if rate else 0.0)


def _wav_claim(data: bytes) -> float:
    """The seconds that a WAV claims beyond what it holds, else 0: libsndfile mends a false length without a word."""
    start, byte_rate = 12, 0
    while start + 8 <= len(data):
        kind, size = data[start : start + 4], int.from_bytes(data[start + 4 : start + 8], "little")
        if kind == b"fmt ":
            byte_rate = int.from_bytes(data[start + 16 : start + 20], "little")
        elif kind == b"data":
            # A WAV written into a pipe cannot know its length, and claims (nearly) all that 32 or 31 bits can say.
            piped = size >= 0xFFFFFF00 or 0x7FFFFF00 <= size <= 0x80000000
            return 0.0 if piped or not byte_rate or size <= len(data) - start - 8 else size / byte_rate
        start += 8 + size + size % 2
    return 0.0


def _has_xing(data: bytes) -> bool:
    """Whether the first frame of an MP3, which follows the ID3 tag, holds its exact length."""
    start = 0
    if data[:3] == b"ID3":
        a, b, c, d = data[6:10]  # 7 bits each
        start = 10 + (a << 21 | b << 14 | c << 7 | d)
    first = data[start : start + 200]
    return b"Xing" in first or b"Info" in first


def _check_seconds(seconds: float, name: str, limits: Limits, prefix: str = "") -> None:
    if seconds > limits.max_seconds:
        found = f"{prefix}{seconds:.6g} seconds"
        raise MediaLimit(f"{name}: {found} is over the limit of {limits.max_seconds:g} seconds")
    if seconds < limits.min_seconds or seconds == 0:
        raise MediaLimit(f"{name}: {seconds:.3g} seconds is under the limit of {limits.min_seconds:g} seconds")
