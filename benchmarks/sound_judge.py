"""An independent judge of generated sounds: which instrument plays, which way the notes go, how fast and how many?

A small convolutional network over spectra of 24 bands an octave learns from recordings of the sound font of the corpus
`instruments` that are rendered for it: melodies by another seed, on the instruments and at the pitches that generators are
trained on. No generator has seen these, and the judge has seen nothing that a generator makes.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, max_pool1d, pad

from polymodal.corpora.grammar import NUMBERS
from polymodal.corpora.instruments import DIRECTIONS, KINDS, LOW, NOTES, TEMPI, melodies, render

HEARD = 16_000
SECONDS = 4.096  # of a recording that are listened to
WINDOW, HOP = 2048, 512
BANDS, OCTAVE, LOWEST = 144, 24, 110.0  # how many, in an octave, and the first's middle in Hz
QUIET = 1e-3  # of the loudest band: what lies below is silence
EACH = 60  # recordings of each instrument that the judge learns from
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
    """A recording and what is played in it. `samples` [N] float32 at HEARD."""

    wish: Wish
    samples: np.ndarray


@cache
def instruments() -> dict[str, int]:
    """The names that are trained on, and their programs."""
    from polymodal import corpora

    named = {name: program for kind in KINDS.values() for program, name in kind.items()}
    return {name: named[name] for name in sorted({i.subgroup for i in corpora.read("instruments") if i.split == "train"})}


def played(seed: str, each: int) -> list[Heard]:
    """`each` new melodies on every instrument that is trained on, at the pitches of training."""
    from polymodal import assets, media

    font, found = assets.path("sound-font") / "TimGM6mb.sf2", []
    for name, program in instruments().items():
        tunes = melodies(f"{seed} {name}", LOW, each)
        for melody, data in zip(tunes, render(font, program, tunes), strict=True):
            wish = Wish(name, melody.direction, melody.tempo, len(melody.notes))
            found.append(Heard(wish, media.load_audio(data)))
    return found


def bands(samples: np.ndarray) -> Tensor:
    """Samples [N] at HEARD -> [BANDS, frames]: 0 for silence to 1 for the loudest."""
    wave = torch.from_numpy(np.asarray(samples, np.float32))[: round(SECONDS * HEARD)]
    wave = pad(wave, (0, round(SECONDS * HEARD) - len(wave)))
    spectrum = torch.stft(wave, WINDOW, HOP, window=torch.hann_window(WINDOW), return_complex=True).abs()
    loud = _bank() @ spectrum
    return 1 - (loud / loud.max().clamp(min=1e-9)).clamp(min=QUIET).log() / np.log(QUIET)


@cache
def _bank() -> Tensor:
    """[BANDS, bins]: triangles around the middles of bands, one bin wide at least."""
    bins = torch.arange(WINDOW // 2 + 1) * HEARD / WINDOW
    middles = LOWEST * 2 ** (torch.arange(BANDS) / OCTAVE)
    width = (middles * (2 ** (1 / OCTAVE) - 1)).clamp(min=HEARD / WINDOW)
    return (1 - (bins[None] - middles[:, None]).abs() / width[:, None]).clamp(min=0)


class Judge(nn.Module):
    """[S, BANDS, frames] -> logits of each of VIEWS."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__()
        self.names = list(names)
        widths = (1, 16, 32, 64, 96)
        layers = []
        for before, after in zip(widths, widths[1:], strict=False):
            layers += [nn.Conv2d(before, after, 3, (2, 1 if after == 96 else 2), 1), nn.BatchNorm2d(after), nn.ReLU()]
        self.ears = nn.Sequential(*layers)
        self.over = nn.Sequential(nn.Conv1d(96 * 9, 128, 1), nn.ReLU(), nn.Conv1d(128, 128, 5, padding=2), nn.ReLU())
        sizes = (len(self.names), len(DIRECTIONS), len(TEMPI), len(NOTES))
        self.drop = nn.Dropout(0.2)
        self.heads = nn.ModuleList(nn.Linear(n, size) for n, size in zip((96 * 2, 256, 256, 256), sizes, strict=True))

    def forward(self, heard: Tensor) -> list[Tensor]:
        maps = self.ears(heard[:, None])
        time = self.over(maps.flatten(1, 2))
        tune = self.drop(torch.cat([time.mean(2), time.amax(2)], 1))
        timbre = self.drop(torch.cat([maps.mean((2, 3)), maps.amax((2, 3))], 1))
        return [head(timbre if number == 0 else tune) for number, head in enumerate(self.heads)]

    def wanted(self, wishes: Sequence[Wish]) -> Tensor:
        """[S, 4]: the number of the right answer to each of VIEWS."""
        tempi = list(TEMPI)
        return torch.tensor(
            [
                (self.names.index(w.instrument), DIRECTIONS.index(w.direction), tempi.index(w.tempo), w.notes - NOTES.start)
                for w in wishes
            ]
        )

    @torch.no_grad()
    def right(self, recordings: Sequence[np.ndarray], wanted: Tensor) -> dict[str, Tensor]:
        """Which of the recordings are heard as what they should be, bool [S] each; the instrument among five as well."""
        heard = torch.stack([bands(samples) for samples in recordings])
        out = [torch.cat(view) for view in zip(*(self.eval()(part) for part in heard.split(64)), strict=True)]
        hits = {view: logits.argmax(1) == wanted[:, i] for i, (view, logits) in enumerate(zip(VIEWS, out, strict=True))}
        return hits | {"top 5": (out[0].topk(5, 1).indices == wanted[:, :1]).any(1)}


def trained(file: Path, epochs: int = 16) -> Judge:
    """The judge, which takes some minutes to learn; kept in `file`."""
    torch.manual_seed(0)
    judge = Judge(list(instruments()))
    if file.is_file():
        judge.load_state_dict(load_file(file))
        return judge.eval()
    learn(judge, played("judge", EACH), epochs)
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file(judge.state_dict(), file)
    return judge.eval()


def learn(judge: Judge, heard: Sequence[Heard], epochs: int, batch: int = 32) -> None:
    """Fits it. Recordings are moved a little in time, blurred, made noisy and dull: a generator's need not be clean."""
    shown, wanted, rng = (
        torch.stack([bands(one.samples) for one in heard]),
        judge.wanted([one.wish for one in heard]),
        random.Random(0),
    )
    steps = epochs * (len(heard) // batch)
    optimizer = torch.optim.AdamW(judge.parameters(), lr=2e-3, weight_decay=0.02)
    plan = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps)
    judge.train()
    for _ in range(steps):
        rows = rng.sample(range(len(heard)), batch)
        loss = sum(
            cross_entropy(out, truth, label_smoothing=0.05)
            for out, truth in zip(judge(changed(shown[rows])), wanted[rows].T, strict=True)
        )
        optimizer.zero_grad()
        torch.as_tensor(loss).backward()
        optimizer.step()
        plan.step()


def changed(shown: Tensor) -> Tensor:
    """[S, BANDS, frames], each a little otherwise."""
    shown = torch.roll(shown, int(torch.randint(-3, 4, ())), 2)
    size = (len(shown), 1, 1)
    blurred = max_pool1d(shown.flatten(0, 1)[:, None], 3, 1, 1)[:, 0].view_as(shown)
    shown = torch.lerp(shown, blurred, torch.rand(size) * (torch.rand(size) < 0.5))
    tilt = torch.linspace(0, 1, BANDS)[:, None] * torch.rand(size) * 0.2
    return (shown - tilt * (shown > 0) + 0.03 * torch.rand(size) * torch.randn_like(shown)).clamp(0, 1)
