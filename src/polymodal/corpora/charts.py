"""The corpus `charts`: small bar, pie and line charts to compare values in. Decides that the numbers are invented:
what is asked is what is seen (which is highest, how many, up or down), never what is true of the world.

Values differ by at least a tenth of the axis, so that every answer is plain to see. Colors are those of the scenes;
labels are printed large in the font that comes with Pillow.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from polymodal.corpora.building import Job
from polymodal.corpora.grammar import NUMBERS
from polymodal.corpora.items import QA, SIDE, Item
from polymodal.corpora.scene_pictures import png
from polymodal.corpora.scene_things import COLORS

if TYPE_CHECKING:
    from PIL import ImageDraw

VERSION = 1
SEED = 37
SIZES = {"train": 480, "val": 40, "test": 80}
KINDS = ("bar", "pie", "line")  # in turn
LABELS = (
    ("Mon", "Tue", "Wed", "Thu", "Fri"),
    ("Jan", "Feb", "Mar", "Apr", "May"),
    ("Anna", "Ben", "Lucy", "Sam", "Tom"),
    ("cats", "cows", "ants", "bees", "pigs"),
    ("tea", "milk", "juice", "water", "soda"),
)
_X, _Y = (56, 864), (56, 760)  # of the axes, in quarters of a pixel


@dataclass(frozen=True)
class Chart:
    """What a chart shows: `values` in 1 to 10, all different, one per label and color."""

    kind: str
    labels: Sequence[str]
    colors: Sequence[str]
    values: Sequence[int]


def jobs(folders: Mapping[str, Path]) -> list[Job]:
    """One job per chart. It needs no asset."""
    return [_job(split, number) for split, size in SIZES.items() for number in range(size)]


def plan(kind: str, rng: random.Random) -> Chart:
    """A chart of one of KINDS with three to five values."""
    number = rng.randint(3, 5)
    labels = rng.choice(LABELS[:2]) if kind == "line" else rng.choice(LABELS)
    first = rng.randint(0, 5 - number)
    colors = rng.sample(list(COLORS), 1 if kind == "line" else number)
    values = rng.sample(range(1, 11), number)
    if kind == "line" and rng.random() < 0.7:
        values.sort(reverse=rng.random() < 0.5)
    return Chart(kind, labels[first : first + number], colors, values)


def ask(chart: Chart, rng: random.Random) -> list[QA]:
    """Three or four questions about a chart."""
    if chart.kind == "line":
        ends = ["The line goes up.", "The line goes down."]
        rising = [a < b for a, b in zip(chart.values, chart.values[1:], strict=False)]
        asked = [_extreme("On which label is the line {}?", "highest", "lowest", chart.labels, chart, rng)]
        asked += [_qa("color", "What color is the line?", chart.colors[0], COLORS, "It is {}.")]
        if all(rising) or not any(rising):
            question = "Does the line go up or down?"
            asked.append(QA(ask=question, answer=ends[not rising[0]], type="trend", options=ends))
        return asked
    part, high, low = ("bar", "tallest", "shortest") if chart.kind == "bar" else ("slice", "biggest", "smallest")
    count = [NUMBERS[n] for n in (3, 4, 5)]
    asked = [
        _qa("count", f"How many {part}s are there?", NUMBERS[len(chart.values)], count, f"There are {{}} {part}s."),
        _extreme(f"What color is the {{}} {part}?", high, low, chart.colors, chart, rng),
        _compare(chart, part, "taller" if chart.kind == "bar" else "bigger", rng),
    ]
    if chart.kind == "bar":
        asked.append(_extreme("Which label has the {} bar?", high, low, chart.labels, chart, rng))
    return asked


def _extreme(ask: str, high: str, low: str, names: Sequence[str], chart: Chart, rng: random.Random) -> QA:
    """Which of the `names`, one per value, has the highest or the lowest value."""
    pick, word = rng.choice(((max, high), (min, low)))
    right = names[chart.values.index(pick(chart.values))]
    return _qa("extreme-color" if names is chart.colors else "extreme-label", ask.format(word), right, names, "It is {}.")


def _compare(chart: Chart, part: str, word: str, rng: random.Random) -> QA:
    one, other = rng.sample(range(len(chart.values)), 2)
    sentence = f"the {chart.colors[one]} {part} is {{}}{word} than the {chart.colors[other]} {part}."
    options = ["Yes, " + sentence.format(""), "No, " + sentence.format("not ")]
    question = f"Is the {chart.colors[one]} {part} {word} than the {chart.colors[other]} {part}?"
    return QA(ask=question, answer=options[chart.values[one] < chart.values[other]], type="compare", options=options)


def _qa(type: str, ask: str, right: str, offered: Iterable[str], answer: str) -> QA:
    options = [answer.format(word) for word in offered]
    return QA(ask=ask, answer=answer.format(right), type=type, options=options)


def _job(split: str, number: int) -> Job:
    rng = random.Random(f"{SEED}/{split}/{number}")
    chart = plan(KINDS[number % len(KINDS)], rng)
    name = f"{split}-{number:04d}"
    shown = zip(chart.labels if chart.kind != "pie" else chart.colors, chart.values, strict=True)
    caption = f"a {chart.kind} chart: " + ", ".join(f"{label} {value}" for label, value in shown)
    item = Item(
        id=name,
        modality="image",
        file=f"{split}/{name}.png",
        caption=caption,
        concept=f"{chart.kind} chart",
        group=chart.kind,
        source="charts",
        vendor="polymodal",
        licence="Apache-2.0",
        split=split,
        concept_split="train",
        questions=ask(chart, rng),
    )
    return Job([item], partial(_draw, chart))


def _draw(chart: Chart) -> Iterator[bytes]:
    from PIL import Image, ImageDraw, ImageFont

    picture = Image.new("RGB", (4 * SIDE, 4 * SIDE), "white")  # drawn large and made smaller: smooth edges
    pencil = ImageDraw.Draw(picture)
    {"bar": _bars, "pie": _pie, "line": _line}[chart.kind](pencil, chart)
    if chart.kind != "pie":
        pencil.line([(_X[0], _Y[0]), (_X[0], _Y[1]), (_X[1], _Y[1])], "black", 8)
        font = ImageFont.load_default(60)
        for label, x in zip(chart.labels, _columns(chart), strict=True):
            pencil.text((x, _Y[1] + 16), label, "black", font, anchor="ma")
    yield png(picture.resize((SIDE, SIDE), Image.Resampling.BOX))


def _columns(chart: Chart) -> list[float]:
    """The middle of each value's share of the horizontal axis."""
    step = (_X[1] - _X[0]) / len(chart.values)
    return [_X[0] + step * (i + 0.5) for i in range(len(chart.values))]


def _heights(chart: Chart) -> list[float]:
    return [_Y[1] - (_Y[1] - _Y[0]) * value / 10 for value in chart.values]


def _bars(pencil: ImageDraw.ImageDraw, chart: Chart) -> None:
    half = 0.35 * (_X[1] - _X[0]) / len(chart.values)
    for color, x, y in zip(chart.colors, _columns(chart), _heights(chart), strict=True):
        pencil.rectangle((x - half, y, x + half, _Y[1]), COLORS[color])


def _line(pencil: ImageDraw.ImageDraw, chart: Chart) -> None:
    points = list(zip(_columns(chart), _heights(chart), strict=True))
    pencil.line(points, COLORS[chart.colors[0]], 24, joint="curve")
    for x, y in points:
        pencil.circle((x, y), 28, COLORS[chart.colors[0]])


def _pie(pencil: ImageDraw.ImageDraw, chart: Chart) -> None:
    start = -90.0
    for color, value in zip(chart.colors, chart.values, strict=True):
        end = start + 360 * value / sum(chart.values)
        pencil.pieslice((80, 80, 4 * SIDE - 80, 4 * SIDE - 80), start, end, COLORS[color], "white", 8)
        start = end
