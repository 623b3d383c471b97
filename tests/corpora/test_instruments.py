from __future__ import annotations

import sys

import numpy as np
import pytest

from polymodal.corpora import exclusions, instruments
from polymodal.errors import DataError, MediaError


class Synth:
    """Plays every program as a sine."""

    def __init__(self, loudness: float = 0.3):
        self.loudness, self.note, self.heard = loudness, None, []

    def sfload(self, path):
        return 0

    def program_select(self, channel, font, bank, program):
        self.program = program

    def noteon(self, channel, note, velocity):
        self.note = note
        self.heard.append(note)

    def noteoff(self, channel, note):
        self.note = None

    def sounds_off(self, channel):
        self.note = None

    def generate(self, count):
        hertz = 0 if self.note is None else 440 * 2 ** ((self.note - 69) / 12)
        wave = self.loudness * np.sin(2 * np.pi * hertz * np.arange(count) / 16_000)
        return memoryview(np.repeat(wave, 2).astype(np.float32).tobytes())


@pytest.fixture
def jobs(tmp_path, monkeypatch):
    (tmp_path / "TimGM6mb.sf2").write_bytes(b"sf2")
    monkeypatch.setattr(instruments, "_synth", Synth)
    monkeypatch.setattr(instruments, "CLIPS", {"low": 4, "high": 2})
    return {job.items[0].subgroup: job for job in instruments.jobs({"sound-font": tmp_path})}


def test_an_instrument_is_in_one_split_but_for_the_pitches_that_are_held_out(jobs):
    for job in jobs.values():
        splits = {(item.split, *item.tags) for item in job.items}
        first = job.items[0].concept_split
        assert splits == {(first, "low"), ("held-out" if first == "train" else first, "high")}
    assert {job.items[0].concept_split for job in jobs.values()} == {"train", "val", "test", "excluded"}


def test_what_the_photographs_show_is_not_heard_in_training(jobs):
    assert "violin" in exclusions()
    assert jobs["violin"].items[0].split == jobs["bass guitar"].items[0].split == "excluded"


def test_held_out_pitches_are_in_no_training_clip():
    assert not set(instruments.LOW) & set(instruments.HIGH)
    low, high = (instruments.melodies("seed", span, 30) for span in (instruments.LOW, instruments.HIGH))
    assert {note for melody in low for note in melody.notes} <= set(instruments.LOW)
    assert {note for melody in high for note in melody.notes} <= set(instruments.HIGH)


def test_melodies_are_what_they_are_called_and_evenly_so():
    melodies = instruments.melodies("seed", instruments.LOW, 60)
    assert melodies == instruments.melodies("seed", instruments.LOW, 60)
    for melody in melodies:
        steps = set(np.sign(np.diff(melody.notes)))
        assert steps == {{"rising": 1, "falling": -1, "repeating": 0}[melody.direction]}
    assert {sum(m.direction == d for m in melodies) for d in instruments.DIRECTIONS} == {20}
    assert {sum(m.tempo == t for m in melodies) for t in instruments.TEMPI} == {30}


def test_a_clip_plays_its_melody_and_its_questions_are_about_it(jobs):
    job = jobs["flute"]
    made = list(job.make())
    assert len(made) == len(job.items) == sum(instruments.CLIPS.values())
    assert made == list(job.make())
    answers = {question.type: question.answer for question in job.items[1].questions}
    assert answers | {"count": ""} == {
        "instrument": "flute",
        "kind": "by blowing",
        "direction": "falling",
        "tempo": "slow",
        "count": "",
    }


def test_silence_is_no_instrument(tmp_path, monkeypatch):
    monkeypatch.setattr(instruments, "_synth", lambda: Synth(loudness=0.0001))
    with pytest.raises(MediaError, match="program 0, melody 0: silent"):
        list(instruments.render(tmp_path, 0, instruments.melodies("seed", instruments.LOW, 1)))


def test_without_the_synthesiser_the_error_says_how_to_get_it(tmp_path, monkeypatch):
    (tmp_path / "TimGM6mb.sf2").write_bytes(b"sf2")
    monkeypatch.setitem(sys.modules, "tinysoundfont", None)
    with pytest.raises(DataError, match="pip install --no-deps 'tinysoundfont"):
        instruments.jobs({"sound-font": tmp_path})


def test_an_asset_without_the_sound_font_is_refused(tmp_path):
    with pytest.raises(DataError, match="no sound font"):
        instruments.jobs({"sound-font": tmp_path})
