"""What stops a run: said early, said by name, and nothing half-written is left behind."""

from __future__ import annotations

import json
import math

import pytest
import torch

from polymodal.errors import DataError, PolymodalError, RecipeError
from polymodal.training.loop import train
from polymodal.training.step import Loss
from tests.training.runs import Stopped, differing, recipe, rows_of, stage, state_of, train_until, weights


def test_a_loss_that_is_not_finite_names_its_samples_and_saves_nothing(tiny_recipe, data, tmp_path, monkeypatch):
    from polymodal.training import objectives

    calls = []

    def lm(step):
        calls.append(step.batch.names)
        loss = objectives.lm(step)
        return Loss(loss.each * math.nan, loss.counts) if len(calls) == 3 else loss

    monkeypatch.setattr(objectives, "OBJECTIVES", {"lm": lm})
    with pytest.raises(DataError, match=r"loss of step 3 is nan.*bad_batch"):
        train(recipe(tiny_recipe(), tmp_path / "run", data, stage(), save_every=1))
    kept = json.loads((tmp_path / "run" / "bad_batch" / "0-0.json").read_text())
    named = kept["names"]
    assert named == calls[-1]
    assert (kept["stage"], kept["step"], kept["micro_batch"]) == ("one", 3, 0)
    assert all(name.startswith("pictures.jsonl:") for name in named)
    state = state_of(tmp_path / "run")
    assert all(torch.isfinite(value).all() for value in state.values())
    assert [row["step"] for row in rows_of(tmp_path / "run")] == [1, 2]


def test_a_gradient_that_is_not_finite_reaches_no_weight(tiny_recipe, data, tmp_path, monkeypatch):
    from polymodal.training import objectives

    def broken(step):
        loss = objectives.lm(step)
        zero = (loss.each * 0).abs().sqrt()  # finite, with an infinite slope
        return Loss(loss.each + zero, loss.counts)

    monkeypatch.setattr(objectives, "OBJECTIVES", {"lm": broken})
    with pytest.raises(DataError, match="gradient of step 1 is .*bad_batch"):
        train(recipe(tiny_recipe(), tmp_path / "run", data, stage(), save_every=1))
    assert not (tmp_path / "run" / "state").exists()


def test_a_sample_that_cannot_be_read_names_its_row(tiny_recipe, data, tmp_path):
    lines = data["pictures"].read_text().replace("3.png", "gone.png")
    file = data["pictures"].parent / "broken.jsonl"
    file.write_text(lines)
    with pytest.raises(PolymodalError, match=r"broken.jsonl:4: .*gone.png.*no such file"):
        train(recipe(tiny_recipe(), tmp_path / "run", {"pictures": file}, stage(steps=9, grouping=9)))


def test_a_sample_over_the_limit_names_its_row_and_both_numbers(tiny_recipe, data, tmp_path):
    with pytest.raises(DataError, match=r"pictures.jsonl:\d: \d+ positions are over the limit of 20"):
        train(recipe(tiny_recipe(), tmp_path / "run", data, stage(limit=20)))


@pytest.mark.parametrize(
    ("later", "message"),
    [
        ({"train": {"inputs.imgae.*": 1e-3}}, r"pattern 'inputs.imgae.\*' matches no parameter"),
        ({"objectives": {"lmm": 1.0}}, "objective 'lmm' is not known.*'lm'"),
    ],
)
def test_what_is_wrong_in_a_later_stage_is_refused_before_the_first_begins(tiny_recipe, data, tmp_path, later, message):
    with pytest.raises(RecipeError, match=message):
        train(recipe(tiny_recipe(), tmp_path / "run", data, stage(), stage("two", **later)))
    assert not (tmp_path / "run" / "log.jsonl").exists()


def test_a_cache_beside_an_encoder_that_learns_is_refused_before_it_begins(tiny_recipe, data, tmp_path):
    learns = stage("two", train={"inputs.image.encoder.*": 1e-4})
    with pytest.raises(RecipeError, match=r"run.cache.*inputs.image.encoder|encoder.*run.cache"):
        train(recipe(tiny_recipe(), tmp_path / "run", data, stage(), learns, cache=str(tmp_path / "cache")))
    assert not (tmp_path / "run" / "log.jsonl").exists()


def test_a_recipe_that_was_refused_does_not_hold_the_folder(tiny_recipe, data, tmp_path):
    """Correcting a misspelt pattern is not a second run."""
    with pytest.raises(RecipeError, match="matches no parameter"):
        train(recipe(tiny_recipe(), tmp_path / "run", data, stage(train={"inputs.*.projectr.*": 1e-2})))
    train(recipe(tiny_recipe(), tmp_path / "run", data, stage(steps=1)))
    assert (tmp_path / "run" / "model" / "polymodal.json").is_file()


def test_another_recipe_in_the_same_folder_is_refused(tiny_recipe, data, tmp_path):
    train(recipe(tiny_recipe(), tmp_path / "run", data, stage(steps=1)))
    with pytest.raises(RecipeError, match="run of another recipe"):
        train(recipe(tiny_recipe(), tmp_path / "run", data, stage(steps=2)))
    with pytest.raises(RecipeError, match="run of another recipe"):
        train(recipe(tiny_recipe(), tmp_path / "run", data, stage(steps=1), seed=1))


def test_patterns_in_another_order_are_another_recipe(tiny_recipe, data, tmp_path):
    patterns = {"inputs.*.projector.*": 1e-2, "inputs.image.*": 1e-3}
    train(recipe(tiny_recipe(), tmp_path / "run", data, stage(steps=1, train=patterns)))
    with pytest.raises(RecipeError, match="run of another recipe"):
        train(recipe(tiny_recipe(), tmp_path / "run", data, stage(steps=1, train=dict(reversed(patterns.items())))))


def test_how_often_it_logs_and_saves_is_not_another_recipe(tiny_recipe, data, tmp_path):
    train_until(recipe(tiny_recipe(), tmp_path / "run", data, stage(steps=3)), "one", 2)
    train(recipe(tiny_recipe(), tmp_path / "run", data, stage(steps=3), log_every=3, save_every=3))
    assert (tmp_path / "run" / "model" / "polymodal.json").is_file()


def test_a_finished_run_started_again_trains_nothing(tiny_recipe, data, tmp_path):
    first = train(recipe(tiny_recipe(), tmp_path / "run", data, stage(steps=2)))

    def fail(row):
        raise Stopped

    again = train(recipe(tiny_recipe(), tmp_path / "run", data, stage(steps=2)), on_log=fail)
    assert not differing(weights(first.model), weights(again.model))


def test_a_damaged_checkpoint_says_what_to_do(tiny_recipe, data, tmp_path):
    train(recipe(tiny_recipe(), tmp_path / "run", data, stage(steps=2)))
    (file,) = (tmp_path / "run" / "state").glob("*.safetensors")
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(PolymodalError, match="not a complete checkpoint.*delete it to start anew"):
        train(recipe(tiny_recipe(), tmp_path / "run", data, stage(steps=2)))
