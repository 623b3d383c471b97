"""The commands `polymodal corpus list | build | stats | show`. Decides how building data looks in a terminal.

Results go to stdout, progress to stderr. Errors a user can cause are one line, printed by the main command.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from polymodal.cli_assets import fetch_bar
from polymodal.errors import DataError

app = typer.Typer(name="corpus", help="Training data built from fetched packages.", no_args_is_help=True)

Names = Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="Corpora or sets, such as: nano")]
BuiltNames = Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="Corpora; by default all built.")]
Root = Annotated[Path | None, typer.Option("--root", help="Cache folder, if not the usual one.")]
Json = Annotated[bool, typer.Option("--json", help="Machine-readable.")]
_TABLES = ("split", "vendor", "category")


@app.command("list")
def list_corpora(root: Root = None, as_json: Json = False) -> None:
    """Show every corpus, what it is made of and whether it is built."""
    from rich.console import Console
    from rich.table import Table

    from polymodal import corpora

    rows: list[dict[str, Any]] = [
        {
            "name": name,
            "tier": corpus.tier,
            "about": corpus.about,
            "assets": list(corpus.assets),
            "items": corpora.manifest(name, root)["items"] if corpora.is_built(name, root) else None,
        }
        for name, corpus in corpora.EVERY.items()
    ]
    if as_json:
        typer.echo(json.dumps(rows, ensure_ascii=False, indent=2))
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in ("name", "tier", "items", "about", "from assets"):
        table.add_column(heading, justify="right" if heading == "items" else "left", no_wrap=heading == "name")
    for row in rows:
        built = "[dim]not built[/]" if row["items"] is None else f"{row['items']:,}"
        table.add_row(row["name"], row["tier"], built, row["about"], f"[dim]{', '.join(row['assets'])}[/]")
    console = Console()
    console.print(table)
    for name, members in corpora.SETS.items():
        console.print(f"\n[bold]{name}[/] = {' + '.join(members)}", highlight=False)


@app.command()
def build(
    names: Names = None,
    tier: Annotated[str | None, typer.Option(help="All corpora of tier S, M (and S) or L (and S, M).")] = None,
    tested: Annotated[
        bool, typer.Option("--tested", help="Only what no training reads, into a --root of its own.")
    ] = False,
    root: Root = None,
) -> None:
    """Build corpora, fetching what they are made of. Continues after an interruption; does nothing for what is built.

    Example: `polymodal corpus build --tier S`
    """
    from polymodal import assets, corpora

    if tier is not None and tier not in corpora.TIERS:
        raise DataError(f"no tier '{tier}' (choose from: {', '.join(corpora.TIERS)})")
    if not names and tier is None:
        raise DataError("name the corpora to build, or say --tier; `polymodal corpus list` shows them")
    chosen = corpora.expand(names or [], tier)
    if tested and root is None:
        raise DataError("--tested builds corpora without their training items: name a --root of their own")
    home = None if tested else root  # of the usual cache
    for asset in dict.fromkeys(asset for name in chosen for asset in corpora.EVERY[name].assets):
        if assets.state(asset, root=home) != "ready":
            with fetch_bar(asset) as progress:
                assets.fetch(asset, progress, root=home)
    for name in chosen:
        with _bar(name) as report:
            folder = corpora.build_tested(name, root, report) if tested and root else corpora.build(name, root, report)
        typer.echo(f"{name}  {corpora.manifest(name, root)['items']} items  {folder}")


@app.command()
def stats(names: BuiltNames = None, root: Root = None, as_json: Json = False) -> None:
    """Count the items of built corpora by split, vendor and category."""
    from rich.console import Console

    from polymodal import corpora

    chosen = corpora.expand(names) if names else [name for name in corpora.EVERY if corpora.is_built(name, root)]
    manifests = [corpora.manifest(name, root) for name in chosen]
    if as_json:
        typer.echo(json.dumps(manifests, ensure_ascii=False, indent=2))
        return
    console = Console(highlight=False)
    for found in manifests:
        share = found["quarantined"] / max(1, found["items"] + found["quarantined"] + found["ambiguous"])
        left_out = f"{found['quarantined']} in quarantine ({share:.1%}), {found['ambiguous']} dropped as ambiguous"
        console.print(f"[bold]{found['name']}[/]  {found['items']:,} items, {found['bytes'] / 1e6:.0f} MB; {left_out}")
        for field in _TABLES:
            counts = "  ".join(f"{value} {number:,}" for value, number in found[field].items())
            console.print(f"  [dim]{field:9}[/] {counts or '-'}", soft_wrap=True)


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="A built corpus.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Page to write: .png (pictures) or .html (all).")],
    count: Annotated[int, typer.Option(min=1, help="Samples on the page.")] = 96,
    split: Annotated[str | None, typer.Option(help="Only this split.")] = None,
    vendor: Annotated[str | None, typer.Option(help="Only this vendor.")] = None,
    category: Annotated[str | None, typer.Option(help="Only this category.")] = None,
    seed: Annotated[int, typer.Option(help="Another seed, other samples.")] = 0,
    root: Root = None,
) -> None:
    """Write one page of samples to look at (or listen to).

    Example: `polymodal corpus show emoji --category bird --out birds.png`
    """
    from polymodal import corpora
    from polymodal.corpora import contact_sheet

    wanted = {"split": split, "vendor": vendor, "category": category}
    items = [
        item
        for item in corpora.read(name, root)
        if all(value is None or getattr(item, field) == value for field, value in wanted.items())
    ]
    contact_sheet.save(contact_sheet.sample(items, count, seed), out)
    typer.echo(f"{min(count, len(items))} of {len(items)} items  {out}")


@app.command()
def names(
    corpora_: Annotated[list[str], typer.Argument(metavar="NAME...", help="Built corpora.")],
    words: Annotated[int, typer.Option(min=1, help="Leave out names of more words.")] = 3,
    root: Root = None,
) -> None:
    """Print the concepts of the training items, one a line: what a `tags` projector may say.

    Example: `polymodal corpus names emoji emoji-3d > names.txt`
    """
    from polymodal import corpora

    found = {
        item.concept for name in corpora.expand(corpora_) for item in corpora.read(name, root) if item.split == "train"
    }
    typer.echo("\n".join(sorted(name for name in found if len(name.split()) <= words)))


@contextmanager
def _bar(name: str) -> Iterator[Callable[[int, int], None]]:
    """One line on stderr, with the time that is left."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(file=sys.stderr), transient=True) as display:
        task = display.add_task(name, total=None)
        yield lambda done, total: display.update(task, completed=done, total=total)
