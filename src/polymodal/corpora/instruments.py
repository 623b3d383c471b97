"""The corpus `instruments`: a few notes played on General MIDI's instruments. Decides what is new in the test.

Instruments are split by their names, as pictures of them are, so a test clip is of an instrument never heard: of what kind
it is and what it plays can be asked, not its name. The name is asked of the clips that are `held-out`: a trained
instrument at pitches at which it is never heard in training (HIGH, against LOW).

What is played is drawn by a seed for each instrument: two to six notes that rise, fall or repeat, slow or fast. All come
from one sound font, whose samples are of one performer each: no claim about recordings of other instruments follows.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from polymodal.corpora import recordings
from polymodal.corpora.building import Job
from polymodal.corpora.concepts import concept, exclusions, phrases, split_of
from polymodal.corpora.grammar import NUMBERS
from polymodal.corpora.items import QA, RATE, Item
from polymodal.errors import DataError

VERSION = 1
SEED = 41
ASSETS = ("sound-font",)
LICENCE = "GPL-2.0"
LOW, HIGH = range(50, 62), range(64, 76)  # MIDI notes: D3 to C#4, E4 to D#5
CLIPS = {"low": 24, "high": 8}  # of each instrument
DIRECTIONS = ("rising", "falling", "repeating")
TEMPI = {"slow": 0.7, "fast": 0.25}  # seconds from note to note
NOTES = range(2, 7)
HELD, TAIL = 0.8, 0.6  # share of its time that a note is held; seconds after the last
VELOCITY = 100  # of 127
KINDS = {  # General MIDI's programs, counted from 0, by how the instrument is played
    "with keys": {0: "piano", 6: "harpsichord", 8: "celesta", 19: "church organ", 21: "accordion"},
    "by hitting it": {
        **{9: "glockenspiel", 11: "vibraphone", 12: "marimba", 13: "xylophone", 14: "tubular bells"},
        **{15: "dulcimer", 47: "timpani", 114: "steel drum"},
    },
    "by plucking it": {
        **{24: "classical guitar", 27: "electric guitar", 33: "bass guitar", 46: "harp", 104: "sitar", 105: "banjo"},
        **{106: "shamisen", 107: "koto", 108: "kalimba"},
    },
    "with a bow": {40: "violin", 41: "viola", 42: "cello", 43: "double bass", 110: "fiddle"},
    "by blowing": {
        **{22: "harmonica", 56: "trumpet", 57: "trombone", 58: "tuba", 60: "French horn", 65: "saxophone", 68: "oboe"},
        **{69: "English horn", 70: "bassoon", 71: "clarinet", 72: "piccolo", 73: "flute", 74: "recorder"},
        **{75: "pan flute", 77: "shakuhachi", 79: "ocarina", 109: "bagpipe"},
    },
}


@dataclass(frozen=True)
class Melody:
    """What is played: MIDI notes in order, and a key of TEMPI."""

    notes: tuple[int, ...]
    direction: str
    tempo: str


def jobs(folders: Mapping[str, Path]) -> list[Job]:
    """One job per instrument, of all its clips. `folders`: of ASSETS.

    Raises DataError if the sound font is missing, or tinysoundfont is not installed.
    """
    font = folders["sound-font"] / "TimGM6mb.sf2"
    if not font.is_file():
        raise DataError(f"corpus instruments: no sound font {font}")
    _synth()
    return [_job(font, kind, program, name) for kind, named in KINDS.items() for program, name in named.items()]


def melodies(seed: str, pitches: range, count: int) -> list[Melody]:
    """`count` melodies within `pitches`, always the same for a seed; each direction and tempo is equally frequent."""
    rng = random.Random(seed)
    found = []
    for number in range(count):
        direction = DIRECTIONS[number % len(DIRECTIONS)]
        tempo = tuple(TEMPI)[number // len(DIRECTIONS) % len(TEMPI)]
        length = rng.choice(NOTES)
        notes = [rng.choice(pitches)] * length if direction == "repeating" else sorted(rng.sample(pitches, length))
        found.append(Melody(tuple(reversed(notes) if direction == "falling" else notes), direction, tempo))
    return found


def render(font: Path, program: int, tunes: Sequence[Melody]) -> Iterator[bytes]:
    """Each melody on one instrument, as FLAC. Raises DataError without tinysoundfont, MediaError for a silent one."""
    import numpy as np

    synth = _synth()
    loaded = synth.sfload(str(font))
    synth.program_select(0, loaded, 0, program)

    def play(seconds: float) -> np.ndarray:
        pairs = np.frombuffer(synth.generate(round(seconds * RATE)), np.float32)
        return pairs.reshape(-1, 2).mean(axis=1)

    for number, melody in enumerate(tunes):
        seconds, parts = TEMPI[melody.tempo], []
        for note in melody.notes:
            synth.noteon(0, note, VELOCITY)
            parts.append(play(HELD * seconds))
            synth.noteoff(0, note)
            parts.append(play((1 - HELD) * seconds))
        parts.append(play(TAIL))
        synth.sounds_off(0)
        yield recordings.from_samples(np.concatenate(parts), f"program {program}, melody {number}")


def _synth() -> Any:
    try:
        import tinysoundfont
    except ImportError as error:
        raise DataError(  # not an extra of ours: it asks for PyAudio, which it needs only to play, and which pip must build
            "corpus instruments needs tinysoundfont; install it with: pip install --no-deps 'tinysoundfont>=0.3.7,<0.4'"
        ) from error
    return tinysoundfont.Synth(samplerate=RATE)


def _job(font: Path, kind: str, program: int, name: str) -> Job:
    key = concept(name)
    split = "excluded" if exclusions() & set(phrases(name)) else split_of(key)
    low, high = (melodies(f"{SEED} {name} {at}", span, CLIPS[at]) for at, span in (("low", LOW), ("high", HIGH)))
    items = []
    for number, melody in enumerate((*low, *high)):
        unheard = split == "train" and number >= len(low)
        id = f"{name.replace(' ', '-').lower()}-{number:02d}"
        items.append(
            Item(
                id=id,
                modality="audio",
                file=f"{id}.flac",
                caption=f"{name}: {NUMBERS[len(melody.notes)]} {melody.direction} notes, {melody.tempo}",
                concept=key,
                category="music",
                tags=["low" if number < len(low) else "high"],
                group=kind,
                subgroup=name,
                source="instruments",
                vendor="timgm6mb",
                licence=LICENCE,
                split="held-out" if unheard else split,
                concept_split=split,
                questions=list(ask(name, kind, melody)),
            )
        )
    return Job(items, partial(render, font, program, (*low, *high)))


def ask(name: str, kind: str, melody: Melody) -> Iterator[QA]:
    """What is asked about a melody on the instrument of this name and kind."""
    yield QA(ask="Which instrument is this?", answer=name, type="instrument")
    yield QA(ask="How is this instrument played?", answer=kind, type="kind", options=list(KINDS))
    yield QA(ask="Do the notes rise, fall or repeat?", answer=melody.direction, type="direction", options=list(DIRECTIONS))
    yield QA(ask="How many notes do you hear?", answer=NUMBERS[len(melody.notes)], type="count")
    yield QA(ask="Is it slow or fast?", answer=melody.tempo, type="tempo", options=list(TEMPI))
