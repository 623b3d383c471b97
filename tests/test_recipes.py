"""The recipes of published systems run: at tiny width, every stage of each takes a step, and what comes out answers.

`shrink` keeps what a recipe says (parts, options, patterns, rates, stages); it makes parts narrow and no deeper than the
patterns count (`layers.23.*` is tried on a 24th layer), the data tiny and each stage one step.
"""

from __future__ import annotations

import copy
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from polymodal.model.composing import compose
from polymodal.model.config import read_yaml
from polymodal.model.generation import Sampling
from polymodal.parts import peft
from polymodal.training.loop import train
from polymodal.training.stage import adapt, select, train_recipe
from tests.conftest import CLIP, LLAMA, picture
from tests.training import runs

ROOT = Path(__file__).resolve().parents[1]
RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))
NANO = sorted((ROOT / "recipes").glob("*/*.yaml"))

# What the recipes name at the Hub: its family, and as many layers as a pattern of theirs needs.
CHECKPOINTS: dict[str, dict[str, Any]] = {
    "lmsys/vicuna-7b-v1.5": LLAMA,
    "lmsys/vicuna-13b-v1.5": LLAMA,
    "huggyllama/llama-7b": {**LLAMA, "num_hidden_layers": 32},
    "openai/clip-vit-large-patch14": {**CLIP, "num_hidden_layers": 24},
    "openai/clip-vit-large-patch14-336": CLIP,
    "Salesforce/blip2-opt-2.7b": {**CLIP, "model_type": "blip_2_vision_model"},
}
NARROW = {
    "hidden_size": 32,
    "word_embed_proj_dim": 32,
    "ffn_dim": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 1024,
}
PROJECTORS = {"q-former": {"hidden": 24, "heads": 3}, "resampler": {"heads": 2}}


def shrink(recipe: dict[str, Any], folder: Path, tokenizer: str) -> dict[str, Any]:
    """A recipe of the same structure that a test can run. Weights of the Hub become random ones of the same family; each
    source becomes a few rows of its like (pages with pictures stay pages, and one whose name begins with `text` stays
    without media); each stage takes one step, and two where gates that begin at 0 keep the first from what is before
    them."""
    tiny = copy.deepcopy(recipe)
    backbone = tiny["model"]["backbone"]
    if "path" in backbone:
        backbone["config"] = dict(CHECKPOINTS[backbone.pop("path")])
    else:
        backbone["config"].update((key, value) for key, value in NARROW.items() if key in backbone["config"])
    backbone["tokenizer"] = tokenizer
    for part in tiny["model"]["inputs"].values():
        part["encoder"]["config"] = dict(CHECKPOINTS[part["encoder"].pop("path")])
        part["projector"].update(PROJECTORS.get(part["projector"]["kind"], {}))
    files = {"pictures": runs.write_pictures(folder / "pictures"), "talk": runs.write_talk(folder / "talk")}
    pages = folder / "pages"
    pages.mkdir()
    picture(3).save(pages / "1.png")
    (pages / "cats.md").write_text("A red cat.\n\n![](1.png)\n\nIt is on the blue mat.\n")
    for name, source in tiny["data"].items():
        if source["kind"] == "interleaved":
            source["path"] = str(pages)
        else:
            file = files["talk" if name.startswith("text") else "pictures"]
            tiny["data"][name] = {"kind": "messages", "path": str(file)}
    steps = 2 if any("fusion" in part for part in tiny["model"]["inputs"].values()) else 1
    for stage in tiny["stages"]:
        stage.pop("epochs", None)
        short = {key: 512 for key in ("limit", "packing") if key in stage}
        stage.update(steps=steps, batch=6, accumulate=min(2, stage.get("accumulate", 1)), grouping=1, warmup=0, **short)
        stage["data"] = dict.fromkeys(stage["data"], 1.0)  # so that a step sees all of them
    tiny["run"] = {**tiny["run"], "folder": str(folder / "run"), "workers": 0, "log_every": 1}
    return tiny


@pytest.mark.parametrize("file", RECIPES + NANO, ids=lambda file: file.stem)
def test_a_recipe_is_valid_and_its_folders_do_not_depend_on_where_one_stands(file, tmp_path, monkeypatch):
    here = train_recipe(read_yaml(file))
    monkeypatch.chdir(tmp_path)
    assert train_recipe(read_yaml(file)) == here


@pytest.mark.parametrize("file", RECIPES, ids=lambda file: file.stem)
def test_every_stage_of_a_published_recipe_takes_a_step_and_the_model_answers(file, tmp_path, tokenizer_folder):
    recipe = train_recipe(shrink(read_yaml(file), tmp_path, tokenizer_folder))
    model = compose(recipe.model)
    before = {name: value.clone() for name, value in peft.named_parameters(model).items()}
    learning = set[str]()
    for index, stage in enumerate(recipe.stages):
        attached = recipe.model.model_copy(deep=True)
        adapt(model, attached, stage, recipe.run.seed + index)
        select(model, stage.train, stage.peft)
        learning |= {name for name, value in peft.named_parameters(model).items() if value.requires_grad}
    rows: list[dict[str, Any]] = []
    trained = train(recipe, rows.append)
    losses = [row for row in rows if "loss" in row]
    assert [*dict.fromkeys(row["stage"] for row in losses)] == [stage.name for stage in recipe.stages]
    assert all(torch.isfinite(torch.tensor(row["loss"]["lm"])) for row in losses)
    after = peft.named_parameters(trained.model)
    changed = {name for name, value in before.items() if not torch.equal(value, after[name])}
    changed |= {name for name, value in peft.weights(trained.model).items() if value.any()} & learning
    assert changed <= learning
    for stage in recipe.stages:
        for pattern in (*stage.train, *(f"{pattern}.*" for pattern in stage.peft)):
            assert any(fnmatchcase(name, pattern) for name in changed), f"{stage.name}: nothing of '{pattern}' has moved"
    answer = trained.ask("what is this?", images=[picture(1)], sampling=Sampling(max_new_tokens=2))
    assert answer.tokens["media"] > 0


@pytest.mark.parametrize("file", RECIPES, ids=lambda file: file.stem)
def test_a_recipe_cites_its_paper_and_names_pretrained_parts(file):
    recipe = yaml.safe_load(file.read_text())
    assert recipe["about"]["paper"].startswith(("arXiv:", "https://llava-vl.github.io/"))
    assert recipe["about"]["paper"].removeprefix("arXiv:") in file.read_text().split("model:")[0]
    encoders = [part["encoder"]["path"] for part in recipe["model"]["inputs"].values()]
    assert encoders
    assert all("/" in path and not path.startswith((".", "/")) for path in encoders)


def test_the_steps_that_llavas_comments_count_are_those_of_the_papers_data():
    stages = train_recipe(read_yaml(ROOT / "recipes/llava-1.5-7b.yaml")).stages
    sizes = {"pairs": 558_128, "instructions": 665_298}
    counted = [stage.counted(sizes) for stage in stages]
    assert [stage.length for stage in counted] == [2181, 5198]
    assert [round(0.03 * stage.length) for stage in counted] == [stage.warmup for stage in counted]
