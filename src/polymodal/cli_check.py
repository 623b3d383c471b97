"""`polymodal check`: what a model would see and learn of your data, and what is wrong with it, before any training.

Decides how findings look: previews and tables on stdout, or all of it as JSON; errors and progress on stderr. The exit code
is 2 if a row cannot be trained on, so that a script may ask before it spends a night.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
import yaml

from polymodal.errors import RecipeError

if TYPE_CHECKING:
    from polymodal.model.composition import Composition
    from polymodal.training.checking import Checker, Findings
    from polymodal.training.data import Source
    from polymodal.training.stage import Stage


@dataclass
class Options:
    """What the command line says. `rows`: None for all. `rate`: positions a second, to estimate time without measuring."""

    rows: int | None
    errors: int
    fast: bool
    time: bool
    rate: float | None
    json: bool


def rows_of(value: str) -> int | None:
    """`all` -> None, `100` -> 100. Raises `RecipeError`."""
    if value == "all":
        return None
    if not value.isdigit() or int(value) < 1:
        raise RecipeError(f"--rows '{value}' is neither a number nor 'all'")
    return int(value)


def check_recipe(file: Path, overrides: Sequence[str], options: Options) -> None:
    """Every source of a training recipe and of its evaluations, with the recipe's model. What no stage learns from counts
    as held out."""
    from polymodal.model.composition import Composition
    from polymodal.model.config import read_yaml
    from polymodal.training.sources import build_source
    from polymodal.training.stage import train_recipe

    recipe = train_recipe(read_yaml(file, overrides), str(file))
    own = {f"evaluate.{name}": entry.data for name, entry in recipe.evaluate.items() if isinstance(entry.data, dict)}
    sources = {name: build_source(name, part) for name, part in {**recipe.data, **own}.items()}
    trained = {name for stage in recipe.stages for name in stage.data}
    limits = {
        name: min(
            (stage.limit for stage in recipe.stages if name in stage.data), default=max(s.limit for s in recipe.stages)
        )
        for name in sources
    }
    composition = Composition.from_recipe(recipe.model)
    _check(composition, sources, set(sources) - trained, limits, list(recipe.stages), options)


def check_data(
    path: str,
    settings: Sequence[str],
    kind: str,
    model: str,
    held_out: Sequence[str],
    plan: dict[str, int],
    options: Options,
) -> None:
    """One source, and others of its kind that are held out. `plan`: batch, grouping and limit of a stage over it."""
    import polymodal
    from polymodal.model.composition import Composition
    from polymodal.training.sources import build_source
    from polymodal.training.stage import Stage

    recipe = {"kind": kind, **_settings(settings)}
    names = {"data": path, **{f"held-out-{i}": other for i, other in enumerate(held_out, 1)}}
    sources = {name: build_source(name, {**recipe, "path": place}) for name, place in names.items()}
    is_recipe = Path(model).suffix in (".yaml", ".yml")
    composition = Composition.from_recipe(model) if is_recipe else polymodal.load(model)
    epoch = Stage(name="one epoch", train={"*.projector.*": 1.0}, data={"data": 1.0}, epochs=1, **plan)
    _check(composition, sources, set(sources) - {"data"}, dict.fromkeys(sources, epoch.limit), [epoch], options)


def _settings(settings: Sequence[str]) -> dict[str, Any]:
    found = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or not key:
            raise RecipeError(f"an option of the data reads KEY=VALUE, not '{setting}'")
        try:
            found[key] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise RecipeError(f"data option '{key}': '{value}' is not YAML") from error
    return found


def _check(
    composition: Composition,
    sources: dict[str, Source],
    held_out: set[str],
    limits: dict[str, int],
    stages: list[Stage],
    options: Options,
) -> None:
    from polymodal.training.checking import Checker, measure

    sizes = {name: len(source) for name, source in sources.items()}
    stages = [stage.counted(sizes) for stage in stages]
    checker = Checker(composition, fast=options.fast, listed=options.errors, keep=stages[0].batch)
    found: dict[str, Findings] = {}
    for name, source in sources.items():
        with _bar(name, min(len(source), options.rows or len(source))) as on_row:
            found[name] = checker.check(source, limits[name], options.rows, on_row)
        found[name].held_out = name in held_out
    rates: dict[str, Any] = {"positions_per_s": options.rate, "items_per_s": {}}
    samples = [sample for name in stages[0].data for sample in found[name].samples][: stages[0].batch]
    if options.time and samples:
        learns = stages[0].train or {"*.projector.*": 1.0}  # adapters are not there yet
        rates = measure(composition, samples, stages[0].limit, learns)
    report = report_of(checker, found, stages, rates)
    if options.json:
        typer.echo(json.dumps(report, ensure_ascii=False))
    else:
        _show(report, found)
    for name, findings in found.items():
        prefix = f"{name}: " if len(found) > 1 else ""
        for error in findings.errors:
            typer.secho(f"error: {prefix}{error}", fg="red", err=True)
        if rest := findings.failed - len(findings.errors):
            typer.secho(f"error: {prefix}and {rest:,} more rows; --errors {findings.failed} lists them", fg="red", err=True)
    if any(findings.failed for findings in found.values()):
        raise typer.Exit(2)


def report_of(checker: Checker, found: dict[str, Findings], stages: list[Stage], rates: dict[str, Any]) -> dict[str, Any]:
    """All numbers, as JSON. Counts are those of the rows that were checked; `positions_per_epoch` is scaled to all rows."""
    from polymodal.training.checking import padding, shared

    sources = {name: _source_report(checker, findings) for name, findings in found.items()}
    seconds_per_item = {modality: 1 / rate for modality, rate in rates["items_per_s"].items()}
    planned = []
    for stage in stages:
        lengths, rows = {name: found[name].kept for name in stage.data}, max(1, stage.batch // stage.accumulate)
        share = 0.0 if stage.packing else padding(lengths, stage.data, rows, stage.grouping * stage.accumulate)
        whole = sum(stage.data.values())
        mean = sum(weight / whole * sources[name]["mean_positions"] for name, weight in stage.data.items())
        positions = round(stage.length * stage.batch * mean)
        seconds = positions / rates["positions_per_s"] if rates["positions_per_s"] else None
        row = {"name": stage.name, "steps": stage.length, "batch": stage.batch, "grouping": stage.grouping}
        planned.append(
            {**row, "limit": stage.limit, "positions": positions, "padding": round(share, 4), "seconds": seconds}
        )
    encode = {
        modality: sum(s["media"].get(modality, {"unique": 0})["unique"] for s in sources.values()) * seconds
        for modality, seconds in seconds_per_item.items()
    }
    media = "headers" if checker.fast else "decoded"
    leaks = shared(found)
    return {"media": media, "sources": sources, "stages": planned, "leaks": leaks, "rates": rates, "encode_seconds": encode}


def _source_report(checker: Checker, findings: Findings) -> dict[str, Any]:
    modalities = checker.composition.model.modalities
    lengths = sorted(findings.lengths)
    good = len(lengths)
    kept = sum(findings.kept)
    share = findings.rows / findings.checked if findings.checked else 0.0
    quantiles = {"min": 0.0, "median": 0.5, "p95": 0.95, "max": 1.0}
    return {
        "rows": findings.rows,
        "checked": findings.checked,
        "held_out": findings.held_out,
        "errors": {"count": findings.failed, "listed": findings.errors},
        "warnings": {what: {"count": n, "rows": findings.warnings[what]} for what, n in findings.warned.items()},
        "positions": {key: lengths[min(good - 1, int(q * good))] if good else 0 for key, q in quantiles.items()},
        "mean_positions": kept / good if good else 0.0,
        "positions_per_epoch": round(kept * share),
        "supervised_tokens": findings.supervised,
        "supervised_share": round(findings.supervised / findings.total, 4) if findings.total else 0.0,
        "media": {
            modality: {
                "items": counted.items,
                "unique": len(counted.keys),
                "positions": counted.positions,
                "cache_bytes": 2 * counted.features * modalities[modality].encoder.width,
            }
            for modality, counted in findings.media.items()
        },
    }


def _show(report: dict[str, Any], found: dict[str, Findings]) -> None:
    from rich.console import Console
    from rich.table import Table

    from polymodal.training.checking import SHOWN

    console = Console(highlight=False)
    for findings in found.values():
        for heading, preview in findings.previews:
            console.rule(heading)
            console.print(preview)
    table = Table(box=None, header_style="bold", pad_edge=False)
    heads = ("source", "rows", "errors", "min", "median", "95 %", "max", "supervised", "positions an epoch")
    for heading in heads:
        table.add_column(heading, justify="left" if heading == "source" else "right")
    for name, s in report["sources"].items():
        rows = f"{s['rows']:,}" if s["checked"] == s["rows"] else f"{s['checked']:,} of {s['rows']:,}"
        shown = (str(s["errors"]["count"]), *(str(s["positions"][q]) for q in ("min", "median", "p95", "max")))
        label = f"{name} (held out)" if s["held_out"] else name
        table.add_row(label, rows, *shown, f"{s['supervised_share']:.0%}", f"{s['positions_per_epoch']:,}")
    console.rule("lengths in positions")
    console.print(table)
    for name, s in report["sources"].items():
        for modality, m in s["media"].items():
            size = f"{m['cache_bytes'] / 1e6:,.3g} MB of features in a cache"
            line = (
                f"{name}: {m['items']:,} {modality} items, {m['unique']:,} distinct, {m['positions']:,} positions, {size}"
            )
            console.print(line, soft_wrap=True)
    how = (
        "every distinct item was decoded" if report["media"] == "decoded" else "headers only (--fast); nothing was decoded"
    )
    console.print(f"media: {how}", style="dim")
    for stage in report["stages"]:
        plan = f"{stage['steps']:,} steps of {stage['batch']}, {stage['positions']:,} positions"
        time = f", {_duration(stage['seconds'])}" if stage["seconds"] is not None else ""
        console.print(f"{stage['name']}: {plan}, {stage['padding']:.0%} padding (grouping {stage['grouping']}){time}")
    for modality, seconds in report["encode_seconds"].items():
        console.print(f"encoding the distinct {modality} items once: {_duration(seconds)}")
    for name, s in report["sources"].items():
        for what, warning in s["warnings"].items():
            said = f"{what}: {warning['count']:,} ({', '.join(warning['rows'])}{', ...' * (warning['count'] > SHOWN)})"
            console.print(f"warning: {name}: {said}", style="yellow", soft_wrap=True)
    for leak in report["leaks"]:
        said = f"{leak['items']:,} {leak['modality']} items of the held-out '{leak['held_out']}' are in '{leak['trained']}'"
        console.print(f"warning: {said}", style="yellow", soft_wrap=True)


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.3g} min" if seconds < 7200 else f"{seconds / 3600:.3g} h"


@contextmanager
def _bar(name: str, total: int) -> Iterator[Any]:
    """One line on stderr, with the time that is left."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as display:
        task = display.add_task(name, total=total)
        yield lambda: display.advance(task)
