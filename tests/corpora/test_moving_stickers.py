from __future__ import annotations

import io
import random
from collections import Counter
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from polymodal.corpora import moving_stickers as stickers
from polymodal.corpora.building import Recipe, run
from polymodal.corpora.concepts import concept
from polymodal.corpora.items import SIDE, read
from polymodal.corpora.scene_things import THINGS
from polymodal.model.config import read_yaml

ROOT = Path(__file__).resolve().parents[2]
OPPOSITE = {"left": "right", "up": "down", "grows": "shrinks", "appears": "vanishes", "clockwise": "anticlockwise"}
OPPOSITE |= {b: a for a, b in OPPOSITE.items()}


@pytest.fixture
def art(monkeypatch):
    """Every thing is an orange bar, longer than it is wide."""
    bar = Image.new("RGBA", (30, 60), (220, 120, 20, 255))
    monkeypatch.setattr(stickers, "stickers", lambda vendor, folders: dict.fromkeys(THINGS, bar))
    monkeypatch.setattr(stickers, "SIZES", {"train": 7, "held-out": 7})
    monkeypatch.setattr(stickers, "KINDS", tuple(dict.fromkeys(stickers.KINDS)))


@pytest.fixture
def items(art, tmp_path):
    run(Recipe("moving-stickers", 1), lambda: stickers.jobs({}), tmp_path)
    return read("moving-stickers", tmp_path)


def shown(video: bytes) -> list[np.ndarray]:
    with av.open(io.BytesIO(video)) as container:
        return [frame.to_ndarray(format="rgb24").astype(int) for frame in container.decode(video=0)]


def tracks(kind: str, count: int = 60) -> list[stickers.Track]:
    return [stickers.plan(kind, random.Random(number)) for number in range(count)]


def last_word(track: stickers.Track) -> str:
    assert track.motion is not None
    return track.motion.split()[-1]


def test_a_clip_is_followed_by_its_reversal_with_the_opposite_answer(items):
    by_id = {item.id: item for item in items}
    pairs = [(by_id[name.removesuffix("-reversed")], by_id[name]) for name in by_id if name.endswith("-reversed")]
    assert len(pairs) == 2 * (len(set(stickers.KINDS)) - 1)
    for one, other in pairs:
        forward, backward = shown(one.read()), shown(other.read())
        assert len(forward) == len(backward) == stickers.FRAMES
        assert max(np.abs(a - b).mean() for a, b in zip(forward, backward[::-1], strict=True)) < 4  # but for the codec
        if one.subgroup is not None:
            assert other.subgroup.split()[-1] == OPPOSITE[one.subgroup.split()[-1]]
        else:
            assert [q.answer for q in one.questions] == [q.answer for q in other.questions][::-1]


def test_what_stands_still_has_no_reversal(items):
    resting = [item for item in items if item.group == "rests"]
    assert [item.subgroup for item in resting] == ["stands still"] * 2
    assert not any(item.id.endswith("-reversed") for item in resting)
    frames = shown(resting[0].read())
    assert np.abs(frames[0] - frames[-1]).max() < 40


@pytest.mark.parametrize("kind", ["moves", "pair"])
def test_a_thing_goes_where_the_track_says(kind):
    sign = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}
    for track in tracks(kind):
        first, last = track.frames[0][0], track.frames[-1][0]
        step = np.array([last.x - first.x, last.y - first.y])
        assert step @ sign[last_word(track)] == pytest.approx(np.abs(step).sum())
        assert np.abs(step).sum() >= stickers.FAR
        assert track.frames[0][1:] == track.frames[-1][1:]


def test_the_other_motions_are_what_they_are_called():
    for track in tracks("resizes"):
        assert (track.frames[-1][0].side > track.frames[0][0].side) == (track.motion == "grows")
    for track in tracks("turns"):
        assert (track.frames[-1][0].angle > track.frames[0][0].angle) == (track.motion == "turns anticlockwise")
    for track in tracks("comes"):
        assert (not track.frames[0], not track.frames[-1]) == (track.motion == "appears", track.motion == "vanishes")
    for track in tracks("sequence"):
        assert (track.frames[0][0].name, track.frames[-1][0].name) == (track.names[0], track.names[-1])


@pytest.mark.parametrize("kind", ["moves", "pair", "resizes", "comes", "turns"])
def test_frames_without_their_order_do_not_tell_the_motion(kind):
    """A track and its reversal are equally likely, and so is where a motion begins."""
    many = tracks(kind, 400)
    words = Counter(last_word(track) for track in many)
    assert min(words.values()) > 0.7 * len(many) / len(words)
    for word in words:
        middles = [np.mean([frame[0].x for frame in t.frames if frame]) for t in many if last_word(t) == word]
        assert abs(np.mean(middles) - SIDE / 2) < 12


@pytest.mark.parametrize("kind", list(stickers._PLANS))
def test_everything_stays_on_the_page_and_apart(kind):
    for track in tracks(kind):
        assert len(track.frames) == stickers.FRAMES
        for frame in track.frames:
            for thing in frame:
                assert thing.side / 2 <= min(thing.x, thing.y, SIDE - thing.x, SIDE - thing.y)
            if len(frame) == 2:
                one, other = frame
                assert max(abs(one.x - other.x), abs(one.y - other.y)) >= (one.side + other.side) / 2


def test_every_question_offers_its_answers_and_says_no_more(art):
    for kind in stickers._PLANS:
        for track in tracks(kind, 20):
            for asked in stickers.questions(track, random.Random(1)):
                assert asked.options is not None
                assert len(set(asked.options)) == len(asked.options) >= 2
                assert asked.answer in asked.options
    mover = [stickers.questions(t, random.Random(n))[0] for n, t in enumerate(tracks("pair", 200))]
    assert 70 < sum(asked.options[0] == asked.answer for asked in mover) < 130


def test_the_held_out_clips_are_of_openmoji_alone(items):
    assert {item.vendor for item in items if item.split == "held-out"} == {"openmoji"}
    assert "openmoji" not in {item.vendor for item in items if item.split == "train"}


def test_the_same_track_gives_the_same_bytes(art):
    job = stickers.jobs({})[0]
    assert list(job.make()) == list(job.make())


def test_the_recipe_of_nano_names_every_motion_and_thing():
    recipe = read_yaml(ROOT / "recipes/nano/v2-pt-video.yaml")
    branches = recipe["model"]["inputs"]["video"]["projector"]["of"]
    assert branches["motion"]["names"] == list(stickers.MOTIONS)
    named = Path(branches["names"]["names"]).read_text("utf-8").split("\n")[:-1]
    assert named == sorted({concept(name) for name in THINGS})
