"""What is asked about a sticker scene. Decides that words alone give nothing away.

Whatever is asked about is drawn uniformly, and every option is as likely as any other before the picture is seen:
half of the things that `exists` asks for are there, names are asked for among names drawn like the right one, and the
thing that is bigger in the picture is the bigger one in life as often as not. Answers are short sentences, as the
backbone speaks.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterable, Sequence

from polymodal.corpora.grammar import NUMBERS, plural, with_article
from polymodal.corpora.items import QA
from polymodal.corpora.scene_pictures import LAYOUTS, Thing
from polymodal.corpora.scene_things import BACKGROUNDS, COLORS, INKS, SHAPES, THINGS

WHERE = {
    "left": "on the left",
    "right": "on the right",
    "top": "at the top",
    "bottom": "at the bottom",
    "middle": "in the middle",
    **{f"{v} {h}": f"in the {v} {h} corner" for v in ("top", "bottom") for h in ("left", "right")},
}
NAMES_OFFERED = 8
_ALONE = "What is in the picture?"


def what(thing: Thing, others: Collection[str], rng: random.Random, alone: bool = False) -> QA:
    """The name of the thing at a place, among those of the `others` in the scene and some that are not in it."""
    ask = _ALONE if alone else f"What is {WHERE[thing.place]}?"
    offered = {thing.name, *others}
    offered |= set(rng.sample(sorted(THINGS.keys() - offered), NAMES_OFFERED - len(offered)))
    return _qa("what", ask, thing.name, sorted(offered), "It is {}.", with_article)


def shape(thing: Thing, alone: bool) -> QA:
    ask = "What shape is this?" if alone else f"What shape is {WHERE[thing.place]}?"
    return _qa("shape", ask, thing.name, SHAPES, "It is {}.", with_article)


def color(thing: Thing) -> QA:
    assert thing.color is not None
    return _qa("color", f"What color is the {thing.name}?", thing.color, COLORS, "It is {}.")


def ink(color: str) -> QA:
    return _qa("color", "What color are the letters?", color, INKS, "They are {}.")


def background(color: str) -> QA:
    return _qa("background", "What color is the background?", color, BACKGROUNDS, "It is {}.")


def count(name: str, number: int) -> QA:
    """How many of one thing; one to four."""
    return _count(f"How many {plural(name)} are there?", name, number, 4)


def total(number: int) -> QA:
    """How many things in all; one to five."""
    return _count("How many things are there?", "thing", number, 5)


def exists(name: str, there: bool) -> QA:
    thing = with_article(name)
    options = [f"Yes, there is {thing}.", f"No, there is not {thing}."]
    return QA(ask=f"Is there {thing}?", answer=options[not there], type="exists", options=options)


def where(thing: Thing) -> QA:
    """One of five places: for things that are alone, in a row or in a column."""
    places = [WHERE[place] for place in LAYOUTS["one"]]
    return _qa("where", f"Where is the {thing.name}?", WHERE[thing.place], places, f"The {thing.name} is {{}}.")


def side(one: Thing, other: Thing, rng: random.Random) -> QA | None:
    """Whether one thing is left or right of, or above or below, another; None if they share a row and a column."""
    relations = []
    if difference := _rank(one, "left", "right") - _rank(other, "left", "right"):
        relations.append(("left of" if difference < 0 else "right of", ("left of", "right of")))
    if difference := _rank(one, "top", "bottom") - _rank(other, "top", "bottom"):
        relations.append(("above" if difference < 0 else "below", ("above", "below")))
    if not relations:
        return None
    right, offered = rng.choice(relations)
    asked = "left or right of" if "left of" in offered else "above or below"
    ask = f"Is the {one.name} {asked} the {other.name}?"
    return _qa("side", ask, right, offered, f"The {one.name} is {{}} the {other.name}.")


def bigger(one: Thing, other: Thing, rng: random.Random) -> QA | None:
    """Which of two is bigger, or smaller; None if that is not plain to see."""
    if (one.side > other.side) != (one.area > other.area) or one.side == other.side:
        return None
    word = rng.choice(("bigger", "smaller"))
    right = one if (one.side > other.side) == (word == "bigger") else other
    ask = f"Which is {word}, the {one.name} or the {other.name}?"
    return _qa("bigger", ask, right.name, (one.name, other.name), f"The {{}} is {word}.")


def text(word: str, words: Sequence[str], rng: random.Random, unseen: bool) -> QA:
    """The word that is written, among others of `words`."""
    offered = sorted({word, *rng.sample([w for w in words if w != word], NAMES_OFFERED - 1)})
    return _qa("text-unseen" if unseen else "text", "What does it say?", word, offered, "It says {}.")


def spoken_questions() -> list[str]:
    """Questions worth a recording: every fixed wording, and for each thing one of three that name it."""
    fixed = [_ALONE, *(f"What is {place}?" for place in WHERE.values())]
    fixed += ["What shape is this?", *(f"What shape is {place}?" for place in WHERE.values())]
    fixed += [
        "How many things are there?",
        "What color is the background?",
        "What color are the letters?",
        "What does it say?",
    ]
    fixed += [f"What color is the {name}?" for name in SHAPES]
    named = []
    for number, name in enumerate(THINGS):
        forms = (f"Is there {with_article(name)}?", f"How many {plural(name)} are there?", f"Where is the {name}?")
        named.append(forms[number % 3])
    return fixed + named


def _rank(thing: Thing, low: str, high: str) -> int:
    """-1, 0 or 1: towards the side `low`, neither, or towards `high`."""
    return (high in thing.place) - (low in thing.place)


def _count(ask: str, name: str, number: int, most: int) -> QA:
    options = [f"There is one {name}.", *(f"There are {NUMBERS[n]} {plural(name)}." for n in range(2, most + 1))]
    return QA(ask=ask, answer=options[number - 1], type="count", options=options)


def _qa(type: str, ask: str, right: str, offered: Iterable[str], answer: str, word: Callable[[str], str] = str) -> QA:
    """A question whose answers are `answer` with one of the words `offered` in its place, worded by `word`."""
    options = [answer.format(word(option)) for option in offered]
    return QA(ask=ask, answer=answer.format(word(right)), type=type, options=options)
