"""The corpus `scenes`: stickers, shapes and words pasted on plain pages, with exact boxes and three to five questions
each. Decides the kinds of scenes and the splits.

    one      a thing in one of five places       what, where, exists, background
    pair     two things of plainly different size what, side or where, bigger, exists
    several  three to five different things      what, side, exists, count of all
    crowd    one to four of a kind, and others   count of a kind, exists, background
    shapes   one to three coloured shapes        color, shape, background
    word     a printed word                      text, color of the letters, background

Splits are by scene: every thing is of a concept that is trained on anyway, so what is new in `test` is the
combination, in `held-out` also the hand that drew it (OpenMoji). `test` also shows words that are written nowhere in
training. Pictures of `shapes` and `word` are drawn here (vendor `polymodal`) and are not in `held-out`, where they
would repeat `test`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from polymodal.corpora import emoji
from polymodal.corpora import scene_questions as questions
from polymodal.corpora.building import Job
from polymodal.corpora.concepts import concept
from polymodal.corpora.grammar import NUMBERS, plural, with_article
from polymodal.corpora.items import QA, Box, Item
from polymodal.corpora.scene_pictures import LAYOUTS, LAYOUTS_OF, Thing, Xyxy, draw, fitted, page, png, stickers, within
from polymodal.corpora.scene_things import BACKGROUNDS, COLORS, INKS, SHAPES, THINGS, UNSEEN_WORDS, WORDS
from polymodal.corpora.text_images import write_word

if TYPE_CHECKING:
    from PIL import Image

VERSION = 1
SEED = 11
SIZES = {"train": 4000, "val": 200, "test": 400, "held-out": 400}
VENDORS = ("noto", "twemoji", "fluent-flat")  # fluent-3d shows the same designs as fluent-flat
KINDS = ("one", "pair", "crowd", "shapes", "pair", "several", "crowd", "word")  # in turn: a quarter are pairs
SMALL, LARGE = 64, 110  # pixels of the longer side
_OURS = ("polymodal", "Apache-2.0")

Art = Mapping[str, "Image.Image"]


@dataclass(frozen=True)
class Scene:
    """What a scene shows and is asked. `ink` and `word`: of the kind `word` alone."""

    kind: str
    background: str
    questions: list[QA]
    things: Sequence[Thing] = ()
    word: str | None = None
    ink: str | None = None

    @property
    def caption(self) -> str:
        """ "a cat and two balloons"."""
        if self.word is not None:
            return f"the word {self.word}"
        named = [f"{t.color} {t.name}" if t.color else t.name for t in self.things]
        parts = []
        for name in dict.fromkeys(named):
            number = named.count(name)
            parts.append(with_article(name) if number == 1 else f"{NUMBERS[number]} {plural(name)}")
        return " and ".join(filter(None, (", ".join(parts[:-1]), parts[-1])))


def jobs(folders: Mapping[str, Path]) -> list[Job]:
    """One job per scene. `folders`: the packages of emoji by asset name. Raises DataError if a drawing is missing."""
    art = {vendor: stickers(vendor, folders) for vendor in (*VENDORS, emoji.HELD_OUT)}
    return [job for split, size in SIZES.items() for job in _split_jobs(split, size, art)]


def _split_jobs(split: str, size: int, art: Mapping[str, Art]) -> Iterator[Job]:
    kinds = [kind for kind in KINDS if split != "held-out" or kind in _STICKERS]
    for number in range(size):
        rng = random.Random(f"{SEED}/{split}/{number}")
        vendor = emoji.HELD_OUT if split == "held-out" else VENDORS[rng.randrange(len(VENDORS))]
        yield _job(f"{split}-{number:04d}", split, vendor, plan(kinds[number % len(kinds)], art[vendor], rng, split), art)


def plan(kind: str, art: Art, rng: random.Random, split: str = "train") -> Scene:
    """A scene of one of KINDS with its questions, in the order they are asked. `art`: a vendor's stickers by name."""
    if kind in _STICKERS:
        return _STICKERS[kind](art, rng)
    return _shapes(rng) if kind == "shapes" else _word(rng, split)


def _one(art: Art, rng: random.Random) -> Scene:
    (thing,) = things = _place(_names(1, rng), "one", art, rng)
    color = _background(rng)
    asked = [questions.what(thing, [], rng, alone=True), questions.where(thing), questions.background(color)]
    asked += [_exists(things, rng), *_total(things, 1 / 3, rng)]
    return Scene("one", color, _shuffled(asked, rng), things)


def _pair(art: Art, rng: random.Random) -> Scene:
    sizes = [rng.randint(SMALL, 70), rng.randint(94, 104)]
    rng.shuffle(sizes)
    things = _place(_names(2, rng), rng.choice(LAYOUTS_OF[2]), art, rng, sizes)
    one, other = rng.sample(things, 2)
    asked = [questions.what(one, [other.name], rng), questions.bigger(one, other, rng), _exists(things, rng)]
    asked.append(rng.choice([questions.side(one, other, rng), questions.where(other)]))
    return Scene("pair", _background(rng), _shuffled([*asked, *_total(things, 1 / 6, rng)], rng), things)


def _several(art: Art, rng: random.Random) -> Scene:
    number = rng.randint(3, 5)
    things = _place(_names(number, rng), rng.choice(LAYOUTS_OF[number]), art, rng)
    asked: list[QA | None] = []
    for thing in rng.sample(things, 2):
        asked.append(questions.what(thing, [other.name for other in things if other is not thing], rng))
    one, other = rng.sample(things, 2)
    asked += [questions.side(one, other, rng), _exists(things, rng), *_total(things, 1, rng)]
    return Scene("several", _background(rng), _shuffled(asked, rng), things)


def _crowd(art: Art, rng: random.Random) -> Scene:
    number = rng.randint(1, 4)
    others = rng.randint(0, min(2, 5 - number))
    counted, other = _names(2, rng)
    shown = [counted] * number + [other] * others
    rng.shuffle(shown)
    things = _place(shown, rng.choice(LAYOUTS_OF[len(shown)]), art, rng)
    color = _background(rng)
    asked = [questions.count(counted, number), _exists(things, rng), questions.background(color)]
    return Scene("crowd", color, _shuffled(asked, rng), things)


def _shapes(rng: random.Random) -> Scene:
    names = rng.sample(SHAPES, rng.randint(1, 3))
    background = _background(rng)
    colors = rng.sample([color for color in COLORS if color != background], len(names))
    layout = LAYOUTS[rng.choice([layout for layout in LAYOUTS_OF[len(names)] if layout != "grid"])]
    places = rng.sample(sorted(layout), len(names))
    things = []
    for name, color, place in zip(names, colors, places, strict=True):
        side = rng.randint(SMALL, _largest(layout[place]))
        things.append(Thing(name, place, within(layout[place], (side, side), rng), color))
    one, *others = rng.sample(things, len(things))
    asked = [questions.color(one), questions.shape(one, alone=not others), questions.background(background)]
    asked += [questions.color(other) for other in others[:1]]
    return Scene("shapes", background, _shuffled(asked, rng), things)


def _word(rng: random.Random, split: str) -> Scene:
    unseen = split == "test" and rng.random() < 0.5
    pool = UNSEEN_WORDS if unseen else WORDS
    word, ink, color = rng.choice(pool), rng.choice(INKS), _background(rng)
    asked = [questions.text(word, pool, rng, unseen), questions.ink(ink), questions.background(color)]
    return Scene("word", color, _shuffled(asked, rng), word=word, ink=ink)


_STICKERS: dict[str, Callable[[Art, random.Random], Scene]] = {
    "one": _one,
    "pair": _pair,
    "several": _several,
    "crowd": _crowd,
}


def _names(number: int, rng: random.Random) -> list[str]:
    return rng.sample(sorted(THINGS), number)


def _background(rng: random.Random) -> str:
    return rng.choice(list(BACKGROUNDS))


def _place(
    names: Sequence[str], layout: str, art: Art, rng: random.Random, sizes: Sequence[int] | None = None
) -> list[Thing]:
    """The things in places of the layout at random; of random `sizes` unless these are given."""
    things = []
    for number, (name, place) in enumerate(zip(names, rng.sample(sorted(LAYOUTS[layout]), len(names)), strict=True)):
        cell = LAYOUTS[layout][place]
        side = sizes[number] if sizes else rng.randint(SMALL, _largest(cell))
        things.append(Thing(name, place, within(cell, fitted(art[name].size, side), rng)))
    return things


def _largest(cell: Xyxy) -> int:
    return min(cell[2] - cell[0], cell[3] - cell[1], LARGE)


def _exists(things: Sequence[Thing], rng: random.Random) -> QA:
    shown = sorted({thing.name for thing in things})
    there = rng.random() < 0.5
    return questions.exists(rng.choice(shown if there else sorted(THINGS.keys() - set(shown))), there)


def _total(things: Sequence[Thing], share: float, rng: random.Random) -> list[QA]:
    """Asked of a share of the scenes, so that one to five things are equally frequent among those asked."""
    return [questions.total(len(things))] if rng.random() < share else []


def _shuffled(asked: Sequence[QA | None], rng: random.Random) -> list[QA]:
    usable = [question for question in asked if question is not None]
    return rng.sample(usable, len(usable))


def _job(name: str, split: str, vendor: str, scene: Scene, art: Mapping[str, Art]) -> Job:
    drawn = scene.kind in _STICKERS
    whose, licence = (vendor, emoji.VENDORS[vendor].licence) if drawn else _OURS
    item = Item(
        id=name,
        modality="image",
        file=f"{split}/{name}.png",
        caption=scene.caption,
        concept=concept(scene.caption),
        group=scene.kind,
        source="scenes",
        vendor=whose,
        licence=licence,
        split=split,
        concept_split="train",
        text=scene.word,
        questions=scene.questions,
        boxes=[Box(name=thing.name, xyxy=thing.xyxy) for thing in scene.things],
    )
    return Job([item], partial(_draw, name, scene, art[vendor]))


def _draw(name: str, scene: Scene, art: Art) -> Iterator[bytes]:
    rng = random.Random(name)
    if scene.word is None:
        yield draw(scene.background, scene.things, art, rng)
        return
    assert scene.ink is not None
    picture = page(scene.background, rng)
    write_word(picture, scene.word, scene.ink, rng, rng.uniform(0.3, 0.7))
    yield png(picture)
