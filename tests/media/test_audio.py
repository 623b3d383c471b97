"""Every kind of recording becomes mono float32 at one rate; every damaged, empty, endless or lying one is refused."""

from __future__ import annotations

import io
import struct
import time
import tracemalloc

import av
import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from polymodal.errors import MediaError
from polymodal.media.audio import load_audio
from polymodal.media.gate import Limits


def tone(hertz=440.0, seconds=1.0, rate=16_000, level=0.5) -> np.ndarray:
    return (level * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


def noise(seconds=2.0, rate=16_000) -> np.ndarray:
    return (np.random.default_rng(0).standard_normal(int(seconds * rate)) * 0.1).astype(np.float32)


def encoded(samples: np.ndarray, rate=16_000, kind="WAV", subtype=None) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=kind, subtype=subtype)
    return buffer.getvalue()


def muxed(samples: np.ndarray, rate: int, container: str, codec: str, bit_rate=64_000, **options: str) -> bytes:
    """Mono samples encoded by FFmpeg."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container, options=options) as out:
        stream = out.add_stream(codec, rate=rate, layout="mono")
        stream.bit_rate = bit_rate
        for start in range(0, len(samples), 960):
            frame = av.AudioFrame.from_ndarray(samples[None, start : start + 960].copy(), format="fltp", layout="mono")
            frame.sample_rate, frame.pts = rate, start
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return buffer.getvalue()


def wav_header(claimed_bytes: int, body: bytes = b"", rate=8_000) -> bytes:
    form = struct.pack("<IHHIIHH", 16, 1, 1, rate, rate * 2, 2, 16)
    size = struct.pack("<I", claimed_bytes)
    return b"RIFF" + struct.pack("<I", min(claimed_bytes + 36, 2**32 - 1)) + b"WAVEfmt " + form + b"data" + size + body


def flac_claiming(total: int, samples: np.ndarray) -> bytes:
    """A FLAC whose STREAMINFO says `total` samples (36 bits), whatever it holds."""
    data = bytearray(encoded(samples, kind="FLAC"))
    packed = int.from_bytes(data[18:26], "big")
    data[18:26] = (packed >> 36 << 36 | total).to_bytes(8, "big")
    return bytes(data)


def pitch(samples: np.ndarray, rate=16_000) -> float:
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(spectrum.argmax() * rate / len(samples))


def rms(samples: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(samples))))


def refusal(source, limits=Limits()) -> str:  # noqa: B008
    with pytest.raises(MediaError) as caught:
        load_audio(source, limits=limits)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("kind", "subtype"),
    [("WAV", "PCM_16"), ("WAV", "FLOAT"), ("WAV", "PCM_U8"), ("WAVEX", "PCM_24"), ("FLAC", None), ("OGG", "VORBIS")]
    + [("OGG", "OPUS"), ("MP3", None), ("AIFF", None)],
)
def test_formats_of_soundfile_load(kind, subtype, tmp_path):
    (tmp_path / "misnamed.txt").write_bytes(encoded(tone(), kind=kind, subtype=subtype))
    samples = load_audio(tmp_path / "misnamed.txt")
    assert (samples.dtype, samples.ndim) == (np.float32, 1)
    assert abs(len(samples) - 16_000) < 1600
    assert pitch(samples) == pytest.approx(440, abs=2)
    assert rms(samples[4000:12_000]) == pytest.approx(0.5 / 2**0.5, abs=0.02)


@pytest.mark.parametrize(
    ("container", "codec"), [("ipod", "aac"), ("mp4", "aac"), ("webm", "libopus"), ("adts", "aac"), ("mp3", "libmp3lame")]
)
def test_formats_of_ffmpeg_load(container, codec):
    samples = load_audio(muxed(tone(rate=48_000), 48_000, container, codec))
    assert abs(len(samples) - 16_000) < 1600
    assert pitch(samples) == pytest.approx(440, abs=2)
    assert rms(samples[4000:12_000]) == pytest.approx(0.5 / 2**0.5, abs=0.02)


def test_pcm_is_read_exactly():
    values = np.array([0, 1, -1, 32_767, -32_768] * 100, np.int16)
    np.testing.assert_array_equal(load_audio(encoded(values)), values / np.float32(32_768))


@pytest.mark.parametrize("rates", [(32_000, 128_000), (128_000, 32_000)])
def test_mp3_whose_bit_rate_changes_is_read_to_its_end(rates):
    options = {"write_xing": "0", "id3v2_version": "0"}  # bare frames: whoever guesses the length from the first is wrong
    data = b"".join(muxed(noise(5, 44_100), 44_100, "mp3", "libmp3lame", rate, **options) for rate in rates)
    assert len(load_audio(data)) / 16_000 == pytest.approx(10, abs=0.1)


def test_mp3_with_its_length_written_in_it_is_refused_where_it_ends_before():
    data = muxed(noise(5, 44_100), 44_100, "mp3", "libmp3lame", id3v2_version="3")
    assert len(load_audio(data)) / 16_000 == pytest.approx(5, abs=0.1)
    assert refusal(data[: len(data) // 2]).startswith("<bytes>: is cut short (it holds 2.")


@pytest.mark.parametrize("channels", [2, 9, 32])
def test_many_channels_are_averaged_through_ffmpeg_too(channels):
    samples = np.random.default_rng(0).uniform(-1, 1, (4000, channels)).astype(np.float32)
    mono = load_audio(encoded(samples, kind="AIFF", subtype="FLOAT"))
    np.testing.assert_allclose(mono, samples.mean(axis=1), atol=1e-6)


def test_channels_are_averaged():
    left, right = tone(300), tone(1200)
    stereo = np.stack([left, right], axis=1)
    np.testing.assert_allclose(load_audio(encoded(stereo, subtype="FLOAT")), (left + right) / 2, atol=1e-6)
    np.testing.assert_allclose(load_audio((stereo, 16_000)), (left + right) / 2, atol=1e-6)


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100, 48_000, 192_000])
@pytest.mark.parametrize("hertz", [100.0, 1000.0, 3000.0])
def test_resampling_keeps_a_tones_frequency_level_and_length(rate, hertz):
    samples = load_audio((tone(hertz, rate=rate), rate))
    assert len(samples) == 16_000
    assert pitch(samples) == pytest.approx(hertz, abs=1)
    np.testing.assert_allclose(samples[2000:-2000], tone(hertz)[2000:-2000], atol=2e-3)


def test_resampling_removes_what_the_new_rate_cannot_hold():
    assert np.abs(load_audio((tone(12_000, rate=48_000), 48_000))[1000:-1000]).max() < 1e-3


def test_resampling_in_blocks_equals_resampling_at_once():
    import soxr

    samples = noise(5, 44_100)
    np.testing.assert_allclose(load_audio((samples, 44_100)), soxr.resample(samples, 44_100, 16_000), atol=1e-6)


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.uint8, np.float16, np.float64])
def test_arrays_of_every_sample_type_are_scaled(dtype):
    full, zero = {"int16": (2**15, 0), "int32": (2**31, 0), "uint8": (128, 128)}.get(np.dtype(dtype).name, (1, 0))
    array = (tone().astype(np.float64) * full + zero).astype(dtype)
    np.testing.assert_allclose(load_audio((array, 16_000)), tone(), atol=1 / 64 if dtype == np.uint8 else 1e-3)


@pytest.mark.parametrize("claim", [10 * 3600 * 16_000, 600 * 16_000 + 16_000])
def test_wav_header_over_the_limit_is_refused_without_decoding(claim, tmp_path):
    (tmp_path / "long.wav").write_bytes(wav_header(claim, bytes(16_000)))
    assert refusal(tmp_path / "long.wav").endswith(f"{claim / 16_000:.6g} seconds is over the limit of 600 seconds")


def test_10_hour_flac_header_is_refused_without_decoding():
    assert refusal(flac_claiming(36_000 * 16_000, noise())) == "<bytes>: 36000 seconds is over the limit of 600 seconds"


def test_10_hours_of_real_silence_are_refused_at_once(tmp_path):
    path = tmp_path / "night.flac"
    with soundfile.SoundFile(path, "w", samplerate=4_000, channels=1, format="FLAC", subtype="PCM_16") as file:
        for _ in range(36_000 // 600):
            file.write(np.zeros(600 * 4_000, np.int16))
    start = time.process_time()
    assert refusal(path) == f"{path}: 36000 seconds is over the limit of 600 seconds"
    assert time.process_time() - start < 0.5


@pytest.mark.parametrize("claimed", [0, 16_000])
def test_header_that_lies_cannot_make_us_decode_beyond_the_limit(claimed):
    silence = np.zeros(300 * 16_000, np.float32)
    limits = Limits(max_seconds=5)
    data = flac_claiming(claimed, silence)
    tracemalloc.start()
    if claimed == 0:  # unknown: only counting can tell
        assert "at least " in refusal(data, limits)
    else:
        assert len(load_audio(data, limits=limits)) == claimed
    assert tracemalloc.get_traced_memory()[1] < 4_000_000  # all of it would be 19 MB
    tracemalloc.stop()


def test_recording_of_unknown_length_is_counted_while_decoding():
    assert len(load_audio(flac_claiming(0, noise(2)))) == 32_000
    assert len(load_audio(wav_header(0xFFFFFFFF, bytes(32_000)))) == 32_000  # written into a pipe; 2 s at 8 kHz


def test_0_seconds_are_refused():
    assert refusal(encoded(np.zeros(0, np.float32))) == "<bytes>: 0 seconds is under the limit of 0.02 seconds"
    assert "0 seconds is under the limit" in refusal((np.zeros(0), 16_000))
    assert "0 seconds is under the limit" in refusal((np.zeros(0), 16_000), Limits(min_seconds=0))


def test_limits_on_seconds_are_inclusive():
    assert len(load_audio((np.zeros(320), 16_000))) == 320
    assert "0.0199 seconds is under" in refusal((np.zeros(319), 16_000))
    assert len(load_audio((np.zeros(16_000), 16_000), limits=Limits(max_seconds=1))) == 16_000
    assert "1.00006 seconds is over" in refusal((np.zeros(16_001), 16_000), Limits(max_seconds=1))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_samples_that_are_not_finite_are_refused(bad):
    samples = tone()
    samples[7000] = bad
    assert refusal(encoded(samples, subtype="FLOAT")) == "<bytes>: holds samples that are not finite (NaN or infinity)"
    assert "not finite" in refusal((samples, 16_000))
    assert "not finite" in refusal((np.full(1000, 1e300), 16_000))


def test_overshoot_is_clipped_and_integers_posing_as_floats_are_refused():
    samples = load_audio(encoded(tone(level=1.5), subtype="FLOAT"))
    assert (samples.max(), samples.min()) == (1, -1)
    assert samples[4] == pytest.approx(tone(level=1.5)[4])  # what fits is not rescaled
    assert "are these integers that were not scaled?" in refusal((tone(level=20_000.0), 16_000))


@pytest.mark.parametrize(("kind", "subtype"), [("WAV", "PCM_16"), ("FLAC", None), ("MP3", None), ("AIFF", None)])
@pytest.mark.parametrize("share", [0.3, 0.9])
def test_truncated_recording_is_refused_by_name(kind, subtype, share, tmp_path):
    data = encoded(noise(), kind=kind, subtype=subtype)
    path = tmp_path / f"clip.{kind.lower()}"
    path.write_bytes(data[: int(len(data) * share)])
    assert refusal(path).startswith(str(path) + ": ")


@pytest.mark.parametrize(("container", "codec"), [("ipod", "aac"), ("webm", "libopus")])
def test_truncated_ffmpeg_recording_is_refused(container, codec):
    data = muxed(noise(4, 48_000), 48_000, container, codec)
    assert refusal(data[: len(data) // 2]).startswith("<bytes>: ")


def test_text_and_pictures_are_refused_as_what_they_are(tmp_path):
    (tmp_path / "notes.wav").write_text("hello")
    assert "notes.wav is not a recording (its first bytes look like text" in refusal(tmp_path / "notes.wav")
    assert "look like png" in refusal(b"\x89PNG\r\n\x1a\n" + bytes(100))


def test_video_without_sound_is_refused():
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as out:
        stream = out.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 32
        out.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8))))
        out.mux(stream.encode(None))
    assert refusal(buffer.getvalue()) == "<bytes>: has no audio track"


def test_playlist_that_names_other_files_reaches_no_demuxer():
    assert "look like text" in refusal(b"#EXTM3U\n#EXTINF:1,\nfile:///etc/hosts\n")
    assert "look like text" in refusal(b"ffconcat version 1.0\nfile /etc/hosts\n")


def test_rates_and_channels_outside_the_limits_are_refused():
    assert "100 samples per second is outside the limits of 4000 to 384000" in refusal((tone(), 100))
    assert "nan samples per second" in refusal((tone(), float("nan")))
    assert "16000 channels is outside the limits of 1 to 32" in refusal((np.zeros((2, 16_000)), 1_000_00))
    assert "samples per second is outside" in refusal(encoded(np.zeros(1000), rate=1_000_000))


@pytest.mark.parametrize(
    "source", [(16_000, tone()), (tone(),), (tone(), "16000"), (np.zeros((2, 2, 2)), 8000), (np.zeros(999, bool), 8000)]
)
def test_other_tuples_are_refused_with_the_form_they_should_have(source):
    assert refusal(source).startswith("<array>: samples are ")


def test_array_without_a_rate_is_refused():
    assert refusal(tone()) == "<array>: an array of samples needs its rate; give (samples, rate)"


@settings(deadline=None)  # a busy machine is no defect
@given(st.data())
def test_damaged_bytes_give_finite_samples_or_a_media_error(data):
    kind = data.draw(st.sampled_from(["WAV", "FLAC", "OGG", "MP3", "AIFF"]))
    good = bytearray(encoded(tone(seconds=0.1), kind=kind))
    for _ in range(data.draw(st.integers(1, 8))):
        good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    try:
        samples = load_audio(bytes(good))
    except MediaError:
        return
    assert len(samples) > 0
    assert np.abs(samples).max() <= 1
