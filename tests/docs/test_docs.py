"""The pages say what the code does: their blocks run, their commands exist, their tables are complete."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest
import soundfile
import torch
import typer
import yaml
from PIL import Image

import polymodal
from polymodal import cli
from polymodal.content import Part, user
from polymodal.errors import RecipeError
from polymodal.model.composition import Composition
from polymodal.model.config import model_recipe
from polymodal.model.generation import Sampling
from polymodal.parts.encoders import ENCODERS
from polymodal.parts.input_projectors import INPUT_PROJECTORS
from polymodal.training.stage import train_recipe
from tests.conftest import LLAMA, WHISPER, picture, sound

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
GUIDE = ROOT / "docs/guide/add-an-encoder.md"
BLOCK = re.compile(r"^```(\w+)(?: title=\"([^\"]+)\")?\n(.*?)^```", re.M | re.S)


def blocks(page: Path, language: str) -> dict[str, str]:
    """Code blocks of a page by title (or place)."""
    found = enumerate(BLOCK.findall(page.read_text(encoding="utf-8")))
    return {title or str(i): body for i, (kind, title, body) in found if kind == language}


@pytest.fixture
def written(tmp_path, monkeypatch):
    """The guide's files, importable, in a folder of their own."""
    for language in ("python", "yaml"):
        for name, body in blocks(GUIDE, language).items():
            if "." in name:
                (tmp_path / name).write_text(body, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name in ("colour_grid", "patches", "mean_pool"):
        sys.modules.pop(name, None)


def tiny_with(tiny_recipe, encoder: dict, projector: dict) -> Composition:
    return Composition.from_recipe(tiny_recipe(image={"encoder": encoder, "projector": projector}))


def test_the_guides_encoder_is_at_most_forty_lines():
    assert len(blocks(GUIDE, "python")["colour_grid.py"].strip().splitlines()) <= 40


@pytest.mark.parametrize(
    ("encoder", "projector", "positions"),
    [
        ({"kind": "colour_grid.ColourGrid", "cells": 3}, {"kind": "linear"}, 9),
        ({"kind": "patches.Patches", "size": 32}, {"kind": "mlp"}, 4),
        ({"kind": "colour_grid.ColourGrid"}, {"kind": "mean_pool.MeanPool"}, 1),
    ],
)
def test_the_guides_parts_compose_answer_and_survive_a_checkpoint(encoder, projector, positions, written, tiny_recipe):
    model = tiny_with(tiny_recipe, encoder, projector)
    image = Image.new("RGB", (64, 48), "red")
    modality = model.model.modalities["image"]
    inputs = modality.prepare(image)
    assert len(modality.encoder([inputs]).tokens[0]) == modality.encoder.length(inputs)
    answer = model.ask("what is this?", images=[image], sampling=Sampling(max_new_tokens=4))
    assert answer.tokens["media"] == positions
    model.save(written / "saved")
    again = Composition.load(written / "saved")
    assert torch.equal(projected(again, image), projected(model, image))


@pytest.mark.parametrize(("option", "said"), [({"cels": 4}, "did you mean 'cells'"), ({"cells": "four"}, "'cells'")])
def test_the_guides_encoder_refuses_what_is_no_option_of_it(option, said, written, tiny_recipe):
    with pytest.raises(RecipeError, match=said):
        tiny_with(tiny_recipe, {"kind": "colour_grid.ColourGrid", **option}, {"kind": "linear"})


def projected(composition: Composition, image: Image.Image) -> torch.Tensor:
    items = composition.processor.encode([user(Part("image", media=image))], generate=True).media
    return composition.model.features(items)[0]


def test_the_guides_training_learns_colours(written, tokenizer_folder):
    """Its squares, its recipe, a smaller tokenizer: the loss falls below that of guessing a colour and a corner."""
    from polymodal.model.config import read_yaml
    from polymodal.training.loop import train

    exec(compile((written / "squares.py").read_text(), "squares.py", "exec"), {})
    overrides = [f"model.backbone.tokenizer={tokenizer_folder}", "stages.0.steps=120", f"run.folder={written}/run"]
    rows: list[dict] = []
    train(train_recipe(read_yaml(written / "squares.yaml", overrides)), rows.append)
    assert rows[-1]["loss"]["lm"] < 0.5 < rows[0]["loss"]["lm"]


def test_the_guides_recipes_and_the_readmes_are_valid():
    model_recipe(yaml.safe_load(blocks(GUIDE, "yaml")["colours.yaml"]))
    for page in (ROOT / "README.md", ROOT / "docs/guide/train.md", ROOT / "docs/guide/compose.md"):
        for body in blocks(page, "yaml").values():
            data = yaml.safe_load(body)
            if "stages" in data:
                train_recipe(data)
            elif "model" in data:
                model_recipe(data)


def test_the_repositorys_recipes_are_valid():
    for file in (ROOT / "recipes").rglob("*.yaml"):
        train_recipe(yaml.safe_load(file.read_text()), file.name)


def test_every_part_has_a_row_in_the_guide():
    page = (ROOT / "docs/guide/compose.md").read_text()
    for kind in (*ENCODERS, *INPUT_PROJECTORS):
        assert f"`{kind}`" in page, kind


def small(data: dict, tokenizer: str) -> dict:
    """A page's recipe with random weights where it names fetched ones, a tiny backbone, and few steps."""
    data["model"]["backbone"] = {"config": dict(LLAMA), "tokenizer": tokenizer, "chat_format": "chatml"}
    for part in data["model"]["inputs"].values():
        if part["encoder"].pop("path", None) and part["encoder"]["kind"] == "whisper":
            part["encoder"]["config"] = dict(WHISPER)
    for stage in data.get("stages", []):
        stage.update(steps=2, batch=2, grouping=1)
    if "run" in data:
        data["run"]["cache"] = "features"
    return data


@pytest.fixture
def reader(written, tiny, tokenizer_folder, monkeypatch):
    """What a reader of the pages has: their recipes, some media, some data, and a model called nano."""
    (written / "examples").mkdir()
    for name in ("cat.jpg", "coffee.jpg", "examples/cat.jpg"):
        picture(1).save(written / name)
    soundfile.write(written / "sentence.flac", *sound())
    rows = blocks(ROOT / "docs/guide/train.md", "json")
    (written / "cats").mkdir()
    picture(2).save(written / "cats/1.jpg")
    (written / "mine.jsonl").write_text(next(iter(rows.values())).splitlines()[0])
    recipes = {"my.yaml": "compose.md", "mine.yaml": "train.md", "colours.yaml": "add-an-encoder.md"}
    for name, page in recipes.items():
        body = next(iter(blocks(ROOT / "docs/guide" / page, "yaml").values()))
        (written / name).write_text(yaml.safe_dump(small(yaml.safe_load(body), tokenizer_folder)))
    monkeypatch.setattr(polymodal, "load", lambda model="nano": tiny)
    return written


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p, "python")], ids=lambda page: page.stem)
def test_every_python_block_of_a_page_runs_and_prints_what_its_comments_say(page, reader, capsys):
    space: dict = {}
    for title, body in blocks(page, "python").items():
        if "." in title:  # a file: other blocks import it
            continue
        exec(compile(body, f"{page.name}, block {title}", "exec"), space)
    out = capsys.readouterr().out
    for said in ("{'image': 49}", "gone.jpg: no such file"):
        assert (said in page.read_text(encoding="utf-8")) <= (said in out), said


def test_the_readmes_python_is_five_lines_and_its_recipe_ten():
    (code,), (recipe,) = blocks(ROOT / "README.md", "python").values(), blocks(ROOT / "README.md", "yaml").values()
    assert sum(bool(line) for line in code.splitlines()) == 5
    assert len(recipe.splitlines()) == 10


@pytest.mark.weights
def test_the_readmes_recipe_composes_from_its_weights():
    (recipe,) = blocks(ROOT / "README.md", "yaml").values()
    model = Composition.from_recipe(yaml.safe_load(recipe))
    assert set(model.model.modalities) == {"image", "audio"}
    answer = model.ask("What is this?", images=[picture(1)], sampling=Sampling(max_new_tokens=2))
    assert answer.tokens["media"] == 49


def commands():
    """Every `polymodal ...` of every page, in a console or in a sentence."""
    for page in PAGES:
        said = r"(?:^\$ (?:\S+=\S+ )*(?:\.venv/bin/)?|`)polymodal ([a-z][^`\n]*)"
        for line in re.findall(said, page.read_text(encoding="utf-8"), re.M):
            yield pytest.param(line.split("  #")[0], id=f"{page.stem}: {line[:50]}")


@pytest.mark.parametrize("line", commands())
def test_every_command_in_the_pages_exists_with_its_options(line):
    words = shlex.split(line.split("|")[0].split(">")[0])
    node = typer.main.get_command(cli.app)
    while hasattr(node, "commands") and words:
        name = words.pop(0)
        assert name in node.commands, name
        node = node.commands[name]
    known = {option for parameter in node.params for option in parameter.opts}
    used = {word.split("=")[0] for word in words if word.startswith("-") and len(word) > 1}
    assert used <= known | {"--help"}, used - known


def test_links_between_pages_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name} -> {target}"
