"""A judge of generated sounds: which instrument plays, which way the notes go, how fast and how many?

Linear discriminants over log-mels, fitted in seconds to the recordings of the corpus `instruments` that generators are
trained on; it has seen nothing that a generator makes. It reads what the generator does, its mels, and so hears nothing
that these leave out. The instrument is told by the mean and deviation of the loud frames, tempo and number of notes by
where it becomes louder, direction by the coarse picture of all. How it judges new recordings is its own measure: of the
direction it is right in three of four.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from polymodal.corpora.grammar import NUMBERS
from polymodal.corpora.instruments import DIRECTIONS, KINDS, LOW, NOTES, TEMPI, melodies, render
from polymodal.parts.input_projectors.classifiers import Discriminant

LOUD = 2.0  # below the loudest frame, in standardised log-mels: frames that tell the instrument
LAGS = range(2, 40)  # frames from note to note
COARSE = (32, 24)  # frames and bands of the picture that tells the direction
SHRINK = 0.3  # share of a plain covariance
VIEWS = ("instrument", "direction", "tempo", "notes")


class Wish(NamedTuple):
    """What is to be played: an instrument by its name, and a melody in words."""

    instrument: str
    direction: str
    tempo: str
    notes: int

    @property
    def caption(self) -> str:
        """As the corpus words it."""
        return f"{self.instrument}: {NUMBERS[self.notes]} {self.direction} notes, {self.tempo}"


class Heard(NamedTuple):
    """A recording and what is played in it. `samples` [N] float32 at 16 kHz."""

    wish: Wish
    samples: np.ndarray


@cache
def recordings() -> list[Heard]:
    """Those of the corpus that are trained on."""
    from polymodal import corpora, media

    found = []
    for item in (item for item in corpora.read("instruments") if item.split == "train"):
        said = {question.type: question.answer for question in item.questions}
        wish = Wish(item.subgroup, said["direction"], said["tempo"], NUMBERS.index(said["count"]))
        found.append(Heard(wish, media.load_audio(item.read())))
    return found


def instruments() -> list[str]:
    """The names that are trained on."""
    return sorted({one.wish.instrument for one in recordings()})


def played(seed: str, each: int) -> list[Heard]:
    """`each` new melodies on every instrument that is trained on, at the pitches of training; directions and tempi by
    turns over all of them."""
    from polymodal import assets, media

    font, found = assets.path("sound-font") / "TimGM6mb.sf2", []
    programs = {name: program for kind in KINDS.values() for program, name in kind.items()}
    for place, name in enumerate(instruments()):
        tunes = melodies(f"{seed} {name}", LOW, 6)  # one of each direction and tempo
        tunes = [tunes[(place + number) % 6] for number in range(each)]
        for melody, data in zip(tunes, render(font, programs[name], tunes), strict=True):
            found.append(Heard(Wish(name, melody.direction, melody.tempo, len(melody.notes)), media.load_audio(data)))
    return found


class Judge:
    """`prepare`: a generator's, samples -> standardised log-mels [1, frames, bands]."""

    def __init__(self, prepare: Callable[[Any], Tensor]) -> None:
        self.prepare, self.names = prepare, instruments()
        seen = [self.features(one.samples) for one in recordings()]
        wanted = self.wanted([one.wish for one in recordings()])
        self.views = []
        for each, right in zip(zip(*seen, strict=True), wanted.T, strict=True):
            rows = torch.stack(each)
            self.views.append(Discriminant(rows.shape[1], int(right.max()) + 1, SHRINK))
            self.views[-1].example(rows, right)

    def features(self, samples: np.ndarray) -> list[Tensor]:
        """What each of VIEWS is told by, whatever the loudness."""
        mels = self.prepare(samples)[0]
        mels = mels - mels.max()
        top = mels.amax(1)
        loud = mels[top > top.max() - LOUD]
        louder = mels.diff(dim=0).clamp(min=0).mean(1)
        again = [(louder[lag:] * louder[: len(louder) - lag]).mean() for lag in LAGS]
        when = torch.cat([louder, mels.mean(1), torch.stack(again) / louder.square().mean().clamp(min=1e-9)])
        return [
            torch.cat([loud.mean(0), loud.std(0, False)]),
            adaptive_avg_pool2d(mels[None], COARSE).flatten(),
            when,
            when,
        ]

    def wanted(self, wishes: Sequence[Wish]) -> Tensor:
        """[S, 4]: the number of the right answer to each of VIEWS."""
        tempi, way = list(TEMPI), DIRECTIONS.index
        rows = [(self.names.index(w.instrument), way(w.direction), tempi.index(w.tempo), w.notes) for w in wishes]
        return torch.tensor(rows) - torch.tensor([0, 0, 0, NOTES.start])

    @torch.no_grad()
    def right(self, sounds: Sequence[np.ndarray], wanted: Tensor) -> dict[str, Tensor]:
        """Which of the recordings are heard as what they should be, bool [S] each; the instrument among five as well."""
        rows = [torch.stack(view) for view in zip(*(self.features(one) for one in sounds), strict=True)]
        out = [view(own) for view, own in zip(self.views, rows, strict=True)]
        hits = {view: logits.argmax(1) == wanted[:, i] for i, (view, logits) in enumerate(zip(VIEWS, out, strict=True))}
        return hits | {"top 5": (out[0].topk(5, 1).indices == wanted[:, :1]).any(1)}
