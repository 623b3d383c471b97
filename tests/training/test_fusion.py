"""Stages that train a fusion: what learns, what is kept, what is refused."""

from __future__ import annotations

import pytest
import torch

from polymodal.errors import RecipeError
from polymodal.model.composition import Composition
from polymodal.training.loop import train
from tests.training.runs import (
    differing,
    recipe,
    stage,
    state_of,
    train_until,
    weights,
    write_pictures,
    write_talk,
)

FUSION = {"kind": "gated-cross-attention", "every": 2, "heads": 2, "head_width": 8}
LEARNS = {"inputs.image.fusion.*": 0.05, "inputs.image.projector.*": 0.01}


@pytest.fixture
def model(tiny_recipe):
    made = tiny_recipe()
    del made["model"]["inputs"]["audio"]
    made["model"]["inputs"]["image"] |= {"projector": {"kind": "resampler", "latents": 3}, "fusion": FUSION}
    return made


@pytest.fixture
def data(tmp_path):
    return {"pictures": write_pictures(tmp_path / "data"), "talk": write_talk(tmp_path / "talk")}


@pytest.mark.parametrize("options", [{}, {"checkpointing": True, "packing": 1024}], ids=["padded", "packed"])
def test_a_stage_trains_what_it_names_and_the_model_is_as_it_was_measured(options, model, data, tmp_path):
    mixed = stage(train=LEARNS, data={"pictures": 1.0, "talk": 0.5}, steps=6, **options)
    made = recipe(model, tmp_path / "run", data, mixed)
    before = weights(Composition.from_recipe(made.model.model_copy(deep=True)).model)
    trained = train(made).model
    changed = differing(before, weights(trained))
    assert {".".join(name.split(".")[:3]) for name in changed} == {"inputs.image.fusion", "inputs.image.projector"}
    assert "inputs.image.fusion.layers.1.attention_gate" in changed
    assert not differing(weights(trained), weights(Composition.load(tmp_path / "run" / "model").model))


def test_killed_and_resumed_is_uninterrupted(model, data, tmp_path):
    one, other = (recipe(model, tmp_path / name, data, stage(train=LEARNS, steps=5)) for name in ("one", "other"))
    train(one)
    train_until(other, "one", 4)
    train(other)
    assert not differing(state_of(tmp_path / "one"), state_of(tmp_path / "other"))


def test_a_run_begins_from_another_with_the_same_fusion(model, data, tmp_path):
    train(recipe(model, tmp_path / "one", data, stage(train=LEARNS, steps=2)))
    begun = recipe(model, tmp_path / "two", data, stage(train=LEARNS, steps=1), init_from=str(tmp_path / "one" / "model"))
    begun.stages[0].train = {"inputs.image.projector.*": 0.01}
    trained = train(begun).model
    first = Composition.load(tmp_path / "one" / "model").model
    name = "layers.1.attention_gate"
    gate = first.inputs.image.fusion.get_parameter(name)
    assert gate.abs() > 0
    assert torch.equal(trained.inputs.image.fusion.get_parameter(name), gate)


def test_an_objective_that_compares_features_with_embeddings_is_refused(model, data, tmp_path):
    with pytest.raises(RecipeError, match="'align' is for features that stand in the sequence: inputs.image.fusion"):
        train(recipe(model, tmp_path / "run", data, stage(train=LEARNS, objectives={"align": 1.0})))
