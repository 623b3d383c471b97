"""`polymodal train` and `polymodal plot`. Decides how a run looks: every setting with where it comes from, then a line a
person can live with (a live block in a terminal, one plain line per row of the log elsewhere), and at the end a table
beside the controls, where everything is, and how to ask the model.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from polymodal.cli_assets import fetch_bar
from polymodal.errors import RecipeError
from polymodal.model.composing import compose
from polymodal.model.config import read_yaml
from polymodal.training import distributed, plots
from polymodal.training.cache import FeatureCache
from polymodal.training.filling import fill, forecast
from polymodal.training.loop import train
from polymodal.training.sources import build_source
from polymodal.training.stage import TrainRecipe, train_recipe

PLOT = "loss.png"


def run(file: Path, overrides: Sequence[str]) -> None:
    """Train a recipe file, watched on stderr. Ctrl-C ends the step, saves, says how to go on, and raises again."""
    recipe = train_recipe(read_yaml(file, overrides), str(file))
    main = distributed.speaks()
    console = Console(stderr=True, highlight=False, quiet=not main)
    console.print(table_of(settings(recipe, file.name, overrides)))
    _fetch(recipe, console)
    folder = Path(recipe.run.folder)
    console.print(f"log {folder}/log.jsonl, plots {folder}/{PLOT}, checkpoint {folder}/state\n", soft_wrap=True)
    try:
        with Watch(console, recipe) as watch, asked_to_stop(console) as stop:
            train(recipe, on_log=watch, stop=stop, on_cache=lambda lacks: console.print(str(lacks)))
    except KeyboardInterrupt:
        console.print(f"stopped; {' '.join(['polymodal train', str(file), *overrides])} goes on from {folder}/state")
        raise
    distributed.leave()
    if not main:
        return
    plots.draw([folder], folder / PLOT)
    if recipe.evaluate:
        console.print(results(json.loads((folder / "eval.json").read_text(encoding="utf-8"))["sets"]))
    media = "".join(f" --{name} FILE" for name in recipe.model.inputs)
    console.print(f"\nmodel   {folder}/model\nplots   {folder}/{PLOT}\nlog     {folder}/log.jsonl", soft_wrap=True)
    console.print(f'ask it  polymodal ask "What is this?"{media} --model {folder}/model', soft_wrap=True)


def fill_cache(file: Path, overrides: Sequence[str]) -> None:
    """Encode what the feature cache of a recipe lacks, and train nothing. Broken off, it keeps what it has."""
    recipe = train_recipe(read_yaml(file, overrides), str(file))
    console = Console(stderr=True, highlight=False)
    if recipe.run.cache is None:
        raise RecipeError(f"{file}: run.cache names no folder to fill; add run.cache=FOLDER")
    _fetch(recipe, console)
    cache = FeatureCache(Path(recipe.run.cache).expanduser(), compose(recipe.model), recipe.run.cache_dtype)
    used = {name for stage in recipe.stages for name in stage.data}
    sources = {name: build_source(name, part) for name, part in recipe.data.items() if name in used}
    console.print(str(forecast(cache, sources)))
    columns = (BarColumn(30), MofNCompleteColumn(), TextColumn("samples"), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("fill", total=sum(map(len, sources.values())))
        encoded = fill(cache, sources, lambda visited: progress.update(task, completed=visited))
    console.print(f"encoded {encoded} items into {recipe.run.cache}", soft_wrap=True)


def plot(folders: Sequence[Path], out: Path | None) -> Path:
    """Draw one run into its folder, or several over each other into the working folder, unless `out` says where."""
    return plots.draw(folders, out or (folders[0] / PLOT if len(folders) == 1 else Path(PLOT)))


Setting = tuple[str, str, str, str]  # section, setting, value, origin


def settings(recipe: TrainRecipe, file: str, overrides: Sequence[str]) -> list[Setting]:
    """Every setting of the run, its stages and evaluations with its value and its origin: `file`, an override, or the
    schema's default. What is the same in several stages is said once."""
    keys = [override.partition("=")[0] for override in overrides]

    def rows(section: str, path: str, part: BaseModel) -> list[Setting]:
        out = []
        for name in type(part).model_fields:
            place = f"{path}.{name}"
            overridden = any(f"{place}.".startswith(f"{k}.") or k.startswith(f"{place}.") for k in keys)
            origin = "override" if overridden else file if name in part.model_fields_set else "default"
            out.append((section, name, _value(getattr(part, name)), origin))
        return out

    stages = [rows(stage.name, f"stages.{i}", stage) for i, stage in enumerate(recipe.stages)]
    shared = set.intersection(*({row[1:] for row in stage} for stage in stages)) if len(stages) > 1 else set()
    everywhere = [("every stage", *row[1:]) for row in stages[0] if row[1:] in shared]
    own = [row for stage in stages for row in stage if row[1:] not in shared and row[1] != "name"]
    evaluated = [
        row for name, entry in recipe.evaluate.items() for row in rows(f"evaluate {name}", f"evaluate.{name}", entry)
    ]
    return [*rows("run", "run", recipe.run), *everywhere, *own, *evaluated]


def table_of(rows: Sequence[Setting]) -> Table:
    """Settings as a table with a heading for each section; defaults are dim."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("setting", "value", "origin"):
        table.add_column(heading, overflow="fold")
    before = ""
    for section, name, value, origin in rows:
        if section != before:
            table.add_row(Text(section, "bold"))
        before = section
        style = "dim" if origin == "default" else "cyan" if origin == "override" else ""
        table.add_row(Text(f"  {name}"), Text(value, style), Text(origin, style))
    return table


class Watch(AbstractContextManager["Watch"]):
    """Shows each row of the log. In a terminal: a bar with its losses and facts below it, redrawn in place."""

    def __init__(self, console: Console, recipe: TrainRecipe) -> None:
        self.console, self.folder = console, Path(recipe.run.folder)
        self.places = {stage.name: i for i, stage in enumerate(recipe.stages, 1)}
        self.bar = Progress(
            TextColumn("[bold]{task.description}"), BarColumn(30), MofNCompleteColumn(), TextColumn("{task.fields[left]}")
        )
        self.task = self.bar.add_task(recipe.stages[0].name, total=recipe.stages[0].steps, left="")
        self.live = Live(self.bar, console=console, transient=True) if console.is_terminal else None

    def __enter__(self) -> Watch:
        if self.live:
            self.live.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self.live:
            self.live.stop()

    def __call__(self, row: dict[str, Any]) -> None:
        if "evaluation" in row:
            for line in evaluated(row):
                self.console.print(line, soft_wrap=True)
            plots.draw([self.folder], self.folder / PLOT)
        elif self.live is None:
            self.console.print(plain(row), soft_wrap=True)
        else:
            stage = f"{row['stage']} ({self.places[row['stage']]}/{len(self.places)})"
            self.bar.update(self.task, description=stage, completed=row["step"], total=row["steps"], left=left(row))
            losses = "  ".join([total(row), *sources(row)])
            self.live.update(Group(self.bar, Text(f"  {losses}"), Text(f"  {facts(row)}", "dim")))


def plain(row: dict[str, Any]) -> str:
    """A row of the log in one line, what matters most first."""
    head = f"{row['stage']} {row['step']}/{row['steps']}"
    return "  ".join([head, left(row), total(row), facts(row), *sources(row)])


def left(row: dict[str, Any]) -> str:
    minutes, seconds = divmod(row["eta"], 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02} left" if hours else f"{minutes}:{seconds:02} left"


def total(row: dict[str, Any]) -> str:
    return "  ".join(f"{key} {value:.3f}" for key, value in row["loss"].items() if "/" not in key)


def sources(row: dict[str, Any]) -> list[str]:
    """The loss of each source, where there are several; with the objective, where there are several of those."""
    objectives = [key for key in row["loss"] if "/" not in key]
    own = {key: value for key, value in row["loss"].items() if "/" in key}
    if len(own) == len(objectives):
        return []
    return [f"{key if len(objectives) > 1 else key.partition('/')[2]} {value:.2f}" for key, value in own.items()]


def facts(row: dict[str, Any]) -> str:
    gpu = f", {row['peak_gpu_gb']:.1f} GB on the GPU" if "peak_gpu_gb" in row else ""
    return (
        f"{row['tokens_per_s']} tokens/s  wait {row['data_wait']:.0%}  pad {row['padding']:.0%}  "
        f"{row['memory_gb']:.1f} GB{gpu}"
    )


def evaluated(row: dict[str, Any]) -> Iterator[str]:
    """A line for each set of an evaluation."""
    for name, result in row["evaluation"].items():
        model = result["model"]
        controls = "".join(f"  {key} {result[key]['value']:.2f}" for key in ("blind", "shuffled") if key in result)
        low, high = model["interval"]
        interval = f"{low:.2f} to {high:.2f}"
        step = f"{row['stage']} {row['step']}"
        yield f"{step}  {name}: {result['metric']} {model['value']:.2f} ({interval}){controls}  loss {model['loss']:.3f}"


def results(sets: dict[str, Any]) -> Table:
    """The finished model beside its controls."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("set", "metric", "n", "model", "95 %", "blind", "shuffled", "chance", "beats blind"):
        table.add_column(heading, justify="left" if heading in ("set", "metric") else "right")
    for name, result in sets.items():
        low, high = result["model"]["interval"]
        controls = (f"{result[key]['value']:.3f}" if key in result else "" for key in ("blind", "shuffled"))
        chance = f"{result['chance']:.3f}" if "chance" in result else ""
        verdict = {True: "yes", False: "no", None: ""}[result.get("beats_blind")]
        value, interval = f"{result['model']['value']:.3f}", f"{low:.3f} to {high:.3f}"
        table.add_row(name, result["metric"], str(result["n"]), value, interval, *controls, chance, verdict)
    return table


@contextmanager
def asked_to_stop(console: Console) -> Iterator[Callable[[], bool]]:
    """A function that says whether Ctrl-C was pressed (or the system asked the process to end). The second time, it is
    not asked but done."""
    asked: list[int] = []
    signals = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in signals}

    def note(number: int, frame: object) -> None:
        asked.append(number)
        signal.signal(number, before[signal.Signals(number)])
        console.print("finishing the step; once more stops at once")

    for number in signals:
        signal.signal(number, note)
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _fetch(recipe: TrainRecipe, console: Console) -> None:
    """Get the assets that the recipe's parts name and this machine lacks."""
    from polymodal import assets

    for name in dict.fromkeys(_assets(recipe.model.model_dump())):
        if assets.state(name) != "ready":
            console.print(f"fetching {name}")
            with fetch_bar(name) as progress:
                assets.fetch(name, progress)


def _assets(node: Any) -> Iterator[str]:
    if isinstance(node, str) and node.startswith("asset:"):
        yield node.removeprefix("asset:")
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from _assets(child)


def _value(value: Any) -> str:
    if isinstance(value, BaseModel):
        value = value.model_dump(exclude_unset=True)
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_value(item)}" for key, item in value.items()) or "none"
    if isinstance(value, list):
        return ", ".join(map(_value, value)) or "none"
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
