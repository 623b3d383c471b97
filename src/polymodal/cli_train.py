"""`polymodal train`: the loop with a progress line a person can live with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from polymodal.model.config import read_yaml
from polymodal.training.loop import train
from polymodal.training.stage import TrainRecipe, train_recipe


def run(file: Path, overrides: Sequence[str]) -> None:
    """Train a recipe file, showing one bar per stage on stderr."""
    recipe = train_recipe(read_yaml(file, overrides), str(file))
    console = Console(stderr=True, highlight=False)
    _announce(console, recipe)
    columns = (
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[line]}"),
    )
    with Progress(*columns, console=console) as progress:
        bars = {stage.name: progress.add_task(stage.name, total=stage.steps, line="") for stage in recipe.stages}

        def show(row: dict[str, Any]) -> None:
            loss = "  ".join(f"{name} {value:.3f}" for name, value in row["loss"].items())
            line = f"{loss}  {row['examples_per_s']:.1f}/s  wait {row['data_wait']:.0%}  pad {row['padding']:.0%}"
            progress.update(bars[row["stage"]], completed=row["step"], line=line)

        train(recipe, on_log=show)
    console.print(f"The model is in {recipe.run.folder}/model; ask it with --model {recipe.run.folder}/model")


def _announce(console: Console, recipe: TrainRecipe) -> None:
    for stage in recipe.stages:
        learns = ", ".join(f"{pattern} at {rate:g}" for pattern, rate in stage.train.items())
        console.print(f"[bold]{stage.name}[/]: {stage.steps} steps of {stage.batch}; {learns}; {stage.objectives}")
