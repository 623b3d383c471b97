"""The table of benchmarks/output_designs.py. Decides what is told of each row: every attribute by itself beside all three,
for combinations that were held out and for those that were not, what each seed reached, and what it cost."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw

import attribute_grid as grid

Rights = list[list[bool]]  # of each sample, which attributes are as asked
SEEDS = (0, 1, 2)
BASELINES = (
    "judge on real pictures",
    "generator, own text encoder",
    "feature decoder, own image encoder",
    "codec, real pictures",
)
HELD = ("held colour", "held shape", "held quarter", "held all")
SEEN = ("seen colour", "seen shape", "seen quarter", "seen all")
COSTS = {"trained": "trained", "train s": "train_s", "s a sample": "sample_s", "repeats": "repeats"}
CROSSED = "another asked for"
COLUMNS = ("", "n", *HELD, "each seed", CROSSED, *SEEN, *COSTS)


def shares(rights: Rights) -> list[float]:
    """Of samples, the share that is right about each attribute, and about all."""
    table = torch.tensor(rights, dtype=torch.float)
    return [*table.mean(0).tolist(), table.prod(1).mean().item()]


def table(results: dict[str, Any], families: Sequence[str], crossed: Mapping[str, Sequence[float]]) -> list[dict[str, Any]]:
    """A row for each baseline, family and control; of a family, the samples of all seeds together, and each seed.
    `crossed`: of a run, the shares that are right if another was asked for."""
    rows = [_row(name, [results[name]]) for name in BASELINES if name in results]
    guess = [1 / size for size in grid.SIZES]
    for name, held, seen in (
        ("best constant guess", 1 / len(grid.HELD), 1 / len(grid.SEEN)),
        ("chance", 1 / len(grid.ALL), 1 / len(grid.ALL)),
    ):
        rows.append(
            {"": name} | dict(zip(HELD, [*guess, held], strict=True)) | dict(zip(SEEN, [*guess, seen], strict=True))
        )
    for family in families:
        runs = [f"{family}-{seed}" for seed in SEEDS if f"{family}-{seed}" in results]
        if runs:
            others = [crossed[run][3] for run in runs if run in crossed]
            told = {CROSSED: sum(others) / len(others)} if others else {}
            rows.append(_row(family, [results[run] for run in runs]) | told)
        if f"{family}-shuffled" in results:
            rows.append(_row(f"{family}, shuffled", [results[f"{family}-shuffled"]]))
    return [{key: row.get(key, "") for key in COLUMNS} for row in rows]


def _row(name: str, found: list[dict[str, Any]]) -> dict[str, Any]:
    row: dict[str, Any] = {"": name, "n": sum(len(result.get("held", [])) for result in found)}
    for side, keys in (("held", HELD), ("seen", SEEN)):
        rights = [right for result in found for right in result.get(side, [])]
        row |= dict(zip(keys, shares(rights), strict=True)) if rights else {}
    each = [shares(result["held"])[3] for result in found if "held" in result]
    row["each seed"] = " ".join(f"{share:.2f}" for share in each) if len(each) > 1 else ""
    for key, of in COSTS.items():
        told = [result[of] for result in found if of in result]
        if told:
            row[key] = told[0] if of == "trained" else sum(told) / len(told)
    return row


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """The table as the page has it."""

    def cell(value: Any) -> str:
        return f"{value:,}" if isinstance(value, int) else f"{value:.2f}" if isinstance(value, float) else str(value)

    lines = [list(COLUMNS), ["---"] * len(COLUMNS), *([cell(row[key]) for key in COLUMNS] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


ZOOM, LABEL = 3, 150  # of pictures in the contact sheet, and the room for the names of its rows


def contact(folder: Path, names: Sequence[str]) -> Image.Image:
    """What was made of one sample of each held-out combination: a column each. Rows: real pictures, then runs by name, as
    far as they are there; their strips lie in the folder."""
    noise = np.random.default_rng(11)
    strips = [("real", strip([grid.drawn(combination, noise) for combination in grid.HELD]))]
    strips += [(name, Image.open(folder / f"{name}.png")) for name in names if (folder / f"{name}.png").is_file()]
    width, height = strips[0][1].width * ZOOM, (grid.SIDE + 1) * ZOOM
    out = Image.new("RGB", (LABEL + width, height * len(strips)), "white")
    for i, (name, row) in enumerate(strips):
        out.paste(row.resize((width, grid.SIDE * ZOOM), Image.Resampling.NEAREST), (LABEL, i * height))
        ImageDraw.Draw(out).text((4, i * height + 16), name, fill="black", font_size=15)
    return out


def strip(pictures: Sequence[Image.Image | None]) -> Image.Image:
    """Pictures in a row; white where there is none."""
    out = Image.new("RGB", (len(pictures) * (grid.SIDE + 1), grid.SIDE), "white")
    for i, picture in enumerate(pictures):
        if picture is not None:
            out.paste(picture.resize((grid.SIDE, grid.SIDE)), (i * (grid.SIDE + 1), 0))
    return out


def unstrip(row: Image.Image) -> list[Image.Image]:
    """The pictures of a strip."""
    side = grid.SIDE
    return [row.crop((x, 0, x + side, side)) for x in range(0, row.width, side + 1)]


def fill(page: Path, text: str) -> None:
    """Put the table between the page's marks. Raises ValueError if it has none."""
    marks = re.compile(r"(<!-- table -->\n).*?(<!-- end of table -->)", re.S)
    before = page.read_text(encoding="utf-8")
    if not marks.search(before):
        raise ValueError(f"{page} has no marks '<!-- table -->' and '<!-- end of table -->'")
    page.write_text(marks.sub(lambda found: f"{found[1]}{text}\n{found[2]}", before), encoding="utf-8")
