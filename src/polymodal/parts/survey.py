"""The components that two surveys of multimodal LLMs name (arXiv 2401.13601 and 2402.12451), and what builds each here.

Decides what may be claimed of a component: `survey.yaml` beside this file has a row for every one of them, a test builds
and runs every row that claims to run, and what is not there says why. The page of the docs and `polymodal parts list` are
made of these rows.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict

State = Literal["runs with real weights", "runs tiny", "architecture only", "not yet"]

MEANING: dict[State, str] = {
    "runs with real weights": "an asset holds weights of it, and a test runs them",
    "runs tiny": "a test builds and runs it at tiny width; where the recipe has a `path`, from a checkpoint that "
    "transformers or diffusers saved of the class that the published one is of; *unverified on real weights* in the note: "
    "from one with the names and shapes of its authors' code. The published one itself was never loaded here",
    "architecture only": "a test builds and runs it at tiny width; there are no weights, or they cannot be read",
    "not yet": "nothing here builds it",
}


class Row(BaseModel):
    """One component. `role`: where it stands in a model. `recipe`: what a recipe says to have it; None if nothing does.
    `model_type`: that of the checkpoint at the recipe's `path`, if it is one of transformers. `note`: what is missing, or
    the nearest that there is."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    name: str
    role: str
    takes: list[str]
    state: State
    recipe: dict[str, Any] | None = None
    model_type: str | None = None
    note: str = ""


@cache
def rows() -> tuple[Row, ...]:
    """Every component, in the order of a model's parts."""
    data = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
    return tuple(Row(id=name, role=role, **row) for role, members in data.items() for name, row in members.items())


def recipe_text(row: Row) -> str:
    """The recipe of a row in one line of YAML; empty if it has none."""
    if row.recipe is None:
        return ""
    return yaml.safe_dump(row.recipe, default_flow_style=True, sort_keys=False, width=10**6).strip()


def markdown() -> str:
    """The page of the docs: what the states mean, how many rows have each, and a table of each role."""
    every = rows()
    lines = ["# Parts of the surveys", "", _INTRODUCTION, "", "| state | rows | |", "|---|---|---|"]
    lines += [f"| {s} | {sum(row.state == s for row in every)} | {meaning} |" for s, meaning in MEANING.items()]
    for role in dict.fromkeys(row.role for row in every):
        lines += [
            "",
            f"## {role[0].upper()}{role[1:]}s",
            "",
            "| component | takes | state | recipe | |",
            "|---|---|---|---|---|",
        ]
        for row in every:
            if row.role == role:
                recipe = f"`{recipe_text(row)}`" if row.recipe else ""
                lines.append(f"| {row.name} | {', '.join(row.takes)} | {row.state} | {recipe} | {row.note} |")
    return "\n".join(lines) + "\n"


_INTRODUCTION = """\
Every component that two surveys of multimodal LLMs name (arXiv 2401.13601 and 2402.12451), and what builds it here.
`polymodal parts list --markdown` writes this page, `polymodal parts list --json` says the same to a program, and a test
builds and runs every row that claims to run. A recipe stands where [Compose a model](guide/compose.md) says; those of
backbones with a `config` need a `tokenizer` beside it. Hub ids are as the surveys' authors and ours remember them."""
