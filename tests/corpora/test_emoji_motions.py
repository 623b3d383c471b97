from __future__ import annotations

import random

import numpy as np
import pytest
from PIL import Image

from polymodal.corpora import emoji_motions as motions
from polymodal.corpora.building import Recipe, run
from polymodal.corpora.items import read
from polymodal.corpora.moving_stickers import MOTIONS
from polymodal.corpora.scene_things import THINGS
from tests.corpora.test_moving_stickers import shown


@pytest.fixture
def art(monkeypatch):
    """Every thing is an orange bar, longer than it is wide, and there are two."""
    bar = Image.new("RGBA", (30, 60), (220, 120, 20, 255))
    monkeypatch.setattr(motions, "stickers", lambda vendor, folders: dict.fromkeys(THINGS, bar))
    monkeypatch.setattr(motions, "THINGS", motions.THINGS[:2])


@pytest.fixture
def items(art, tmp_path):
    run(Recipe("emoji-motions", 1), lambda: motions.jobs({}), tmp_path)
    return read("emoji-motions", tmp_path)


def tracks(motion: str, count: int = 40) -> list[list[motions.Frame]]:
    return [motions.track("cat", motion, random.Random(number)) for number in range(count)]


def test_what_is_held_out_is_in_no_training_clip(items):
    trained = {item.caption for item in items if item.split == "train"}
    tested = {item.caption for item in items if item.split == "test"}
    assert not trained & tested
    assert len(trained | tested) == 2 * len(MOTIONS)


def test_each_thing_and_each_motion_is_trained_on():
    pairs = [(name, motion) for name in motions.THINGS for motion in MOTIONS if not motions.held_out(name, motion)]
    assert {name for name, _ in pairs} == set(motions.THINGS) <= set(THINGS)
    assert {motion for _, motion in pairs} == set(MOTIONS)
    assert 0.8 < len(pairs) / (len(motions.THINGS) * len(MOTIONS)) < 0.9


def test_a_caption_says_what_the_clip_shows(items):
    item = next(item for item in items if item.subgroup == "grows")
    assert item.caption == f"a {item.concept} grows"
    frames = shown(item.read())
    assert [frame.shape for frame in frames] == [(128, 128, 3)] * motions.FRAMES
    ink = [int((frame.min(-1) < 200).sum()) for frame in frames]
    assert ink == sorted(ink)
    assert ink[-1] > 3 * ink[0]


@pytest.mark.parametrize("motion", MOTIONS)
def test_a_track_does_what_it_is_called(motion):
    step = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}
    for frames in tracks(motion):
        assert len(frames) == motions.FRAMES
        assert (not frames[0], not frames[-1]) == (motion == "appears", motion == "vanishes")
        first, last = (frames[0] or frames[-1])[0], (frames[-1] or frames[0])[0]
        assert np.sign(last.side - first.side) == {"grows": 1, "shrinks": -1}.get(motion, 0)
        turned = {"turns clockwise": -1, "turns anticlockwise": 1}.get(motion, 0)
        assert np.sign(last.angle - first.angle) == turned
        gone = np.array([last.x - first.x, last.y - first.y])
        assert tuple(np.sign(gone).astype(int)) == step.get(motion.split()[-1], (0, 0))


@pytest.mark.parametrize("motion", MOTIONS)
def test_everything_stays_on_the_page(motion):
    for frames in tracks(motion):
        for frame in frames:
            for thing in frame:
                assert thing.side / 2 <= min(thing.x, thing.y, motions.SIDE - thing.x, motions.SIDE - thing.y)


def test_the_same_clip_has_the_same_bytes(art):
    job = motions.jobs({})[0]
    assert list(job.make()) == list(job.make())
