"""What a generator of sounds makes of a caption: the right instrument, tempo, number of notes, and way that they go?

    .venv/bin/python benchmarks/sounds_made.py --model runs/nano-v3-pt-sound/model

A judge that learned from real recordings (see sound_judge) hears them. *Real*: melodies that neither it nor the generator
has heard, as they are; through mels and the vocoder; and through the autoencoder as well: what a generator cannot surpass.
*Trained* captions are those of training; *new* ones combine an instrument and a melody that training never combined.
*Shuffled*: what was made of one caption, judged by another's. *Name alone*: of captions such as "flute". Chance is a
constant guess's. Intervals are Wilson's, 95 %.
"""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from common import options, show, start
from polymodal import media
from polymodal.corpora.building import write
from polymodal.corpora.instruments import DIRECTIONS, NOTES, TEMPI
from polymodal.evaluation.metrics import wilson
from polymodal.parts.output import Target
from sound_judge import VIEWS, Judge, Wish, instruments, played, recordings

OUTPUT = "sound"  # as recipes/nano/v3-pt-sound.yaml calls it
BATCH = 8
HEARD = 16_000  # samples per second of what `media.load_audio` gives, and the judge hears


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--each", type=int, default=3, help="captions of each instrument and set")
    parser.add_argument("--folder", type=Path, default=Path("runs/making"), help="for some recordings")
    parser.add_argument("--guidance", type=float, help="in place of the model's own")
    arguments = start(parser)
    import polymodal

    generator = polymodal.load(arguments.model).model.designs[OUTPUT].made_by()
    generator = getattr(generator, "of", generator)  # of one that is told in words
    if arguments.guidance is not None:
        generator.guidance = arguments.guidance
    judge = Judge(generator.prepare)
    rows: list[dict[str, Any]] = []

    def rate(who: str, sounds: Sequence[np.ndarray], wishes: Sequence[Wish], views: Sequence[str] = VIEWS) -> None:
        right, n = judge.right(sounds, judge.wanted(wishes)), len(wishes)
        row: dict[str, Any] = {"sounds": who, "n": n}
        for view in ("instrument", "top 5", *VIEWS[1:]):
            hits = int(right[view].sum())
            low, high = wilson(hits, n)
            row[view] = f"{hits / n:.3f} ({low:.2f}-{high:.2f})" if view in (*views, "top 5") else ""
        rows.append(row)

    real = played("test", arguments.each)
    wishes = [one.wish for one in real]
    rate("real", [one.samples for one in real], wishes)
    for who, coded in (("real, vocoder", False), ("real, autoencoder and vocoder", True)):
        rate(who, through(generator, [one.samples for one in real], coded), wishes)
    known, new = captions(arguments.each)
    for who, asked in (("trained captions", known), ("new captions", new)):
        sounds = made(generator, [wish.caption for wish in asked])
        keep(arguments.folder, who, sounds[:: arguments.each], asked[:: arguments.each])
        rate(who, sounds, asked)
        rate(f"{who}, shuffled", sounds, shuffled(asked))
    rate("name alone", made(generator, [wish.instrument for wish in new]), new, VIEWS[:1])
    rows.append({"sounds": "chance", "n": "", **{view: f"{share:.3f}" for view, share in chance(judge, known).items()}})
    show(arguments, "Sounds", rows, {row["sounds"]: row for row in rows})


def captions(each: int) -> tuple[list[Wish], list[Wish]]:
    """`each` captions of every instrument that training has, and as many that it has not."""
    rng = random.Random(0)
    trained_on: dict[str, set[Wish]] = {}
    for one in recordings():
        trained_on.setdefault(one.wish.instrument, set()).add(one.wish)
    known, new = [], []
    for name in instruments():
        every = {Wish(name, *rest) for rest in itertools.product(DIRECTIONS, TEMPI, NOTES)}
        known += rng.sample(sorted(trained_on[name]), each)
        new += rng.sample(sorted(every - trained_on[name]), each)
    return known, new


def shuffled(wishes: Sequence[Wish]) -> list[Wish]:
    """The same wishes in another order, drawn by a seed."""
    return random.Random(1).sample(wishes, len(wishes))


def chance(judge: Judge, wishes: Sequence[Wish]) -> dict[str, float]:
    """How often the best constant answer would be right."""
    best = [column.bincount().max().item() / len(wishes) for column in judge.wanted(wishes).T]
    return {"instrument": best[0], "top 5": 5 * best[0], **dict(zip(VIEWS[1:], best[1:], strict=True))}


@torch.no_grad()
def through(generator: Any, recordings: Sequence[np.ndarray], coded: bool) -> list[np.ndarray]:
    """Recordings as their mels sound, or as the autoencoder's of these."""
    mels = torch.stack([generator.prepare(samples) for samples in recordings])
    if coded:
        mels = torch.cat([generator._decoded(generator._latents(part)) for part in mels.split(BATCH)])
    waves = torch.cat([generator.vocoder(part[:, 0]).clamp(-1, 1) for part in mels.split(BATCH)])
    return [media.load_audio((wave, generator.rate)) for wave in waves.numpy()]


def made(generator: Any, texts: Sequence[str], seed: int = 0) -> list[np.ndarray]:
    """What the generator makes of each caption."""
    random_, found = torch.Generator().manual_seed(seed), []
    for at in range(0, len(texts), BATCH):
        condition = generator.condition([Target(text) for text in texts[at : at + BATCH]])
        found += [media.load_audio(recording) for recording in generator.make(condition, random_)]
    return found


def keep(folder: Path, who: str, sounds: Sequence[np.ndarray], wishes: Sequence[Wish]) -> None:
    """Some of what was made, to listen to."""
    from polymodal.corpora.voices.waveform import flac

    place = folder / "sounds" / who.replace(" ", "-")
    place.mkdir(parents=True, exist_ok=True)
    for wave, wish in zip(sounds, wishes, strict=True):
        write(place / f"{'-'.join(re.findall('[a-z]+', wish.caption.lower()))}.flac", flac(wave, HEARD))


if __name__ == "__main__":
    main()
