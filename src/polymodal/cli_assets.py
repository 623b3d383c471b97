"""The commands `polymodal assets list | fetch | verify`. Decides how fetching looks in a terminal.

Results go to stdout, progress to stderr. An error a user can cause is one line and exit code 2.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from polymodal.errors import AssetError

app = typer.Typer(name="assets", help="Weights and data: what there is, get it, check it.", no_args_is_help=True)

CatalogOption = Annotated[
    Path | None, typer.Option("--catalog", metavar="FILE", help="A catalogue of your own, of the form of catalog.yaml.")
]
Names = Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="Assets or sets, such as: nano")]

_COLOURS = {"ready": "green", "absent": "dim", "outdated": "yellow", "damaged": "red"}


@app.command("list")
def list_assets(
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable, one array.")] = False,
    catalog: CatalogOption = None,
) -> None:
    """Show every asset, its licence and whether it is here."""
    from rich.table import Table

    from polymodal import assets

    with _one_line_errors():
        known = _catalog(catalog)
        rows = [
            {
                "name": asset.name,
                "role": asset.role,
                "about": asset.about,
                "mb": asset.mb,
                "licence": asset.licence,
                "source": asset.origin,
                "state": assets.state(asset.name, catalog=known),
                "note": asset.note,
            }
            for asset in known.assets.values()
        ]
    if as_json:
        typer.echo(json.dumps(rows, ensure_ascii=False, indent=2))
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in ("name", "role", "MB", "source", "state", "licence"):
        table.add_column(heading, justify="right" if heading == "MB" else "left", no_wrap=heading == "name")
    for row in rows:
        kind, state = str(row["source"]).split()[0], str(row["state"])
        mb = f"{row['mb']:.0f}" if row["mb"] >= 1 else f"{row['mb']}"
        table.add_row(row["name"], row["role"], mb, kind, f"[{_COLOURS[state]}]{state}[/]", row["licence"])
    console = Console()
    console.print(table)
    for name, members in known.sets.items():
        console.print(f"\n[bold]{name}[/] = {' + '.join(members)}", highlight=False)
    console.print(f"\nkept in {assets.root()}", highlight=False, soft_wrap=True)


@app.command()
def fetch(
    names: Names = None,
    everything: Annotated[bool, typer.Option("--all", help="Every asset of the catalogue.")] = False,
    catalog: CatalogOption = None,
) -> None:
    """Get assets and make them ready. Continues after an interruption; does nothing for what is ready."""
    from polymodal import assets

    with _one_line_errors():
        if everything == bool(names):
            raise AssetError("name the assets to fetch, or say --all; `polymodal assets list` shows them")
        known = _catalog(catalog)
        for name in list(known.assets) if everything else known.expand(names or []):
            with fetch_bar(name) as progress:
                folder = assets.fetch(name, progress, catalog=known)
            typer.echo(f"{name}  {folder}")


@app.command()
def verify(names: Names = None, catalog: CatalogOption = None) -> None:
    """Hash every file of these assets again; without names, of all that are here. Goes on after a damaged one."""
    from polymodal import assets

    failed = False
    with _one_line_errors():
        known = _catalog(catalog)
        chosen = known.expand(names) if names else [n for n in known.assets if assets.state(n, catalog=known) != "absent"]
    for name in chosen:
        try:
            assets.verify(name, catalog=known)
            typer.echo(f"{name}  ok")
        except AssetError as error:
            typer.echo(str(error), err=True)
            failed = True
    if failed:
        raise typer.Exit(2)


def _catalog(path: Path | None):  # -> polymodal.assets.catalog.Catalog, not imported at start-up
    from polymodal.assets import catalog

    return catalog.load(path) if path else catalog.builtin()


@contextmanager
def _one_line_errors() -> Iterator[None]:
    try:
        yield
    except AssetError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from None


@contextmanager
def fetch_bar(name: str) -> Iterator[Callable]:
    """One line on stderr while an asset is fetched: the step, and a bar with bytes where they can be counted."""
    from rich.progress import BarColumn, DownloadColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Display

    from polymodal.assets import Progress

    columns = (
        SpinnerColumn(),
        TextColumn("{task.fields[asset]}"),
        TextColumn("[dim]{task.description}"),
        BarColumn(bar_width=24),
        DownloadColumn(),
        TimeElapsedColumn(),
    )
    console = Console(file=sys.stderr)  # bound now: a conversion silences sys.stderr meanwhile
    with Display(*columns, console=console, transient=True, disable=not console.is_terminal) as display:

        def show(progress: Progress) -> None:
            if [task.description for task in display.tasks] != [progress.step]:  # a new step is a new task
                for task in display.tasks:
                    display.remove_task(task.id)
                display.add_task(progress.step, asset=name, total=progress.total)
            # A client may hold the bytes twice for a moment (its temporary file and the copy), hence the minimum.
            done = min(progress.done or 0, progress.total or progress.done or 0)
            display.update(display.task_ids[0], completed=done)

        yield show
