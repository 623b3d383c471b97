"""Recipes: what is wrong is named by its key, in one line, with the nearest known one."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import yaml
from tests.conftest import CLIP, WHISPER

from polymodal.errors import RecipeError
from polymodal.model.composition import Composition
from polymodal.model.config import model_recipe, read_yaml

GOOD = {
    "model": {
        "backbone": {"path": "asset:some-llm"},
        "inputs": {"image": {"encoder": {"kind": "vision", "config": dict(CLIP)}, "projector": {"kind": "mlp"}}},
    }
}


def refusal(call, *args) -> str:
    with pytest.raises(RecipeError) as caught:
        call(*args)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def changed(**paths) -> dict:
    """The good recipe with `model__inputs__image={...}` and the like put in; None removes."""
    recipe = copy.deepcopy(GOOD)
    for path, value in paths.items():
        *parents, last = path.split("__")
        node = recipe
        for key in parents:
            node = node[key]
        if value is None:
            del node[last]
        else:
            node[last] = value
    return recipe


def test_a_good_recipe_is_taken_with_its_defaults():
    recipe = model_recipe(GOOD)
    assert recipe.seed == 0
    assert (recipe.inputs["image"].before, recipe.inputs["image"].after) == ("", "\n")


@pytest.mark.parametrize(
    ("recipe", "key", "near"),
    [
        (changed(model__sed=1), "model.sed", "seed"),
        (changed(model__input={}), "model.input", "inputs"),
        (changed(model__bacbone={}, model__backbone=None), "model.bacbone", "backbone"),
        (changed(model__inputs__image__encodr={}), "model.inputs.image.encodr", "encoder"),
        (changed(model__inputs__image__projecter={}), "model.inputs.image.projecter", "projector"),
        (changed(model__inputs__image__projecter={}, model__inputs__image__projector=None), "image.projecter", "projector"),
        (changed(model__inputs__image__befor="x"), "model.inputs.image.befor", "before"),
        (changed(model__inputs__imgae={"encoder": {}, "projector": {}}), "imgae", "image"),
    ],
)
def test_a_wrong_key_is_named_with_the_nearest(recipe, key, near):
    message = refusal(model_recipe, recipe)
    assert key in message
    assert f"did you mean '{near}'?" in message


def test_a_recipe_without_a_model_names_what_it_has_instead():
    assert "needs the key 'model'" in refusal(model_recipe, {"modle": GOOD["model"]})
    assert "modle" in refusal(model_recipe, {"modle": GOOD["model"]})
    assert "needs the key 'model'" in refusal(model_recipe, {})


@pytest.mark.parametrize("value", [None, 3, "x", []])
def test_a_model_that_is_no_mapping_is_refused(value):
    message = refusal(model_recipe, {"model": value})
    assert message.startswith("recipe: model: ")


def test_a_missing_part_is_named():
    assert "model.backbone" in refusal(model_recipe, changed(model__backbone=None))
    assert "model.inputs.image.projector" in refusal(model_recipe, changed(model__inputs__image__projector=None))


def test_a_value_of_the_wrong_type_is_named():
    assert "model.seed" in refusal(model_recipe, changed(model__seed="first"))
    assert "model.inputs.image.encoder" in refusal(model_recipe, changed(model__inputs__image__encoder="clip"))
    assert "model.inputs" in refusal(model_recipe, changed(model__inputs=["image"]))


@pytest.fixture
def recipe_file(tmp_path) -> Path:
    file = tmp_path / "deep" / "recipe.yaml"
    file.parent.mkdir()
    file.write_text(yaml.safe_dump({**GOOD, "stages": [{"name": "a", "steps": 5}, {"name": "b", "steps": 6}]}))
    return file


def test_overrides_reach_any_depth_and_keep_their_types(recipe_file):
    overrides = [
        "model.inputs.image.projector.depth=1",
        "model.seed=7",
        "stages.1.steps=9",
        "model.inputs.image.after=' | '",
        "model.new.deep.key=[1, 2]",
        "model.off=false",
        "model.path=a=b",
    ]
    data = read_yaml(recipe_file, overrides)
    assert data["model"]["inputs"]["image"]["projector"] == {"kind": "mlp", "depth": 1}
    assert data["model"]["seed"] == 7
    assert [stage["steps"] for stage in data["stages"]] == [5, 9]
    assert data["model"]["inputs"]["image"]["after"] == " | "
    assert data["model"]["new"] == {"deep": {"key": [1, 2]}}
    assert data["model"]["off"] is False
    assert data["model"]["path"] == "a=b"


@pytest.mark.parametrize(
    "override",
    [
        "model.seed",
        "=3",
        "model.backbone.path.deeper=3",
        "stages.steps=3",
        "stages.7.steps=3",
        "stages.x.steps=3",
        "stages.7=3",
        "stages.x=3",
        "model.seed={",
        "model..seed=3",
    ],
)
def test_an_override_that_leads_nowhere_is_refused_by_name(recipe_file, override):
    assert override.partition("=")[0] in refusal(read_yaml, recipe_file, [override])


def test_a_wrong_key_in_an_override_is_named_like_one_in_the_file(recipe_file):
    data = read_yaml(recipe_file, ["model.sede=3"])
    assert "did you mean 'seed'?" in refusal(model_recipe, data)


RELATIVE = """
model:
  backbone: {path: ./llm, tokenizer: ../tokenizer}
  inputs: {image: {encoder: {kind: vision, path: .}}}
  outputs: {image: {generator: {kind: retrieval, store: ../store}}}
data: {chat: {kind: messages, path: ./chat.jsonl}}
run: {folder: runs/it, cache: ../features, init_from: runs/first/model}
"""
PATHS = {
    "model.backbone.path": "llm",
    "model.backbone.tokenizer": "../tokenizer",
    "model.inputs.image.encoder.path": "",
    "model.outputs.image.generator.store": "../store",
    "data.chat.path": "chat.jsonl",
    "run.folder": "runs/it",
    "run.cache": "../features",
    "run.init_from": "runs/first/model",
}


def at(data, key):
    for step in key.split("."):
        data = data[step]
    return data


def test_what_a_recipe_says_of_folders_is_relative_to_the_recipe(tmp_path, monkeypatch):
    (tmp_path / "recipes").mkdir()
    file = tmp_path / "recipes" / "it.yaml"
    file.write_text(RELATIVE)
    monkeypatch.chdir("/")
    data = read_yaml(file)
    for key, path in PATHS.items():
        assert at(data, key) == str((file.parent / path).resolve()), key


def test_what_is_typed_is_relative_to_where_one_stands(tmp_path, monkeypatch):
    (tmp_path / "recipes").mkdir()
    file = tmp_path / "recipes" / "it.yaml"
    file.write_text(RELATIVE)
    monkeypatch.chdir(tmp_path)
    typed = {"model.backbone.path": "./mine", "data.chat.path": "../my.jsonl", "run.folder": "runs/mine"}
    data = read_yaml(file, [f"{key}={value}" for key, value in typed.items()])
    for key in PATHS:
        expected = tmp_path / typed[key] if key in typed else file.parent / PATHS[key]
        assert at(data, key) == str(expected.resolve()), key


def test_several_folders_to_begin_from_are_relative_to_the_recipe(tmp_path):
    (tmp_path / "it.yaml").write_text("run: {init_from: {inputs.a.*: first/model, '*': /there/model}}")
    begun = read_yaml(tmp_path / "it.yaml")["run"]["init_from"]
    assert begun == {"inputs.a.*": str((tmp_path / "first/model").resolve()), "*": "/there/model"}


@pytest.mark.parametrize("path", ["asset:smollm2", "google/siglip-base", "/abs/folder"])
def test_assets_hub_ids_and_absolute_folders_stay_as_they_are(recipe_file, path):
    assert read_yaml(recipe_file, [f"model.backbone.path={path}"])["model"]["backbone"]["path"] == path


@pytest.mark.parametrize("text", ["model: [", "model: {a: 1}}", "a: b: c", "\t- x", "model: !!python/object:os.system {}"])
def test_what_is_not_yaml_is_refused_in_one_line_naming_the_file(tmp_path, text):
    file = tmp_path / "recipe.yaml"
    file.write_text(text)
    message = refusal(read_yaml, file)
    assert str(file) in message
    assert "not YAML" in message


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "just words", "3"])
def test_yaml_that_is_no_mapping_is_refused(tmp_path, text):
    file = tmp_path / "recipe.yaml"
    file.write_text(text)
    assert "mapping" in refusal(read_yaml, file)


def test_a_file_that_cannot_be_read_is_refused_by_name(tmp_path):
    assert "no such recipe" in refusal(read_yaml, tmp_path / "nowhere.yaml")
    assert "no such recipe" in refusal(read_yaml, tmp_path)
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00bad\x80")
    assert "binary.yaml" in refusal(read_yaml, tmp_path / "binary.yaml")


def test_widths_that_disagree_are_refused_with_both_numbers(tiny_recipe):
    vision = {"kind": "vision", "config": dict(CLIP)}
    message = refusal(
        Composition.from_recipe, tiny_recipe(image={"encoder": vision, "projector": {"kind": "mlp", "width_in": 768}})
    )
    assert "inputs.image.projector.width_in is 768" in message
    assert "encoder emits width 24" in message
    message = refusal(
        Composition.from_recipe, tiny_recipe(image={"encoder": vision, "projector": {"kind": "mlp", "width_out": 576}})
    )
    assert "inputs.image.projector.width_out is 576" in message
    assert "backbone takes width 32" in message


def test_widths_that_agree_may_be_written_down(tiny_recipe):
    part = {
        "encoder": {"kind": "vision", "config": dict(CLIP)},
        "projector": {"kind": "mlp", "width_in": 24, "width_out": 32},
    }
    composition = Composition.from_recipe(tiny_recipe(image=part))
    assert composition.model.modalities["image"].projector.layers[0].in_features == 24


def test_an_encoder_under_the_wrong_modality_is_refused(tiny_recipe):
    whisper = {"encoder": {"kind": "whisper", "config": dict(WHISPER)}, "projector": {"kind": "mlp"}}
    message = refusal(Composition.from_recipe, tiny_recipe(image=whisper))
    assert "inputs.image.encoder 'whisper' takes audio, not image" in message


def test_a_wrong_option_of_a_part_is_named_with_its_place(tiny_recipe):
    part = {"encoder": {"kind": "vision", "config": dict(CLIP)}, "projector": {"kind": "mlp", "dpeth": 3}}
    message = refusal(Composition.from_recipe, tiny_recipe(image=part))
    assert "inputs.image.projector 'mlp' has no option 'dpeth' (did you mean 'depth'?)" in message


def test_a_wrong_option_of_the_backbone_is_named(tiny_recipe):
    recipe = tiny_recipe()
    recipe["model"]["backbone"]["dtpye"] = "float16"
    assert "no option 'dtpye' (did you mean 'dtype'?)" in refusal(Composition.from_recipe, recipe)
    recipe = tiny_recipe(chat_format="chatlm")
    assert "chat_format 'chatlm' is not known (did you mean 'chatml'?)" in refusal(Composition.from_recipe, recipe)


def test_the_seed_draws_the_weights(tiny_recipe):
    def weight(seed: int):
        recipe = tiny_recipe()
        recipe["model"]["seed"] = seed
        return Composition.from_recipe(recipe).model.modalities["image"].projector.layers[0].weight

    assert (weight(1) == weight(1)).all()
    assert (weight(1) != weight(2)).any()


def test_composing_does_not_write_into_the_recipe_it_is_given(tiny_recipe):
    recipe = tiny_recipe()
    before = copy.deepcopy(recipe)
    Composition.from_recipe(recipe)
    assert recipe == before
