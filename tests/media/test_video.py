"""Clips: the picture at each second, whatever the container does with its time stamps, and refusals by name."""

from __future__ import annotations

import base64
import io
import struct
import tempfile
import tracemalloc
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from polymodal.content import Part
from polymodal.errors import MediaError
from polymodal.media import DEFAULT_LIMITS, Limits, fingerprint, load, video
from polymodal.media.video import load_video

FRAMES, RATE, STEP = 40, 10, 6


def pictures(count: int = FRAMES, size=(64, 48)) -> list[Image.Image]:
    """Picture i is grey, as bright as STEP * i."""
    return [Image.new("RGB", size, (STEP * i,) * 3) for i in range(count)]


def clip(codec="libx264", kind="mp4", frames=None, times=None, sound=False, **options) -> bytes:
    """A clip of `frames`, RATE a second, or at the hundredths of a second `times`."""
    frames = pictures() if frames is None else frames
    with tempfile.NamedTemporaryFile() as file:  # FFmpeg opens it a second time to put an MP4's index in front
        movflags = {"movflags": "faststart"} if kind == "mp4" else {}
        with av.open(file.name, "w", format=kind, options=movflags) as container:
            stream = container.add_stream(codec, rate=RATE, options={"g": "8", "threads": "1", **options})
            stream.width, stream.height = frames[0].size
            stream.pix_fmt, stream.bit_rate = "yuv420p", 4_000_000
            track = container.add_stream("aac", rate=16000) if sound else None
            if times:
                stream.codec_context.time_base = Fraction(1, 100)
            for i, picture in enumerate(frames):
                frame = av.VideoFrame.from_image(picture)
                if times:
                    frame.pts, frame.time_base = times[i], Fraction(1, 100)
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
            if track is not None:
                container.mux(silence(track))
        return Path(file.name).read_bytes()


def silence(track) -> list:
    """A second of it, as packets."""
    frame = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.float32), format="fltp", layout="mono")
    frame.sample_rate = 16000
    return [*track.encode(frame), *track.encode()]


def animation(kind: str, frames=None, duration=100, **options) -> bytes:
    frames, out = pictures(12) if frames is None else frames, io.BytesIO()
    frames[0].save(out, kind, save_all=True, append_images=frames[1:], duration=duration, **options)
    return out.getvalue()


def shown(source, times) -> list[int]:
    """Which of `pictures` is on show at each of the times."""
    return [round(float(np.asarray(p)[..., 0].mean()) / STEP) for p in load_video(source).at(times)]


def refusal(source, limits=DEFAULT_LIMITS) -> str:
    with pytest.raises(MediaError) as caught:
        list(load_video(source, limits).at([0, 1, 2, 3.9]))
    assert "\n" not in str(caught.value)
    return str(caught.value)


CLIPS = {
    "h264": lambda: clip(),
    "h264, open groups": lambda: clip(kind="matroska", **{"x264-params": "open-gop=1:keyint=8"}),
    "h264 in avi": lambda: clip(kind="avi"),
    "mpeg4": lambda: clip("mpeg4"),
    "mpeg4 in avi": lambda: clip("mpeg4", "avi", bf="2"),
    "vp8": lambda: clip("libvpx", "webm", **{"auto-alt-ref": "1", "lag-in-frames": "10"}),
    "vp9": lambda: clip("libvpx-vp9", "webm", deadline="realtime"),
}


@pytest.mark.parametrize("name", CLIPS)
def test_each_second_shows_its_picture_whether_all_are_decoded_or_few(name):
    data = CLIPS[name]()
    found = load_video(data)
    assert np.allclose(found.starts, np.arange(FRAMES) / RATE)
    assert found.seconds == pytest.approx(FRAMES / RATE)
    for numbers in (range(FRAMES), (0, 1, 7, 8, 9, 9, 23, 24, 31, 39), (20,), (7, 8, 39)):
        pixels = [np.asarray(p).astype(int) for p in found.at([(n + 0.5) / RATE for n in numbers])]
        assert [round(float(p[..., 0].mean()) / STEP) for p in pixels] == list(numbers)
    few = [np.asarray(p) for p in found.at([0.05, 0.85, 2.45])]
    every = [np.asarray(p) for p in found.at(np.arange(FRAMES) / RATE + 0.05)]
    assert all(np.array_equal(a, every[n]) for a, n in zip(few, (0, 8, 24), strict=True))


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_animated_pictures_are_clips(kind):
    data = animation(kind, **({"lossless": True} if kind == "WEBP" else {}))
    found = load_video(data)
    assert (found.seconds, len(found.starts)) == (pytest.approx(1.2), 12)
    assert shown(data, [0.05, 0.55, 0.55, 1.15]) == [0, 5, 5, 11]


def test_frames_are_chosen_by_time_where_they_last_unequally():
    data = clip(frames=pictures(4), times=[0, 10, 20, 300])
    assert shown(data, [0.05, 0.15, 0.25, 1.5, 2.9, 3.0]) == [0, 1, 2, 2, 2, 3]
    data = animation("GIF", pictures(4), duration=[1000, 20, 20, 2000])
    assert shown(data, [0.5, 0.99, 1.03, 3.0]) == [0, 0, 2, 3]


def test_before_the_start_and_after_the_end_stand_the_first_and_the_last():
    assert shown(clip(frames=pictures(5)), [-1, 0, 0.45, 9]) == [0, 0, 4, 4]


def test_frames_without_a_duration_last_a_tenth_of_a_second():
    assert load_video(animation("GIF", pictures(4), duration=0)).seconds == pytest.approx(0.4)


def test_an_animation_with_a_cover_begins_behind_it():
    data = animation("PNG", pictures(6), default_image=True)
    assert shown(data, [0.05, 0.45]) == [1, 5]


def test_transparency_is_white_and_colours_are_kept():
    frames = [Image.new("RGBA", (8, 8), (0, 0, 0, 0)), Image.new("RGBA", (8, 8), (255, 0, 0, 255))]
    white, red = load_video(animation("WEBP", frames, lossless=True)).at([0.05, 0.15])
    assert (white.getpixel((0, 0)), red.getpixel((0, 0))) == ((255, 255, 255), (255, 0, 0))
    (blue,) = load_video(clip(frames=[Image.new("RGB", (64, 48), (0, 0, 250))] * 3)).at([0])
    assert np.abs(np.asarray(blue).astype(int) - (0, 0, 250)).max() < 12


@pytest.mark.parametrize(
    ("matrix", "corner"), [((0, 1, -1, 0), (47, 0)), ((-1, 0, 0, -1), (63, 47)), ((0, -1, 1, 0), (0, 63))]
)
def test_a_clip_is_turned_upright_as_its_metadata_says(matrix, corner):
    """A phone held upright records lying down, and says by how far the picture must be turned (clockwise 90, 180, 270)."""
    marked = Image.new("RGB", (64, 48))
    marked.paste((255, 0, 0), (0, 0, 24, 16))  # top left, before it is turned
    data = bytearray(clip(frames=[marked] * 3))
    a, b, c, d = (value << 16 for value in matrix)
    at = data.index(b"tkhd") + 4 + 40
    data[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    (picture,) = load_video(bytes(data)).at([0])
    assert picture.size == ((48, 64) if matrix[0] == 0 else (64, 48))
    assert picture.getpixel(corner)[0] > 200
    assert sum(picture.getpixel(c)[0] > 200 for c in ((0, 0), (0, picture.height - 1), (picture.width - 1, 0))) <= 1


def test_frames_and_their_rate_are_a_clip_as_array_or_pictures():
    array = np.stack([np.asarray(p) for p in pictures(5)])
    assert shown((array, 2), [0.1, 0.6, 2.4]) == shown((pictures(5), 2.0), [0.1, 0.6, 2.4]) == [0, 1, 4]
    assert load_video((array, 2)).seconds == 2.5
    for wrong in ((array, 0), (array[:0], 1), (array, None), (array,), (array, float("nan")), (3, 4)):
        assert "(frames, rate)" in refusal(wrong)
    assert "give (frames, rate)" in refusal(array)
    assert "uint8 [height, width, 3], not float64" in refusal((array / 255, 1))


def test_a_clip_is_one_thing_however_its_bytes_are_given(tmp_path):
    data = clip(frames=pictures(5))
    (tmp_path / "a.mp4").write_bytes(data)
    uri = "data:video/mp4;base64," + base64.b64encode(data).decode()
    sources = (data, uri, tmp_path / "a.mp4", str(tmp_path / "a.mp4"))
    assert {tuple(shown(source, [0.05, 0.45])) for source in sources} == {(0, 4)}
    assert len({fingerprint(Part("video", media=source)) for source in sources}) == 1
    assert isinstance(load(Part("video", media=data)), video.Video)


def test_clips_that_differ_have_other_fingerprints():
    array = np.stack([np.asarray(p) for p in pictures(4)])
    turned = [p.convert("P") for p in pictures(4)]
    different = [(array, 1), (array, 2), (array[::-1], 1), (pictures(4), 1), (pictures(4)[::-1], 1), (turned, 1), clip()]
    assert len({fingerprint(Part("video", media=media)) for media in different}) == len(different)


@pytest.mark.parametrize("name", ["h264", "mpeg4", "vp9", "h264 in avi", "h264, open groups"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_a_clip_cut_short_is_refused(name, share, tmp_path):
    data = CLIPS[name]()
    (tmp_path / "cut").write_bytes(data[: int(len(data) * share)])
    said = refusal(tmp_path / "cut")
    assert said.startswith(f"{tmp_path}/cut: ")
    assert "cut short" in said or "cannot be decoded" in said or "no frame" in said


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_an_animation_cut_short_is_refused(kind):
    noise = [Image.fromarray(np.random.default_rng(i).integers(0, 256, (32, 32, 3), np.uint8)) for i in range(8)]
    data = animation(kind, noise)
    assert "cannot be decoded" in refusal(data[: int(len(data) * 0.7)])


def test_what_holds_no_clip_is_refused(tmp_path):
    sound = io.BytesIO()
    with av.open(sound, "w", format="mp4") as container:
        container.mux(silence(container.add_stream("aac", rate=16000)))
    assert refusal(sound.getvalue()) == "<bytes>: has no video track"
    still = io.BytesIO()
    pictures(1)[0].save(still, "PNG")
    assert "is a still picture and not a clip; give it as an image" in refusal(still.getvalue())
    (tmp_path / "notes.mp4").write_text("words")
    assert "notes.mp4 is not a clip (its first bytes look like text; a clip is one of: mp4, webm" in refusal(
        tmp_path / "notes.mp4"
    )


def test_sound_beside_the_pictures_is_no_hindrance():
    assert shown(clip(sound=True), [0.05, 2.05]) == [0, 20]


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        (Limits(max_seconds=3.9), "4 seconds is over the limit of 3.9 seconds"),
        (Limits(max_frames=39), "more frames than the limit of 39"),
        (Limits(max_pixels=64 * 48 - 1), "over the limit of 0.003071 megapixels"),
        (Limits(max_clip_pixels=64 * 48 * 40 - 1), "0.1229 megapixels in 40 frames are over the limit of 0.1229"),
        (Limits(max_bytes=1000), "over the limit of 0.001 MB"),
    ],
)
def test_a_clip_over_a_limit_is_refused_before_a_frame_is_decoded(limits, said, monkeypatch):
    data = clip()
    monkeypatch.setattr(video, "_frames", None)
    with pytest.raises(MediaError, match=said):
        load_video(data, limits)


def test_a_stream_that_outgrows_its_header_is_refused(monkeypatch):
    data = clip()
    monkeypatch.setattr(video, "check_size", lambda *_: None)
    assert "cannot be decoded" in refusal(data, Limits(max_pixels=64 * 48 - 1))


@pytest.mark.parametrize("name", ["h264", "vp9", "h264 in avi", "GIF"])
def test_damaged_bytes_give_pictures_or_a_media_error(name):
    data = CLIPS[name]() if name in CLIPS else animation(name)
    rng = np.random.default_rng(0)
    shown = refused = 0
    for _ in range(30):
        damaged = bytearray(data)
        for at in rng.integers(0, len(data), 4):
            damaged[at] = rng.integers(256)
        try:
            shown += len([picture.size for picture in load_video(bytes(damaged)).at([0.05, 0.5, 1.1])])
        except MediaError:
            refused += 1
    assert shown + 3 * refused == 90


def test_animations_and_arrays_have_the_same_limits():
    for source in (animation("GIF"), (pictures(12), 10)):
        for limits in (
            Limits(max_frames=11),
            Limits(max_seconds=1.1),
            Limits(max_pixels=9),
            Limits(max_clip_pixels=30_000),
        ):
            assert "over the limit" in refusal(source, limits)


def test_memory_does_not_grow_with_the_clip():
    data = animation("GIF", [Image.new("RGB", (400, 300), (i % 256, i // 2, 0)) for i in range(30)])
    tracemalloc.start()
    brightest = max(np.asarray(picture)[0, 0, 0] for picture in load_video(data).at(np.arange(30) / 10 + 0.05))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert brightest > 20
    assert peak < 5 * 400 * 300 * 3  # of 30 frames
