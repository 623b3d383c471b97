"""The picture of a run. Decides what is worth a look: the loss of every objective and source, stage by stage, the learning
rate, and held-out metrics with their intervals and controls, all over the steps of the whole run. Lines are labelled where
they end; there is no legend to look things up in.

Drawn from `log.jsonl` alone, so a run can be drawn while it goes on, or again years later, or several over each other.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polymodal.errors import DataError
from polymodal.training import log

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Row = dict[str, Any]
Points = list[tuple[int, float]]

# Okabe and Ito (2008): told apart by people who do not see all colours.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C6D31", "#7F3C8D")
INK, FAINT = "#222222", "#8a8a8a"
DASHES = {"blind": (0, (5, 2)), "shuffled": (0, (1, 1.5))}
LABEL = 8.0  # points


@dataclass
class Line:
    """`parts`: [(step, value)] of each stretch that is drawn without a break. `intervals`: (step, low, high)."""

    label: str
    colour: str
    parts: list[Points]
    width: float = 1.4
    dashes: Any = "-"
    intervals: list[tuple[int, float, float]] = field(default_factory=list)
    smooth: bool = False

    @property
    def end(self) -> tuple[int, float]:
        return self.parts[-1][-1]


def draw(folders: Sequence[Path], file: Path) -> Path:
    """Draw the runs in `folders` over each other into `file` (PNG), atomically: one with its sources apart, several with
    their objectives only. Raises `DataError` for a folder without a log."""
    from matplotlib.figure import Figure

    runs = {str(folder): read(folder) for folder in folders}
    alone = len(runs) == 1
    loss, rates, metrics = [], [], []
    for place, (name, rows) in enumerate(runs.items()):
        trained = [row for row in rows if "loss" in row]
        run = "" if alone else Path(name).name
        colour = INK if alone else COLOURS[place % len(COLOURS)]
        loss += list(losses(trained, run, colour, sources=alone))
        rates.append(Line(run, colour, _parts((row, row["lr"]) for row in trained), 1.0))
        metrics += list(evaluations(rows, run, None if alone else colour))
    heights = [4.0, 0.9, *([2.4] if metrics else [])]
    figure = Figure(figsize=(11, sum(heights) + 0.9), layout="constrained", dpi=130)
    axes: list[Axes] = list(figure.subplots(len(heights), 1, sharex=True, height_ratios=heights, squeeze=False)[:, 0])
    plot(axes[0], loss, "loss, nats per token")
    plot(axes[1], rates, "learning rate")
    axes[1].set_ylim(bottom=0)
    axes[0].set_xlim(left=0)
    if metrics:
        plot(axes[2], metrics, "held-out, with 95 % intervals" + ("; dashed: blind, dotted: shuffled" if alone else ""))
        axes[2].margins(y=0.1)
        axes[2].set_ylim(bottom=min(0, axes[2].get_ylim()[0]))
    values = [value for line in loss for part in line.parts for _, value in part if value > 0]
    if values and max(values) > 20 * min(values):
        axes[0].set_yscale("log")
    if alone:
        bands(axes, next(iter(runs.values())))
    axes[-1].set_xlabel("step")
    figure.suptitle(" and ".join(Path(name).name for name in runs), x=0.01, ha="left", fontweight="bold")
    figure.canvas.draw()  # labels are set apart in pixels, which are known once it is laid out
    for ax, lines in zip(axes, (loss, [], metrics), strict=False):
        label(ax, lines)
    staging = file.with_name(file.name + ".part")
    figure.savefig(staging, format="png")
    os.replace(staging, file)
    return file


def read(folder: Path) -> list[Row]:
    """The log of a run, if it has come so far as to have one."""
    file = folder / log.FILE
    rows = log.read(file) if file.is_file() else []
    if not any("loss" in row for row in rows):
        raise DataError(f"{folder} has no {log.FILE} with a step in it: it is not the folder of a run, or too young")
    return rows


def losses(rows: list[Row], run: str, colour: str, sources: bool) -> Iterator[Line]:
    """With `sources`, a line for each source of each objective, and one for the objective where it has several; without,
    one for the objective."""
    keys = dict.fromkeys(key for row in rows for key in row["loss"])
    objectives = [key for key in keys if "/" not in key]
    several = {
        row["stage"] for row in rows if sum("/" in key for key in row["loss"]) > sum("/" not in key for key in row["loss"])
    }
    tints: dict[str, str] = {}
    for objective in objectives:
        own = [row for row in rows if objective in row["loss"] and (not sources or row["stage"] in several)]
        if own:
            label = " ".join(filter(None, (run, objective)))
            yield Line(label, colour, _parts((row, row["loss"][objective]) for row in own), 1.8, smooth=True)
        for key in (key for key in keys if sources and key.startswith(objective + "/")):
            source = key.removeprefix(objective + "/")
            tint = tints.setdefault(source, COLOURS[len(tints) % len(COLOURS)])
            label = source if len(objectives) == 1 else f"{objective} {source}"
            parts = _parts((row, row["loss"][key]) for row in rows if key in row["loss"])
            yield Line(label, tint, parts, 1.0, smooth=True)


def evaluations(rows: list[Row], run: str, colour: str | None) -> Iterator[Line]:
    """A line for each held-out set and for each of its controls."""
    done = [row for row in rows if "evaluation" in row]
    for place, name in enumerate(dict.fromkeys(name for row in done for name in row["evaluation"])):
        tint = colour or COLOURS[place % len(COLOURS)]
        results = [(row["global_step"], row["evaluation"][name]) for row in done if name in row["evaluation"]]
        title = " ".join(filter(None, (run, name, results[0][1]["metric"])))
        for who in ("model", *DASHES):
            found = [(step, result[who]) for step, result in results if who in result]
            points = [(step, score["value"]) for step, score in found]
            if who == "model":
                ends = [(step, *score["interval"]) for step, score in found]
                yield Line(title, tint, [points], 1.8, intervals=ends)
            elif points and colour is None:
                yield Line(f"{name} {who}", tint, [points], 1.0, DASHES[who])


def plot(ax: Axes, lines: list[Line], title: str) -> None:
    """The lines, noisy ones smoothed over a faint trace of what was measured."""
    for line in lines:
        for part in line.parts:
            steps, values = zip(*part, strict=True)
            window = len(part) // 25 if line.smooth else 0
            if window > 1:
                ax.plot(steps, values, color=line.colour, lw=0.6, alpha=0.25)
                near = [values[max(0, i - window) : i + window + 1] for i in range(len(values))]
                values = tuple(sum(around) / len(around) for around in near)
            mark = "o" if line.intervals or len(part) == 1 else ""
            ax.plot(steps, values, color=line.colour, lw=line.width, ls=line.dashes, marker=mark, ms=3.5)
        for step, low, high in line.intervals:
            ax.plot([step, step], [low, high], color=line.colour, lw=1.0, alpha=0.6)
    ax.set_title(title, loc="left", fontsize=9, color=INK)
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(axis="y", color="#e6e6e6", lw=0.6)
    ax.set_axisbelow(True)
    ax.tick_params(labelsize=8, colors=INK, length=3)
    ax.margins(x=0.005)


def bands(axes: list[Axes], rows: list[Row]) -> None:
    """Every other stage shaded, its name at the top."""
    ends = {row["stage"]: row["global_step"] - row["step"] + row["steps"] for row in rows if "steps" in row}
    last = rows[-1]["global_step"]
    start = 0
    for place, (name, end) in enumerate(ends.items()):
        for ax in axes:
            if place % 2:
                ax.axvspan(start, min(end, last), color="#f3f3f0", zorder=0, lw=0)
        if len(ends) > 1:
            where = axes[0].get_xaxis_transform()
            fits = (min(end, last) - start) / last * 150 > len(name) + 1  # characters of this size across the plot
            axes[0].annotate(
                name, (start, 1), (3, -3), xycoords=where, textcoords="offset points", rotation=0 if fits else 90,
                va="top", fontsize=LABEL, color=FAINT,
            )  # fmt: skip
        start = end


def label(ax: Axes, lines: list[Line]) -> None:
    """Each line's name where it ends: to its right for those that reach the end of the plot (or hardly begin), above all
    lines for the others, and moved apart where they would touch."""
    from matplotlib.patheffects import withStroke

    right, high = ax.get_xlim()[1], LABEL * ax.figure.dpi / 72 * 1.4  # pixels of a line of text

    def pixels(point: tuple[int, float]) -> tuple[float, float]:
        x, y = ax.transData.transform(point)
        return float(x), float(y)

    spots = [(*pixels(line.end), line) for line in lines]
    drawn = [pixels(point) for line in lines for part in line.parts for point in part]
    taken: list[tuple[float, float]] = []  # the middle of each label so far
    for x, y, line in sorted(spots, key=lambda spot: spot[1]):
        beside = not 0.1 * right < line.end[0] <= 0.97 * right
        middle = x + (5 * high if beside else -5 * high)
        top = max(other for there, other in drawn if 0 <= x - there < high)
        free = y if beside else top + 0.9 * high
        for there, height in sorted(taken, key=lambda place: place[1]):
            if abs(there - middle) < 10 * high and abs(free - height) < high:
                free = height + high
        taken.append((middle, free))
        ax.annotate(
            line.label, line.end, (6 if beside else -2, (free - y) * 72 / ax.figure.dpi), textcoords="offset points",
            ha="left" if beside else "right", va="center", fontsize=LABEL, color=line.colour, annotation_clip=False,
            path_effects=[withStroke(linewidth=2.5, foreground="white")],
        )  # fmt: skip


def _parts(values: Iterable[tuple[Row, float]]) -> list[Points]:
    """[(row, value)] as the points of each stage."""
    stages: dict[str, Points] = {}
    for row, value in values:
        stages.setdefault(row["stage"], []).append((row["global_step"], value))
    return list(stages.values())
