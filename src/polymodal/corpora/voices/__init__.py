"""The voices of the spoken corpora. Decides who speaks, and who is never heard before the test.

    joe (Piper); slt, rms, kal16 (Flite); jf_alpha, jf_gongitsune, jf_nezumi, jf_tebukuro (Kokoro)    TRAINING
    awb (Flite); jm_kumo (Kokoro)                                                                     HELD_OUT: tests only

The held-out voices were chosen before anything was trained, one of each engine that has several: a man from Scotland in
Flite, and the only man in Kokoro. No recording of theirs is in any training or validation set, here or in a corpus to
come. eSpeak NG spells for Piper and Kokoro; its own voice, which recognisers hardly understand, never speaks.

Each sentence has its own tempo, fixed by its text. What a voice says is the same on the same machine for the same
sentences and seed; the last bits differ between processors.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from polymodal.corpora.voices.flite import Flite
from polymodal.corpora.voices.kokoro import Kokoro
from polymodal.corpora.voices.piper import Piper
from polymodal.errors import DataError, nearest

ASSETS = ("espeak-ng", "piper-joe", "flite", "kokoro")
FLITE = ("slt", "rms", "kal16", "awb")
KOKORO = ("jf_alpha", "jf_gongitsune", "jf_nezumi", "jf_tebukuro", "jm_kumo")
HELD_OUT = ("awb", "jm_kumo")
TRAINING = tuple(name for name in ("joe", *FLITE, *KOKORO) if name not in HELD_OUT)


class Voice(Protocol):
    """What can speak."""

    @property
    def name(self) -> str: ...

    @property
    def vendor(self) -> str:
        """The engine."""
        ...

    @property
    def licence(self) -> str:
        """Of the voice's data."""
        ...

    def record(self, sentences: Sequence[str], seed: int) -> Iterator[bytes]:
        """The sentences as FLAC files, mono, 16,000 samples per second, 16 bits, in order.

        They end in one of . ? ! and hold no comma. Raises MediaError for one that cannot be spelt, DataError if the
        engine fails.
        """
        ...


def voice(name: str, folders: Mapping[str, Path]) -> Voice:
    """The voice of this name. `folders`: of ASSETS. Raises DataError for an unknown name."""
    if name not in TRAINING and name not in HELD_OUT:
        raise DataError(f"no voice '{name}'{nearest(name, [*TRAINING, *HELD_OUT])}")
    if name == "joe":
        return Piper.find(folders["piper-joe"], folders["espeak-ng"])
    if name in FLITE:
        return Flite(name, folders["flite"])
    return Kokoro(name, folders["kokoro"], folders["espeak-ng"])
