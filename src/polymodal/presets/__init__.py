"""Published systems as recipes: one YAML per system beside this file. Decides what may be claimed of a system.

A preset is a training recipe without places: `about`, and if everything that the system is made of exists here, `model` and
`stages`, which the readers of recipes read (`model.config`, `training.stage`). Its state follows from what it holds and is
never written down, and a test composes every one that has a model, takes a step in each stage and has it answer. The page
of the docs and `polymodal presets list` are made of these files; a system that is not there yet says what it lacks, and
becomes a preset by gaining a `model`.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field

from polymodal.errors import RecipeError, nearest
from polymodal.parts import survey
from polymodal.parts.checkpoints import SEVERAL

State = Literal["runs tiny", "architecture only", "in part", "not yet"]

MEANING: dict[State, str] = {
    "runs tiny": "a test composes it at tiny width with random weights, takes a step in each of its stages and has it "
    "answer, and make what it makes. The checkpoints that it names were never loaded here",
    "architecture only": "as that; a part begins with random weights, because none were published or the paper does so",
    "in part": "as that, but what the last column names is missing",
    "not yet": "it needs a part that nothing here builds, which the last column names",
}


class About(BaseModel):
    """`paper`: `arXiv:ID` or an address. `table`: it is a system of Table 1 of the survey 2401.13601. `takes`: what the
    paper feeds it beside text; `makes`: what it answers with beside text. `design`: the paper's parts, in order. `checked`:
    what the stages were compared with. `differs`: what the paper does otherwise. `missing`: ids of `parts/survey.yaml`, or
    words."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    paper: str
    year: int
    takes: list[str]
    makes: list[str] = Field(default_factory=list)
    design: str
    table: bool = False
    checked: str = ""
    differs: list[str] = Field(default_factory=list)
    missing: list[str] = Field(default_factory=list)


class Preset(BaseModel):
    """`id`: the name on the command line and of the file. `model`, `stages`: as in a recipe, before they are validated,
    which needs what `list` should not wait for."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    about: About
    model: dict[str, Any] | None = None
    stages: list[dict[str, Any]] = Field(default_factory=list)

    @property
    def state(self) -> State:
        if self.model is None:
            return "not yet"
        if self.about.missing:
            return "in part"
        encoders = [one for part in self.model.get("inputs", {}).values() for one in _each(part["encoder"])]
        generators = [part["generator"] for part in self.model.get("outputs", {}).values()]
        parts = [self.model["backbone"], *encoders, *(part for part in generators if part["kind"] not in _WEIGHTLESS)]
        return "runs tiny" if all("path" in part for part in parts) else "architecture only"

    @property
    def pipeline(self) -> str:
        """What the recipe is made of, in a line; empty if there is none."""
        if self.model is None:
            return ""
        backbone = self.model["backbone"]
        parts = [[_named(part["encoder"]), *_kinds(part)] for part in self.model.get("inputs", {}).values()]
        into = "; ".join(" → ".join(names) for names in parts)
        made = [[part["span"]["kind"], *_kinds(part), _named(part["generator"])] for part in self._outputs]
        out = "; ".join(" → ".join(names) for names in made)
        return " → ".join(filter(None, [into, _named(backbone), out]))

    @property
    def _outputs(self) -> list[dict[str, Any]]:
        return list((self.model or {}).get("outputs", {}).values())

    @property
    def lacks(self) -> list[str]:
        """What is missing, in words."""
        names = {row.id: row.name for row in survey.rows()}
        return [names.get(part, part) for part in self.about.missing]

    def to_json(self) -> dict[str, Any]:
        return {"id": self.id, "state": self.state, "pipeline": self.pipeline, **self.model_dump(exclude={"id"})}


def file(name: str) -> Path:
    """Where a preset is written: a recipe to read, or to copy. Raises `RecipeError` with the nearest name."""
    if name not in names():
        raise RecipeError(f"there is no preset '{name}'{nearest(name, names())}")
    return Path(__file__).with_name(f"{name}.yaml")


@cache
def names() -> tuple[str, ...]:
    return tuple(sorted(path.stem for path in Path(__file__).parent.glob("*.yaml")))


@cache
def load(name: str) -> Preset:
    """One preset. Raises `RecipeError` with the nearest name."""
    return Preset(id=name, **yaml.safe_load(file(name).read_text(encoding="utf-8")))


def every() -> list[Preset]:
    """All of them, in the order of their papers."""
    return sorted(map(load, names()), key=lambda preset: (preset.about.year, _number(preset.about.paper), preset.id))


def markdown() -> str:
    """The page of the docs: what the states mean, how many systems have each, and a table."""
    systems = every()
    lines = ["# Published systems", "", _INTRODUCTION, "", "| state | systems | |", "|---|---|---|"]
    lines += [f"| {s} | {sum(preset.state == s for preset in systems)} | {says} |" for s, says in MEANING.items()]
    lines += ["", "| preset | paper | takes | makes | state | design of the paper | missing |"]
    lines += ["|---|---|---|---|---|---|---|"]
    for preset in systems:
        about, mark = preset.about, "" if preset.about.table else " *"
        media = ", ".join(about.takes), ", ".join(about.makes)
        said = (about.paper, *media, preset.state, about.design, ", ".join(preset.lacks))
        lines.append(f"| `{preset.id}`{mark} | " + " | ".join(said) + " |")
    lines += ["", "\\* not a row of the survey's Table 1.", "", "## What differs from the papers", ""]
    lines += [f"- `{preset.id}`: {'; '.join(preset.about.differs)}." for preset in systems if preset.about.differs]
    return "\n".join(lines) + "\n"


def _each(encoder: dict[str, Any]) -> list[dict[str, Any]]:
    """An encoder, or those that stand side by side in it."""
    return list(encoder["of"].values()) if encoder["kind"] in SEVERAL else [encoder]


_WEIGHTLESS = "patches", "retrieval"  # kinds of generators that have no weights to be had


def _named(part: dict[str, Any]) -> str:
    if part.get("kind") in SEVERAL:
        return " + ".join(map(_named, part["of"].values()))
    return part.get("path") or part.get("config", {}).get("model_type") or part["kind"]


def _kinds(part: dict[str, Any]) -> list[str]:
    return [part[role]["kind"] for role in ("projector", "fusion") if role in part]


def _number(paper: str) -> str:
    return paper.removeprefix("arXiv:") if paper.startswith("arXiv:") else "9999"


_INTRODUCTION = """\
The understanding and the generating systems of Table 1 of a survey of multimodal LLMs (arXiv 2401.13601), every other
system of that survey and of a second one (arXiv 2402.12451) that makes media, and others that are often named, as
[recipes](guide/presets.md). `polymodal presets list --markdown` writes this page, `polymodal presets list --json` says the
same to a program, and a test composes every one that has a recipe, trains it for a step in each stage, asks it, and has it
make a medium of each of its outputs."""
