"""Stages and runs as data: errors name the key, and a pattern means what it says."""

from __future__ import annotations

import copy

import pytest

from polymodal.errors import RecipeError
from polymodal.model.composing import compose
from polymodal.training.stage import Stage, decaying, select, train_recipe
from tests.outputs import with_output
from tests.training.runs import raw_recipe, stage


@pytest.fixture
def good(tiny_recipe, data, tmp_path):
    return raw_recipe(tiny_recipe(), tmp_path / "run", data, stage("one"), stage("two"))


def refusal(raw) -> str:
    with pytest.raises(RecipeError) as caught:
        train_recipe(raw)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("path", "key", "near"),
    [
        (("stags",), "stags", "stages"),
        (("stages", 1, "step"), "stages.1.step", "steps"),
        (("stages", 0, "objective"), "stages.0.objective", "objectives"),
        (("run", "foldr"), "run.foldr", "folder"),
        (("model", "backbon"), "model.backbon", "backbone"),
        (("model", "inputs", "image", "encodr"), "model.inputs.image.encodr", "encoder"),
    ],
)
def test_a_wrong_key_is_named_with_the_nearest(good, path, key, near):
    node = good
    for step in path[:-1]:
        node = node[step]
    node[path[-1]] = {}
    message = refusal(good)
    assert key in message
    assert f"did you mean '{near}'?" in message


def test_a_mix_of_unknown_data_names_the_nearest(good):
    good["stages"][1]["data"] = {"pictres": 1.0}
    message = refusal(good)
    assert "stage 'two' mixes 'pictres'" in message
    assert "did you mean 'pictures'?" in message


def test_two_stages_of_one_name_are_refused(good):
    good["stages"][1]["name"] = "one"
    assert "two stages have the same name" in refusal(good)


@pytest.mark.parametrize("lengths", [{"steps": None}, {"epochs": 2.0}])
def test_a_stage_is_as_long_as_its_steps_or_its_epochs_say(good, lengths):
    good["stages"][1].update(lengths)
    assert "stage 'two' needs either steps or epochs, and not both" in refusal(good)


def test_epochs_are_counted_over_all_samples_of_the_sources():
    one = Stage(**stage(data={"a": 1.0, "b": 3.0}, steps=None, epochs=2.5, batch=4))
    assert one.counted({"a": 10, "b": 3, "c": 99}).length == 9  # 2.5 * 13 / 4 = 8.1
    with pytest.raises(ValueError, match="have not been counted"):
        _ = one.length


def test_a_batch_cannot_be_cut_into_more_parts_than_it_has_examples(good):
    good["stages"][0].update(batch=4, accumulate=5)
    assert "stage 'one' cannot cut a batch of 4 into 5" in refusal(good)


def test_weight_decay_is_of_matrices_alone(model):
    groups = decaying(select(model, {"inputs.*": 1e-3, "backbone.*": 1e-4}), 0.1)
    every = [p for group in groups for p in group["params"]]
    assert len({id(p) for p in every}) == len(every) == len(list(model.parameters()))
    for group in groups:
        assert {p.dim() >= 2 for p in group["params"]} == {group["weight_decay"] == 0.1}
        assert group["lr"] == {"inputs.*": 1e-3, "backbone.*": 1e-4}[group["name"]]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("steps", 0),
        ("epochs", 0),
        ("accumulate", 0),
        ("batch", 0),
        ("warmup", -1),
        ("schedule", "linear"),
        ("clip", 0),
        ("limit", 2),
        ("data", {}),
        ("train", {}),
        ("objectives", {}),
        ("data", {"pictures": 0.0}),
        ("data", {"pictures": -1.0}),
        ("data", {"pictures": float("nan")}),
        ("train", {"inputs.*": -1e-3}),
    ],
)
def test_a_number_that_cannot_work_is_refused_by_its_key(good, key, value):
    good["stages"][1][key] = value
    assert f"stages.1.{key}" in refusal(good)


def test_a_recipe_needs_a_stage(good):
    good["stages"] = []
    assert "stages" in refusal(good)


def test_an_unknown_modality_is_refused_in_training_as_in_composing(good):
    good["model"]["inputs"]["imgae"] = copy.deepcopy(good["model"]["inputs"]["image"])
    assert "did you mean 'image'?" in refusal(good)


@pytest.fixture(scope="module")
def model(tiny_recipe):
    from polymodal.model.config import model_recipe

    return compose(model_recipe(tiny_recipe()))


def learns(model) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def test_everything_is_frozen_that_no_pattern_names(model):
    groups = select(model, {"inputs.image.projector.*": 1e-3, "backbone.*.layers.1.self_attn.*": 1e-4})
    assert learns(model) == {
        name
        for name, _ in model.named_parameters()
        if name.startswith("inputs.image.projector.") or ".layers.1.self_attn." in name and name.startswith("backbone.")
    }
    assert [group["name"] for group in groups] == ["inputs.image.projector.*", "backbone.*.layers.1.self_attn.*"]
    assert [group["lr"] for group in groups] == [1e-3, 1e-4]
    assert sum(len(group["params"]) for group in groups) == len(learns(model))


def test_selecting_again_forgets_the_stage_before(model):
    select(model, {"backbone.*": 1e-3})
    select(model, {"inputs.audio.projector.*": 1e-3})
    assert learns(model) == {n for n, _ in model.named_parameters() if n.startswith("inputs.audio.projector.")}


def test_the_last_matching_pattern_decides_the_rate(model):
    groups = select(model, {"inputs.*.projector.*": 1e-3, "inputs.audio.*": 1e-5})
    rates = {id(p): group["lr"] for group in groups for p in group["params"]}
    for name, parameter in model.named_parameters():
        if name.startswith("inputs.audio."):
            assert rates[id(parameter)] == 1e-5
        elif name.startswith("inputs.image.projector."):
            assert rates[id(parameter)] == 1e-3
        else:
            assert id(parameter) not in rates


def test_each_parameter_is_in_one_group_only(model):
    groups = select(model, {"*": 1e-3, "backbone.*": 1e-4, "inputs.*": 1e-5})
    every = [id(p) for group in groups for p in group["params"]]
    assert len(every) == len(set(every)) == len(list(model.parameters()))
    assert [group["name"] for group in groups] == ["backbone.*", "inputs.*"]


@pytest.mark.parametrize("pattern", ["inputs.image.projectr.*", "Backbone.*", "inputs", "projector.*", ""])
def test_a_pattern_that_matches_nothing_raises_and_names_itself(model, pattern):
    with pytest.raises(RecipeError, match="matches no parameter") as caught:
        select(model, {"inputs.*": 1e-3, pattern: 1e-3})
    assert f"'{pattern}'" in str(caught.value)


def test_a_pattern_that_matches_nothing_names_the_nearest(model):
    with pytest.raises(RecipeError, match=r"did you mean 'inputs.image.projector.\*'"):
        select(model, {"inputs.image.projectr.*": 1e-3})


def test_a_refused_pattern_leaves_the_model_as_it_was(model):
    select(model, {"inputs.image.*": 1e-3})
    before = learns(model)
    with pytest.raises(RecipeError):
        select(model, {"inputs.audio.*": 1e-3, "nothing.*": 1e-3})
    assert learns(model) == before


def test_an_output_of_a_training_recipe_makes_what_its_name_says(tiny_recipe, data, tmp_path):
    raw = raw_recipe(with_output(tiny_recipe, "latents"), tmp_path / "run", data, stage("one"))
    assert train_recipe(raw).model.outputs["image"].modality == "image"
