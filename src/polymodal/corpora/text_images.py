"""The corpus `text-images`: one to three printed words to read. Decides what counts as new: words that no training
picture shows.

Words are everyday ones of three to six letters, printed large in the font that comes with Pillow (no machine's own),
in five inks, three weights and three cases. Half of the test's pictures show words of training, half show unseen
ones; the types `text` and `text-unseen` are to be reported apart.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from polymodal.corpora import scene_questions as questions
from polymodal.corpora.building import Job
from polymodal.corpora.concepts import concept
from polymodal.corpora.grammar import NUMBERS
from polymodal.corpora.items import QA, SIDE, Item
from polymodal.corpora.scene_pictures import page, png
from polymodal.corpora.scene_things import BACKGROUNDS, COLORS, INKS, UNSEEN_WORDS, WORDS

if TYPE_CHECKING:
    from PIL import Image

VERSION = 1
SEED = 23
SIZES = {"train": 480, "val": 40, "test": 80}
_PLACES = {1: (("middle", 0.5),), 2: (("top", 0.28), ("bottom", 0.72)), 3: (("top", 0.2), ("middle", 0.5), ("bottom", 0.8))}


def jobs(folders: Mapping[str, Path]) -> list[Job]:
    """One job per picture. It needs no asset."""
    return [_job(split, number) for split, size in SIZES.items() for number in range(size)]


def write_word(
    picture: Image.Image, word: str, ink: str, rng: random.Random, middle: float = 0.5, height: int = 90
) -> None:
    """Print a word across the picture around a height (a share of SIDE), as large as fits, at most `height` pixels."""
    from PIL import ImageDraw, ImageFont

    shown = rng.choice((word, word, word.capitalize(), word.upper()))
    weight = rng.choice((0, 1, 2))
    size = height
    pencil = ImageDraw.Draw(picture)
    while True:
        font = ImageFont.load_default(size)
        left, top, right, bottom = pencil.textbbox((0, 0), shown, font, stroke_width=weight)
        if right - left <= 0.9 * SIDE and bottom - top <= height:
            break
        size -= 2
    x = rng.uniform(0.04 * SIDE, 0.96 * SIDE - (right - left))
    y = middle * SIDE - (bottom - top) / 2 + rng.uniform(-6, 6)
    pencil.text((x - left, y - top), shown, COLORS[ink], font, stroke_width=weight)


def _job(split: str, number: int) -> Job:
    rng = random.Random(f"{SEED}/{split}/{number}")
    unseen = split == "test" and number % 2 == 1
    pool = UNSEEN_WORDS if unseen else WORDS
    words = rng.sample(pool, 1 + number // 2 % 3)
    ink, color = rng.choice(INKS), rng.choice(list(BACKGROUNDS))
    name = f"{split}-{number:04d}"
    item = Item(
        id=name,
        modality="image",
        file=f"{split}/{name}.png",
        caption=", ".join(words),
        concept=concept(", ".join(words)),
        group=NUMBERS[len(words)],
        source="text-images",
        vendor="polymodal",
        licence="Apache-2.0",
        split=split,
        concept_split="test" if unseen else "train",
        text=" ".join(words),
        questions=_questions(words, pool, ink, color, unseen, rng),
    )
    return Job([item], partial(_draw, words, ink, color, name))


def _questions(
    words: Sequence[str], pool: Sequence[str], ink: str, color: str, unseen: bool, rng: random.Random
) -> list[QA]:
    ends = [f"There {'is' if n == 1 else 'are'} {NUMBERS[n]} word{'s' * (n > 1)}." for n in (1, 2, 3)]
    asked = [QA(ask="How many words are there?", answer=ends[len(words) - 1], type="count", options=ends)]
    if len(words) == 1:
        asked.append(questions.text(words[0], pool, rng, unseen))
    else:
        for (place, _), word in zip(_PLACES[len(words)], words, strict=True):
            plain = questions.text(word, pool, rng, unseen)
            asked.append(plain.model_copy(update={"ask": f"What is the {place} word?"}))
    return [*asked, questions.ink(ink), questions.background(color)]


def _draw(words: Sequence[str], ink: str, color: str, name: str) -> Iterator[bytes]:
    rng = random.Random(name)
    picture = page(color, rng)
    for (_, middle), word in zip(_PLACES[len(words)], words, strict=True):
        write_word(picture, word, ink, rng, middle, (90, 64, 48)[len(words) - 1])
    yield png(picture)
