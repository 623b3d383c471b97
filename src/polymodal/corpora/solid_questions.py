"""What is asked about a scene of `solids`, and its numbers. Decides that a question alone gives nothing away.

Whether anything is near or warm is decided by a coin after the limit was drawn, and the numbers follow from both; who is
nearest or hottest is drawn regardless of its place, shape, color and size. A depth or thermal map shows no color, so there
a solid is named by its place. Numbers that are compared differ plainly: distances by a factor of RATIO, temperatures
by GAP degrees.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Sequence

from polymodal.corpora.grammar import NUMBERS, with_article
from polymodal.corpora.items import QA
from polymodal.corpora.scene_questions import WHERE, exists, side
from polymodal.corpora.scene_things import COLORS as DRAWN
from polymodal.corpora.solid_shapes import SHAPES
from polymodal.corpora.solid_views import Solid

COLORS = tuple(color for color in DRAWN if color != "black")  # in which no shading is seen
METRES, DEGREES = (2, 3), (40, 45, 50, 55, 60)  # limits that are asked about
RATIO, GAP = 1.25, 5.0  # a solid of 44 pixels reaches an eighth of its distance towards the camera
FARTHEST, COLDEST = 12.0, -10.0
MOST = 3  # solids of one color


def distances(number: int, rng: random.Random) -> tuple[list[float], int, bool]:
    """Metres, in any order; the limit that is asked about, and whether anything is nearer."""
    limit, nearer = rng.choice(METRES), rng.random() < 0.5
    first = limit / rng.uniform(1.1, 1.5) if nearer else limit * rng.uniform(RATIO, 1.6)
    others = _apart(number - 1, math.log(first * RATIO), math.log(FARTHEST), math.log(RATIO), rng)
    return _mixed([first, *map(math.exp, others)], rng), limit, nearer


def temperatures(number: int, rng: random.Random) -> tuple[list[float], float, int, bool]:
    """Degrees Celsius, in any order; those of the room, the limit that is asked about, and whether anything is above."""
    limit, above = rng.choice(DEGREES), rng.random() < 0.5
    hottest = limit + rng.uniform(4, 12) * (1 if above else -1)
    others = _apart(number, COLDEST, hottest - GAP, GAP, rng)
    room = others.pop(rng.randrange(number))
    return _mixed([hottest, *others], rng), room, limit, above


def of_picture(
    solids: Sequence[Solid], told: Solid, combinations: Sequence[tuple[str, str]], rng: random.Random
) -> list[QA]:
    """About the picture; `told`: the solid whose color and shape are asked; `combinations`: (color, shape) that `exists`
    may ask for."""
    shown = [(solid.color, solid.shape) for solid in solids]
    there = rng.random() < 0.5
    pool = [pair for pair in combinations if (pair in shown) == there]
    one, other = rng.sample(solids, 2)
    asked = [
        count(len(solids)),
        _qa("color", f"What color is the {told.shape}?", told.color, COLORS, "It is {}."),
        _shape("shape", f"What shape is {WHERE[told.place]}?", told),
        exists(" ".join(rng.choice(pool or shown)), there),
        side(one.thing, other.thing, rng),
        looks_bigger(solids, rng),
    ]
    return [question for question in asked if question]


def of_color(color: str, number: int) -> QA:
    """How many are of a color; one to MOST."""
    options = [f"There is one {color} thing.", *(f"There are {NUMBERS[n]} {color} things." for n in range(2, MOST + 1))]
    return QA(ask=f"How many {color} things are there?", answer=options[number - 1], type="count-color", options=options)


def looks_bigger(solids: Sequence[Solid], rng: random.Random) -> QA | None:
    """Which of a small and a large one looks bigger, or smaller; None if all are alike. Says nothing of metres."""
    by_side = sorted(solids, key=lambda solid: solid.thing.side)
    pairs = [(a, b) for a in by_side for b in by_side if b.thing.side > 1.3 * a.thing.side and b.thing.area > a.thing.area]
    if not pairs:
        return None
    pair = rng.choice(pairs)
    word = rng.choice(("bigger", "smaller"))
    right = pair[word == "bigger"].thing.name
    one, other = rng.sample([solid.thing.name for solid in pair], 2)
    return _qa("bigger", f"Which looks {word}, the {one} or the {other}?", right, (one, other), f"The {{}} looks {word}.")


def of_depth(solids: Sequence[Solid], limit: int, nearer: bool, rng: random.Random) -> list[QA]:
    """What a depth map tells and a picture does not."""
    word, right = rng.choice(_extremes(solids, [solid.distance for solid in solids], ("nearest", "farthest")))
    about, told = rng.choice(_extremes(solids, [solid.distance for solid in solids], ("nearest", "farthest")))
    options = [f"Yes, something is nearer than {limit} metres.", f"No, nothing is nearer than {limit} metres."]
    return [
        _placed("nearest", word, right, solids),
        _compared("nearer", ("nearer", "farther away"), solids, [solid.distance for solid in solids], rng),
        QA(ask=f"Is anything nearer than {limit} metres?", answer=options[not nearer], type="within", options=options),
        _shape("nearest-shape", f"What shape is the {about} thing?", told),
    ]


def of_warmth(solids: Sequence[Solid], limit: int, above: bool, rng: random.Random) -> list[QA]:
    """What a thermal map tells and a picture does not."""
    degrees = [solid.temperature for solid in solids]
    word, right = rng.choice(_extremes(solids, degrees, ("coldest", "hottest")))
    options = [f"Yes, something is above {limit} degrees.", f"No, nothing is above {limit} degrees."]
    asked = f"Is anything above {limit} degrees Celsius?"
    return [
        _placed("hottest", word, right, solids),
        _compared("warmer", ("colder", "warmer"), solids, degrees, rng),
        QA(ask=asked, answer=options[not above], type="above", options=options),
    ]


def count(number: int) -> QA:
    """How many things in all; two to five."""
    options = [f"There are {NUMBERS[n]} things." for n in range(2, 6)]
    return QA(ask="How many things are there?", answer=options[number - 2], type="count", options=options)


def _extremes(solids: Sequence[Solid], values: Sequence[float], words: tuple[str, str]) -> list[tuple[str, Solid]]:
    """The words for the least and the most, each with its solid."""
    order = sorted(range(len(solids)), key=lambda i: values[i])
    return [(words[0], solids[order[0]]), (words[1], solids[order[-1]])]


def _placed(type: str, word: str, right: Solid, solids: Sequence[Solid]) -> QA:
    places = [WHERE[solid.place] for solid in solids]
    return _qa(type, f"Which thing is {word}?", WHERE[right.place], places, f"The one {{}} is {word}.")


def _compared(
    type: str, words: tuple[str, str], solids: Sequence[Solid], values: Sequence[float], rng: random.Random
) -> QA:
    """Which of two is less or more, as `words` say."""
    pair = rng.sample(range(len(solids)), 2)
    more = rng.random() < 0.5
    right = (max if more else min)(pair, key=lambda i: values[i])
    one, other = (WHERE[solids[i].place] for i in pair)
    ask = f"Which is {words[more]}, the one {one} or the one {other}?"
    return _qa(type, ask, WHERE[solids[right].place], (one, other), f"The one {{}} is {words[more]}.")


def _shape(type: str, ask: str, solid: Solid) -> QA:
    return _qa(type, ask, with_article(solid.shape), map(with_article, SHAPES), "It is {}.")


def _qa(type: str, ask: str, right: str, offered: Iterable[str], answer: str) -> QA:
    return QA(ask=ask, answer=answer.format(right), type=type, options=[answer.format(option) for option in offered])


def _apart(number: int, low: float, high: float, gap: float, rng: random.Random) -> list[float]:
    """Numbers in order, at least `gap` apart, and otherwise anywhere between."""
    free = sorted(rng.uniform(0, high - low - gap * (number - 1)) for _ in range(number))
    return [low + gap * i + value for i, value in enumerate(free)]


def _mixed(values: list[float], rng: random.Random) -> list[float]:
    return rng.sample(values, len(values))
