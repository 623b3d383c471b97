"""The command `polymodal parts list`. Decides how the components of the surveys are shown: a table for people, an array for
programs, and the page of the docs."""

from __future__ import annotations

import json
from typing import Annotated

import typer

app = typer.Typer(name="parts", help="The components that the surveys name.", no_args_is_help=True)

_COLOURS = {"runs with real weights": "green", "runs tiny": "cyan", "architecture only": "yellow", "not yet": "dim"}


@app.callback()
def parts() -> None:
    """The components that the surveys name."""


@app.command("list")
def list_parts(
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable, one array.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="The page of the docs.")] = False,
) -> None:
    """Show every component that the surveys name, what builds it here, and how far that goes.

    Example: `polymodal parts list --json`
    """
    from polymodal.parts import survey

    if as_json:
        typer.echo(json.dumps([row.model_dump() for row in survey.rows()], ensure_ascii=False, indent=2))
        return
    if markdown:
        typer.echo(survey.markdown(), nl=False)
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in ("component", "role", "takes", "state", "recipe, or what is missing"):
        table.add_column(heading, no_wrap=heading == "component")
    for row in survey.rows():
        says = escape(survey.recipe_text(row) or row.note)
        table.add_row(row.name, row.role, ", ".join(row.takes), f"[{_COLOURS[row.state]}]{row.state}[/]", says)
    Console().print(table)
