"""The commands `polymodal presets ...`. Decides how published systems are shown: as a table, as a picture, as a model that
runs; to a program as JSON."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from polymodal.cli_console import console, quiet

app = typer.Typer(name="presets", help="Published systems as recipes.", no_args_is_help=True, rich_markup_mode="markdown")
Name = Annotated[str, typer.Argument(help="A preset, as `polymodal presets list` calls it.")]


@app.callback()
def presets() -> None:
    """Published systems as recipes: what each is made of, what learns in which stage, and what is missing here."""


@app.command("list")
def list_presets(
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable, one array.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="The page of the docs.")] = False,
) -> None:
    """Show every system: its paper, how far it goes here, and what it is made of or lacks.

    Example: `polymodal presets list --json`
    """
    from polymodal import presets

    if as_json:
        typer.echo(json.dumps([preset.to_json() for preset in presets.every()], ensure_ascii=False, indent=2))
        return
    if markdown:
        typer.echo(presets.markdown(), nl=False)
        return
    from rich.table import Table

    from polymodal.presets.drawing import COLOURS

    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in ("preset", "year", "takes", "state", "recipe, or what is missing"):
        table.add_column(heading, no_wrap=heading in ("preset", "state"))
    for preset in presets.every():
        says = preset.pipeline if preset.state != "not yet" else f"missing: {', '.join(preset.lacks)}"
        state = f"[{COLOURS[preset.state]}]{preset.state}[/]"
        table.add_row(preset.id, str(preset.about.year), ", ".join(preset.about.takes), state, says)
    console().print(table)


@app.command()
def show(
    name: Name,
    recipe: Annotated[bool, typer.Option("--recipe", help="Print the YAML, to begin a recipe of your own with.")] = False,
) -> None:
    """Draw a system from its media to its text: parts, widths, positions, and what learns in each stage. Nothing is
    fetched; every number is counted on the model at its own size, without its weights.

    Example: `polymodal presets show llava-1.5`

    Train it on data of yours, by adding `data` and `run`: `polymodal presets show llava-1.5 --recipe > mine.yaml`
    """
    from polymodal import presets

    preset = presets.load(name)
    if recipe:
        typer.echo(presets.file(name).read_text(encoding="utf-8"), nl=False)
        return

    from polymodal.presets.drawing import draw

    body = None
    if preset.model is not None:
        from polymodal.presets.composing import anatomy

        quiet()
        body = anatomy(preset)
    console().print(draw(preset, body))


@app.command()
def compose(
    name: Name,
    tiny: Annotated[bool, typer.Option("--tiny", help="Narrow parts with random weights, at once and offline.")] = False,
) -> None:
    """Compose a system. From the checkpoints that it names, which are fetched from the Hub, it shows what `polymodal
    compose` shows. With `--tiny`, it is run as well: forward once and a few tokens on, with the shape of every step.

    Example: `polymodal presets compose minigpt-4 --tiny`
    """
    from rich.table import Table

    from polymodal import presets
    from polymodal.model.composition import Composition
    from polymodal.model.report import describe, table
    from polymodal.presets import composing
    from polymodal.training.stage import plan

    quiet()
    preset = presets.load(name)
    model, stages = composing.recipe(preset)
    terminal = console()
    if not tiny:
        composition = Composition.from_recipe(model)
        terminal.print(table(describe(composition, plan(composition.model, composition.recipe, stages))))
        return
    with composing.composed_tiny(preset) as composition:
        steps = Table(box=None, header_style="bold", pad_edge=False)
        steps.add_column(f"{name}, tiny")
        steps.add_column("shape")
        for step, shape in composing.walk(composition):
            steps.add_row(step, shape.replace("[", r"\["))
        terminal.print(steps)
        terminal.print(table(describe(composition, plan(composition.model, composition.recipe, stages))))
