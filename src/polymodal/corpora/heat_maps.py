"""The corpus `heat-maps`: smooth fields and small tables of numbers in colours, with a scale beside them. Decides that a
picture always says which of its colours is warm.

    field     a smooth field of 45 x 45 values       hottest, coldest, warmer
    table     2 to 5 rows and columns with names     row and column of the extremes, value if the numbers are printed
    nine      3 x 3 cells without names              hottest, coldest, warmer

Colour maps disagree about which end is warm (`hot` is white there, `YlOrRd` dark), so each picture has its scale, above
or beside it, and reads as it says. Whatever is asked about is drawn first and uniformly, and the values are made to fit,
by a tenth of the scale at least: a model that sees nothing is at chance. Numbers are invented.

The split `held-out` has colour maps and fonts that no other split has; fonts are those that come with matplotlib, by
file, so that no machine's own are taken for them.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from polymodal.corpora.building import Job
from polymodal.corpora.items import QA, Item
from polymodal.corpora.scene_pictures import png
from polymodal.corpora.scene_questions import WHERE
from polymodal.corpora.scene_things import WORDS

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.font_manager import FontProperties
    from matplotlib.image import AxesImage

VERSION = 1
SEED = 61
SIZES = {"train": 960, "val": 80, "test": 160, "held-out": 160}
KINDS = ("field", "table", "nine")  # in turn
MAPS = ("viridis", "plasma", "hot", "coolwarm", "jet", "YlOrRd", "gray", "Greens")
FONTS = ("DejaVuSans", "DejaVuSerif", "DejaVuSansMono-Bold")  # files of matplotlib
HELD_OUT_MAPS = ("cividis", "inferno", "RdYlBu_r", "BuPu")
HELD_OUT_FONTS = ("STIXGeneral", "cmss10")
SHAPES = ((448, 448), (448, 384), (384, 448), (512, 448))  # width and height in pixels
COLUMNS = (
    ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"),
    ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul"),
    ("A", "B", "C", "D", "E", "F", "G"),
)
PLACES = (  # keys of WHERE, row by row
    *("top left", "top", "top right"),
    *("left", "middle", "right"),
    *("bottom left", "bottom", "bottom right"),
)
LEAST = 0.1  # of the scale, by which an answer is right
_SIDE = 45  # values of a field along a side
_DPI = 100


@dataclass(frozen=True)
class HeatMap:
    """What is shown. `values` [R, C], the first row on top, in 0 to 100; `rows` and `columns`: their names, none unless a
    table; `printed`: whether the numbers stand in the cells."""

    kind: str
    values: np.ndarray
    rows: Sequence[str] = ()
    columns: Sequence[str] = ()
    printed: bool = False


@dataclass(frozen=True)
class Look:
    """How it is drawn. `scale`: where the colour bar is; `shading`: how a field is."""

    colors: str
    font: str
    size: tuple[int, int]
    scale: str
    shading: str
    ticks: bool


def jobs(folders: Mapping[str, Path]) -> list[Job]:
    """One job per heat map. It needs no asset."""
    return [_job(split, number) for split, size in SIZES.items() for number in range(size)]


def plan(kind: str, rng: random.Random) -> HeatMap:
    """A heat map of one of KINDS."""
    if kind == "field":
        return HeatMap(kind, _field(rng))
    rows, columns = (3, 3) if kind == "nine" else (rng.randint(2, 5), rng.randint(2, 5))
    values = _table(rows, columns, rng)
    if kind == "nine":
        return HeatMap(kind, values)
    names = rng.choice(COLUMNS)
    first = rng.randint(0, len(names) - columns)
    short = [word for word in WORDS if len(word) <= 5]
    return HeatMap(kind, values, rng.sample(short, rows), names[first : first + columns], rng.random() < 0.5)


def look(split: str, rng: random.Random) -> Look:
    """A look of the split: of `held-out`, nothing that another split has."""
    held = split == "held-out"
    return Look(
        colors=rng.choice(HELD_OUT_MAPS if held else MAPS),
        font=rng.choice(HELD_OUT_FONTS if held else FONTS),
        size=rng.choice(SHAPES),
        scale=rng.choice(("right", "left", "top", "bottom")),
        shading=rng.choice(("nearest", "bilinear", "contours")),
        ticks=rng.random() < 0.5,
    )


def ninths(values: np.ndarray) -> tuple[dict[str, float], dict[str, float], dict[str, float]]:
    """The lowest, the mean and the highest value in each of the nine PLACES of a map whose sides are threefold."""
    rows, columns = values.shape
    cells = values.reshape(3, rows // 3, 3, columns // 3)
    low, mean, high = (
        dict(zip(PLACES, f((1, 3)).ravel().tolist(), strict=True)) for f in (cells.min, cells.mean, cells.max)
    )
    return low, mean, high


def ask(shown: HeatMap, rng: random.Random) -> list[QA]:
    """Two to five questions about a heat map."""
    if shown.kind == "table":
        return _ask_table(shown, rng)
    low, mean, high = ninths(shown.values)
    hot, cold, places = max(high, key=high.__getitem__), min(low, key=low.__getitem__), list(WHERE.values())
    asked = [
        _qa("hottest", "Where is it hottest?", WHERE[hot], places, "It is hottest {}."),
        _qa("coldest", "Where is it coldest?", WHERE[cold], places, "It is coldest {}."),
    ]
    pairs = [
        pair for pair in (rng.sample(PLACES, 2) for _ in range(20)) if abs(mean[pair[0]] - mean[pair[1]]) >= 100 * LEAST
    ]
    for one, other in pairs[:2]:
        sentence = f"it is {{}}warmer {WHERE[one]} than {WHERE[other]}."
        options = ["Yes, " + sentence.format(""), "No, " + sentence.format("not ")]
        question = f"Is it warmer {WHERE[one]} than {WHERE[other]}?"
        asked.append(QA(ask=question, answer=options[mean[one] < mean[other]], type="warmer", options=options))
    return asked


def _ask_table(shown: HeatMap, rng: random.Random) -> list[QA]:
    values, asked = shown.values, []
    for side, names in (("row", shown.rows), ("column", shown.columns)):
        word, best = rng.choice((("greatest", values.max()), ("least", values.min())))
        at = [int(i[0]) for i in (values == best).nonzero()][side == "column"]
        asked.append(_qa(side, f"Which {side} has the {word} value?", names[at], list(names), "It is {}."))
    if shown.printed:
        row, column = rng.randrange(len(shown.rows)), rng.randrange(len(shown.columns))
        others = [str(value) for value in values.ravel() if value != values[row, column]]
        offered = sorted([str(values[row, column]), *rng.sample(others, 3)])
        question = f"What is the value of {shown.rows[row]} and {shown.columns[column]}?"
        asked.append(_qa("value", question, str(values[row, column]), offered, "It is {}."))
    return asked


def _qa(type: str, ask: str, right: str, offered: Sequence[str], answer: str) -> QA:
    return QA(ask=ask, answer=answer.format(right), type=type, options=[answer.format(word) for word in offered])


def _field(rng: random.Random) -> np.ndarray:
    """A smooth field whose extremes are in two of the nine places, drawn before it."""
    import numpy as np

    y, x = (np.mgrid[:_SIDE, :_SIDE] + 0.5) / _SIDE

    def hill(at: tuple[float, float], width: float) -> np.ndarray:
        return np.exp(-((y - at[0]) ** 2 + (x - at[1]) ** 2) / (2 * width**2))

    hot, cold = rng.sample(range(9), 2)
    while True:  # another field until the places are as drawn, by LEAST
        field = np.zeros((_SIDE, _SIDE))
        for _ in range(8):
            field += rng.uniform(-0.5, 0.5) * hill((rng.random(), rng.random()), rng.uniform(0.15, 0.4))
        for place, sign in ((hot, 1), (cold, -1)):
            at = tuple((third + 0.5) / 3 + rng.uniform(-0.06, 0.06) for third in divmod(place, 3))
            field += sign * hill((at[0], at[1]), rng.uniform(0.09, 0.14))
        field = 100 * (field - field.min()) / np.ptp(field)
        low, _, high = ninths(field)
        lowest, highest = sorted(low, key=low.__getitem__), sorted(high, key=high.__getitem__, reverse=True)
        apart = min(low[lowest[1]] - low[lowest[0]], high[highest[0]] - high[highest[1]])
        if (highest[0], lowest[0]) == (PLACES[hot], PLACES[cold]) and apart >= 100 * LEAST:
            return field


def _table(rows: int, columns: int, rng: random.Random) -> np.ndarray:
    """Whole numbers, all different, the greatest and the least by 100 * LEAST and in cells drawn at random."""
    import numpy as np

    middle = rng.sample(range(25, 76), rows * columns - 2)
    numbers = [rng.randint(86, 99), rng.randint(1, 14), *middle]
    return np.array(rng.sample(numbers, len(numbers))).reshape(rows, columns)


def _job(split: str, number: int) -> Job:
    rng = random.Random(f"{SEED}/{split}/{number}")
    shown, style = plan(KINDS[number % len(KINDS)], rng), look(split, rng)
    name = f"{split}-{number:04d}"
    about = {"field": "a smooth field", "table": f"a table of {', '.join(shown.rows)}", "nine": "nine cells"}[shown.kind]
    item = Item(
        id=name,
        modality="image",
        file=f"{split}/{name}.png",
        caption=f"a heat map of {about}",
        concept="heat map",
        tags=[style.colors, style.font],
        group=shown.kind,
        source="heat-maps",
        vendor="polymodal",
        licence="Apache-2.0",
        split=split,
        concept_split="train",
        questions=ask(shown, rng),
    )
    return Job([item], partial(_draw, shown, style))


def _draw(shown: HeatMap, style: Look) -> Iterator[bytes]:
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.font_manager import FontProperties
    from PIL import Image

    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # whatever a matplotlibrc of this machine says
        file = Path(matplotlib.get_data_path(), "fonts", "ttf", f"{style.font}.ttf")
        font = FontProperties(fname=file, size=15 if shown.kind == "table" else 12)
        width, height = style.size
        figure = Figure((width / _DPI, height / _DPI), dpi=_DPI, layout="constrained")
        canvas = FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        smooth = "bilinear" if style.shading == "bilinear" and shown.kind == "field" else "nearest"
        drawn = axes.imshow(shown.values, style.colors, aspect="auto", interpolation=smooth, vmin=0, vmax=100)
        if style.shading == "contours" and shown.kind == "field":
            axes.contour(shown.values, [20, 40, 60, 80], colors="black", linewidths=0.8)
        _label(axes, shown, style, font)
        scale = figure.colorbar(drawn, ax=axes, location=style.scale, ticks=[0, 50, 100])
        _set_font(scale.ax, font)
        if shown.printed:
            _print(axes, shown, drawn, font)
        canvas.draw()
        yield png(Image.frombuffer("RGBA", style.size, canvas.buffer_rgba(), "raw", "RGBA", 0, 1).convert("RGB"))


def _label(axes: Axes, shown: HeatMap, style: Look, font: FontProperties) -> None:
    """The names of a table's rows and columns; or numbers along the sides of a field, or nothing."""
    if shown.kind == "table":
        axes.set_yticks(range(len(shown.rows)), shown.rows)
        axes.set_xticks(range(len(shown.columns)), shown.columns)
    elif shown.kind == "nine" or not style.ticks:
        axes.set_xticks([])
        axes.set_yticks([])
    _set_font(axes, font)


def _print(axes: Axes, shown: HeatMap, drawn: AxesImage, font: FontProperties) -> None:
    """The numbers in their cells, white where it is dark."""
    import numpy as np

    inks = np.where(drawn.to_rgba(shown.values)[..., :3] @ (0.3, 0.59, 0.11) < 0.5, "white", "black")
    for (row, column), value in np.ndenumerate(shown.values):
        ink = str(inks[row, column])
        axes.text(column, row, str(value), ha="center", va="center", color=ink, fontproperties=font)


def _set_font(axes: Axes, font: FontProperties) -> None:
    for label in (*axes.get_xticklabels(), *axes.get_yticklabels()):
        label.set_fontproperties(font)
