"""The picture of a pipeline, in text. Decides that it is read from top to bottom as data flows, with a column for each
stage of training, and that every number in it was counted on the composed model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from polymodal.model.report import span_text
from polymodal.presets import Preset

if TYPE_CHECKING:
    from polymodal.presets.composing import Anatomy

COLOURS = {"runs tiny": "green", "architecture only": "yellow", "in part": "cyan", "not yet": "dim"}
_BOX = 48  # characters of a part, its frame included
_OF = {
    "image": "a picture",
    "audio": "10 s of sound",
    "video": "10 s of video",
    "points": "a cloud of points",
    "imu": "10 s of sensors",
    "depth": "a depth map",
    "thermal": "a thermal picture",
    "segmentation": "a drawing of segments",
}

_MADE = {"image": "a picture", "audio": "a recording", "video": "a clip"}


def draw(preset: Preset, body: Anatomy | None) -> Group:
    """A preset for people. `body`: what it is made of, None if it is not there yet."""
    inside: list[RenderableType] = [] if body is None else [_pipeline(preset, body), _stages(body)]
    return Group(*_title(preset), *inside, *_notes(preset))


def _title(preset: Preset) -> list[RenderableType]:
    about = preset.about
    head = Text.assemble((about.name, "bold"), f"   {about.paper}, {about.year}   ", (preset.state, COLOURS[preset.state]))
    return [head, Text(about.design, "italic"), Text()]


def _pipeline(preset: Preset, body: Anatomy) -> Table:
    grid = Table(box=None, show_header=bool(body.stages), pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    grid.add_column("", width=_BOX)
    for stage in body.stages:
        grid.add_column(stage.name, justify="center", vertical="middle")
    model: dict[str, Any] = preset.model or {}
    for name, part in model.get("inputs", {}).items():
        n, width = body.features[name]
        grid.add_row(_wire(_OF[name]))
        for role, recipe in (("encoder", part["encoder"]), ("projector", part["projector"])):
            _add(grid, f"{name} {role}", f"inputs.{name}.{role}", recipe, body)
            if role == "encoder":
                grid.add_row(_wire(f"{n:,} feature{'s' if n != 1 else ''} of {width:,}"))
        positions = body.report["positions"][name]
        if "fusion" in part:
            grid.add_row(_wire(f"{body.projected[name]:,} features of {body.width:,}"))
            _add(grid, f"{name} fusion", f"inputs.{name}.fusion", part["fusion"], body)
        grid.add_row(_wire(f"{positions:,} position{'s' if positions != 1 else ''} of {body.width:,}"))
    for name, recipe in model.get("shared", {}).items():
        _add(grid, f"shared {name}", f"shared.{name}", recipe, body)
    _add(grid, "backbone", "backbone", model["backbone"], body)
    grid.add_row(_wire("text"))
    for name, output in model.get("outputs", {}).items():
        span = body.report["spans"][name]
        held, takes = span_text(span)
        _add(grid, f"{name} tokens", f"outputs.{name}.tokens", {**output["span"], **_tap(output)}, body)
        grid.add_row(_wire(held))
        if span["kind"] in ("signals", "latents"):
            projector = output.get("projector", {"kind": "flow"})
            _add(grid, f"{name} projector", f"outputs.{name}.projector", projector, body)
            grid.add_row(_wire(takes))
        _add(grid, f"{name} generator", f"outputs.{name}.generator", output["generator"], body)
        grid.add_row(_wire(_MADE[span["modality"]]))
    return grid


def _tap(output: dict[str, Any]) -> dict[str, Any]:
    """What is said of the states that a span is made of."""
    tap = output.get("tap", {})
    said = {key: tap[key] for key in ("layer", "where") if key in tap}
    return said | ({"embeddings": "added"} if tap.get("add_inputs") else {})


def _add(grid: Table, title: str, part: str, recipe: dict[str, Any], body: Anatomy) -> None:
    """A part in its frame, and in each stage whether it learns."""
    config = recipe.get("config", {})
    options = _said({key: value for key, value in recipe.items() if key not in ("kind", "path", "config", "tokenizer")})
    size = f"{_count(body.size(part))} parameters"
    projector = recipe["of"] if recipe.get("kind") == "projector" else recipe
    reads = title != "backbone" and "tokenizer" in projector
    if reads or (title == "backbone" and "config" in recipe and "vocab_size" not in config):
        size += " and its vocabulary"  # as large as its tokenizer, which is not fetched
    if recipe.get("kind") == "voice":
        size = "a graph in a file"  # what was counted only stands for it
    first = "  ".join(filter(None, [recipe.get("kind"), recipe.get("path") or config.get("model_type")]))
    inside = Text("\n").join([Text(first, "bold"), Text(", ".join([*options, size]))])
    frame = Panel(inside, title=title, title_align="left", box=box.ROUNDED, width=_BOX, padding=(0, 1))
    grid.add_row(frame, *(_learns(stage, part, body) for stage in body.learning))


def _said(options: dict[str, Any]) -> list[str]:
    """Each option in words, those of a part inside another beside it."""
    inner = {key: " ".join(_said(value)) if isinstance(value, dict) else value for key, value in options.items()}
    return [f"{key} {' '.join(map(str, value)) if isinstance(value, list) else value}" for key, value in inner.items()]


def _learns(stage: dict[str, dict[float, int]], part: str, body: Anatomy) -> Text:
    own, adapters = stage.get(part, {}), stage.get(f"{part}.peft", {})
    said = []
    for rate, count in own.items():
        share = count / body.size(part)
        said.append(("learns" if share == 1 else f"{share:.1%} learns") + f"\n{_rate(rate)}")
    said += [f"{body.kind(f'{part}.peft')} {_count(count)}\n{_rate(rate)}" for rate, count in adapters.items()]
    return Text("\n" + "\n".join(said), "green" if own else "cyan") if said else Text("\nfrozen", "dim")


def _wire(says: str) -> Text:
    return Text.assemble("   │  ", (says, "yellow"))


def _stages(body: Anatomy) -> Group:
    lines = []
    for stage in body.stages:
        length = f"{stage.steps:,} steps" if stage.steps else f"{stage.epochs:g} epoch{'s' if stage.epochs != 1 else ''}"
        lines.append(Text.assemble((stage.name, "bold"), f": {length} of {stage.batch:,} from {', '.join(stage.data)}"))
    total = sum(row["parameters"] for row in body.report["parts"])
    return Group(Text(), *lines, Text(f"{_count(total)} parameters in all"))


def _notes(preset: Preset) -> list[RenderableType]:
    about = preset.about
    out: list[RenderableType] = []
    if about.checked:
        out.append(Text(f"Stages checked against {about.checked}."))
    for title, notes, style in (("Missing here", preset.lacks, "red"), ("Unlike the paper", about.differs, "")):
        if notes:
            out += [Text(), Text(title, "bold"), *(Text(f"  · {' '.join(note.split())}", style) for note in notes)]
    return out


def _count(parameters: int) -> str:
    for unit, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if parameters >= unit:
            return f"{parameters / unit:.3g} {letter}"
    return str(parameters)


def _rate(rate: float) -> str:
    """1e-3 rather than 0.001, as papers have it."""
    digits, exponent = f"{rate:e}".split("e")
    return f"{float(digits):g}e{int(exponent)}"
