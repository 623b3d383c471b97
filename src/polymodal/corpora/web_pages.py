"""The corpus `web-pages`: small web pages with a heading, a menu, a text, a button, a picture and often a table, to read
and to find things on. Decides what is asked of a page, and that what is held out is new in every respect.

    heading, button     what it says, among eight words, of which the page shows some elsewhere
    menu, item          how many items, and which is the first or the last
    color, picture      of the button; where on the page
    table, cell         whether there is one, and the number beside a word

Words, numbers, colors and places are drawn uniformly, as are those offered beside them, so a page not seen is a guess.
The nouns, fonts and layouts of the split `held-out` are those of no other split; `test` has new pages in known ones.
Every box is the renderer's own, see `web_page_html`.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from polymodal.corpora import web_page_html
from polymodal.corpora.building import Job
from polymodal.corpora.grammar import NUMBERS, with_article
from polymodal.corpora.items import QA, Item
from polymodal.corpora.scene_pictures import png
from polymodal.corpora.scene_questions import WHERE
from polymodal.corpora.scene_things import COLORS
from polymodal.corpora.sentence_words import SLOTS, UNSEEN
from polymodal.corpora.web_page_html import FONTS, HELD_OUT_FONTS, HELD_OUT_LAYOUTS, LAYOUTS, PLACES, Page

VERSION = 1
SEED = 67
SIZES = {"train": 960, "val": 80, "test": 160, "held-out": 160}
OFFERED = 8  # words
MENU = (2, 3, 4, 5)  # items
_SENTENCES = (
    "Here is {} near {}.",
    "Today we saw {} and {}.",
    "We like {} more than {}.",
    "Come and see {} with {}.",
)
_PAPERS = ("#fff", "#fbfaf5", "#f1f5f9", "#f6f1f6")
_SKIES = ("#a9d3ee", "#d9c7e0", "#f3d3b3")
_HILLS = ("#7d9c6c", "#9c8f6c", "#6c8f9c")
_KINDS = ("animal", "person", "thing", "food", "vehicle", "furniture", "container")  # of words


def _nouns(slots: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    found = {word for kind in _KINDS for word in slots[kind] if re.fullmatch(r"[a-z]{3,6}", word)}
    return tuple(sorted(found - {"table", "letter", "picture"}))  # which are asked for themselves


NOUNS = _nouns(SLOTS)
HELD_OUT_NOUNS = _nouns(UNSEEN)  # on no page of another split


def jobs(folders: Mapping[str, Path]) -> list[Job]:
    """One job per page. It needs no asset. Raises DataError if blitz-py is not installed."""
    return [_job(split, number) for split, size in SIZES.items() for number in range(size)]


def plan(split: str, rng: random.Random) -> Page:
    """A page of the split: of `held-out`, with nouns, font and layout that no other split has."""
    held = split == "held-out"
    rows, menu = rng.choice((0, 3)), rng.choice(MENU)
    heading, button, *words = rng.sample(HELD_OUT_NOUNS if held else NOUNS, 2 + menu + rows + 6)
    things = [with_article(word) for word in words[menu + rows :]]
    sentences = rng.sample(_SENTENCES, 1 if rows else 3)  # as much as there is room for
    numbers = rng.sample(range(10, 100), rows)
    return Page(
        layout=rng.choice(HELD_OUT_LAYOUTS if held else LAYOUTS),
        font=rng.choice(list(HELD_OUT_FONTS if held else FONTS)),
        heading=heading.capitalize(),
        menu=words[:menu],
        text=" ".join(sentence.format(*things[2 * i : 2 * i + 2]) for i, sentence in enumerate(sentences)),
        button=button.capitalize(),
        color=rng.choice(list(COLORS)),
        place=rng.choice(PLACES),
        table=list(zip(words[menu : menu + rows], numbers, strict=True)),
        round=rng.choice((0, 6, 18)),
        paper=rng.choice(_PAPERS),
        sky=rng.choice(_SKIES),
        hill=rng.choice(_HILLS),
    )


def ask(page: Page, pool: Sequence[str], rng: random.Random) -> list[QA]:
    """Seven or eight questions about a page, whose words are of the `pool`."""
    shown = [page.heading.lower(), page.button.lower(), *page.menu]
    end = rng.choice((0, -1))
    item = f"What is the {'last' if end else 'first'} item in the menu?"
    asked = [
        _word("heading", "What does the heading say?", page.heading.lower(), shown, pool, rng),
        _word("button", "What does the button say?", page.button.lower(), shown, pool, rng),
        _word("item", item, page.menu[end], shown, pool, rng),
        _qa(
            "menu",
            "How many items are in the menu?",
            NUMBERS[len(page.menu)],
            [NUMBERS[n] for n in MENU],
            "There are {} items.",
        ),
        _qa("color", "What color is the button?", page.color, list(COLORS), "It is {}."),
        _qa(
            "picture", "Where is the picture?", WHERE[page.place], [WHERE[place] for place in PLACES], "The picture is {}."
        ),
    ]
    options = ["Yes, there is a table.", "No, there is not a table."]
    asked.append(QA(ask="Is there a table?", answer=options[not page.table], type="table", options=options))
    if page.table:
        word, number = rng.choice(page.table)
        numbers = sorted(str(number) for _, number in page.table)
        asked.append(_qa("cell", f"Which number is beside the word {word}?", str(number), numbers, "It is {}."))
    return asked


def _word(type: str, ask: str, right: str, shown: Sequence[str], pool: Sequence[str], rng: random.Random) -> QA:
    """Which word stands somewhere, among three that stand elsewhere on the page and others of the pool."""
    near = rng.sample([word for word in shown if word != right], 3)
    far = rng.sample([word for word in pool if word not in shown], OFFERED - 4)
    return _qa(type, ask, right, sorted([right, *near, *far]), "It says {}." if type != "item" else "It is {}.")


def _qa(type: str, ask: str, right: str, offered: Sequence[str], answer: str) -> QA:
    return QA(ask=ask, answer=answer.format(right), type=type, options=[answer.format(word) for word in offered])


def _job(split: str, number: int) -> Job:
    rng = random.Random(f"{SEED}/{split}/{number}")
    page = plan(split, rng)
    name = f"{split}-{number:04d}"
    item = Item(
        id=name,
        modality="image",
        file=f"{split}/{name}.png",
        caption=f"a web page about {page.heading.lower()}",
        concept="web page",
        tags=[page.layout, page.font],
        group=page.layout,
        source="web-pages",
        vendor="polymodal",
        licence="Apache-2.0",
        split=split,
        concept_split="test" if split == "held-out" else "train",
        text=" ".join([page.heading, *page.menu, page.text, page.button, *(f"{word} {n}" for word, n in page.table)]),
        questions=ask(page, HELD_OUT_NOUNS if split == "held-out" else NOUNS, rng),
        boxes=web_page_html.boxes(page),
    )
    return Job([item], partial(_draw, page))


def _draw(page: Page) -> Iterator[bytes]:
    yield png(web_page_html.draw(page))
