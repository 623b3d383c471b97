"""Killed and started again ends in the same weights, bit for bit, as never killed (one process, CPU)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from polymodal.training import state
from polymodal.training.loop import train
from polymodal.training.stage import train_recipe
from tests.training.runs import differing, raw_recipe, stage, state_of, train_until, weights

ROOT = Path(__file__).parents[2]


def stages():
    """All that is random or stateful: a mix, pools, dropout, noise, running statistics, momentum, warm-up, two stages."""
    both = {"pictures": 2.0, "recordings": 1.0}
    return (
        stage("first", data=both, steps=5, weight_decay=0.1),
        stage("second", data={**both, "talk": 1.0}, steps=6, train={"inputs.*.projector.*": 1e-3, "backbone.*": 1e-3}),
    )


@pytest.fixture(scope="module")
def model(tiny_recipe):
    recipe = tiny_recipe()
    recipe["model"]["backbone"]["config"]["attention_dropout"] = 0.1
    inputs = recipe["model"]["inputs"]
    inputs["image"]["projector"] = {"kind": "prefix", "tokens": 1, "hidden": 16, "dropout": 0.2, "noise": 0.1}
    return recipe


@pytest.fixture(scope="module")
def uninterrupted(model, data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "run"
    composition = train(train_recipe(raw_recipe(model, folder, data, *stages())))
    return weights(composition.model), state_of(folder)


def check_equal(recipe, uninterrupted):
    composition = train(recipe)
    whole, tensors = uninterrupted
    assert not differing(weights(composition.model), whole)
    # Moments too: whatever would come next would be equal as well.
    assert not differing(state_of(Path(recipe.run.folder)), tensors)


def test_two_uninterrupted_runs_are_equal(model, data, tmp_path, uninterrupted):
    check_equal(train_recipe(raw_recipe(model, tmp_path / "run", data, *stages())), uninterrupted)


@pytest.mark.parametrize("save_every", [1, 2, 100])
@pytest.mark.parametrize(("name", "step"), [*(("first", k) for k in range(1, 6)), *(("second", k) for k in range(1, 7))])
def test_broken_off_after_any_step_and_resumed_equals_uninterrupted(
    model, data, tmp_path, uninterrupted, name, step, save_every
):
    recipe = train_recipe(raw_recipe(model, tmp_path / "run", data, *stages(), save_every=save_every))
    train_until(recipe, name, step)
    check_equal(recipe, uninterrupted)


def test_broken_off_again_and_again_equals_uninterrupted(model, data, tmp_path, uninterrupted):
    recipe = train_recipe(raw_recipe(model, tmp_path / "run", data, *stages(), save_every=1))
    for name, step in [("first", 2), ("first", 3), ("second", 1), ("second", 2), ("second", 6)]:
        train_until(recipe, name, step)
    check_equal(recipe, uninterrupted)


CHILD = """
import json, os, signal, sys, torch
sys.path.insert(0, {root!r})
torch.set_num_threads(1)
from polymodal.training import state
from polymodal.training.loop import train
from polymodal.training.stage import train_recipe

raw = json.load(open({file!r}))
kill = lambda *a, **k: os.kill(os.getpid(), signal.SIGKILL)
if {where!r} == "log":
    train(train_recipe(raw), on_log=lambda row: kill() if [row["stage"], row["step"]] == {step!r} else None)
else:  # in the middle of a checkpoint: the old one is moved away, the new one is not yet in its place
    moves = []
    replace = os.replace
    def watched(source, target):
        moves.append(str(target))
        if sum(m.endswith("state") for m in moves) == 4:
            kill()
        replace(source, target)
    state.os.replace = watched
    train(train_recipe(raw))
"""


@pytest.fixture(scope="module")
def killed(model, data, tmp_path_factory):
    """Three processes killed by SIGKILL, side by side: (recipe, exit code) of each."""
    running = {}
    for name, where, step in [
        ("mid-pool", "log", ["first", 4]),
        ("boundary", "log", ["second", 1]),
        ("mid-save", "save", None),
    ]:
        folder = tmp_path_factory.mktemp(name)
        raw = raw_recipe(model, folder / "run", data, *stages())
        (folder / "recipe.json").write_text(json.dumps(raw))
        script = CHILD.format(root=str(ROOT), file=str(folder / "recipe.json"), where=where, step=step)
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
        process = subprocess.Popen([sys.executable, "-c", script], cwd=folder, env=environment, stderr=subprocess.PIPE)
        running[name] = (raw, process)
    return {name: (raw, process.communicate()[1], process.returncode) for name, (raw, process) in running.items()}


@pytest.mark.parametrize("name", ["mid-pool", "boundary", "mid-save"])
def test_killed_by_the_system_and_started_again_equals_uninterrupted(killed, name, uninterrupted):
    raw, output, code = killed[name]
    assert code == -signal.SIGKILL, output.decode()[-2000:]
    folder = Path(raw["run"]["folder"])
    assert not (folder / "model").exists()
    if name == "mid-save":
        assert sorted(p.name for p in folder.glob("state*")) == ["state.old", "state.part"]
    check_equal(train_recipe(raw), uninterrupted)


def test_the_last_checkpoint_is_never_deleted_before_the_next_is_in_place(model, data, tmp_path, monkeypatch):
    recipe = train_recipe(raw_recipe(model, tmp_path / "run", data, *stages(), save_every=1))
    folder = tmp_path / "run"
    train_until(recipe, "first", 3)
    os.replace(folder / "state", folder / "state.old")  # where a kill between the two renames leaves a run
    real, complete = os.replace, []

    def watched(source, target):
        if str(target).endswith("state"):
            complete.append((folder / "state.old" / "progress.json").is_file())
        real(source, target)

    monkeypatch.setattr(state.os, "replace", watched)
    train_until(recipe, "first", 5)
    assert complete
    assert all(complete)


def test_an_encoder_with_running_statistics_that_learns_resumes_exactly(tiny_recipe, data, tmp_path):
    """Batch norm's buffers are no parameters, and belong to a checkpoint all the same."""
    image = {"encoder": {"kind": "efficientnet-lite"}, "projector": {"kind": "linear"}}
    model = tiny_recipe(image=image)
    learn = stage(steps=3, batch=2, train={"inputs.image.*": 1e-3})
    whole = train_recipe(raw_recipe(model, tmp_path / "a", {"pictures": data["pictures"]}, learn, save_every=1))
    parts = train_recipe(raw_recipe(model, tmp_path / "b", {"pictures": data["pictures"]}, learn, save_every=1))
    expected = weights(train(whole).model)
    train_until(parts, "one", 2)
    assert not differing(weights(train(parts).model), expected)


def test_the_running_statistics_of_a_shared_projector_resume_exactly(tiny_recipe, data, tmp_path):
    model = tiny_recipe()
    normed = {"kind": "mlp", "norm": True}
    model["model"]["shared"] = {"one": {"kind": "projector", "of": normed, "width_in": 24, "width_out": 32}}
    for part in model["model"]["inputs"].values():
        part["projector"] = {"kind": "shared", "of": "shared:one"}
    learn = stage(steps=3, data={"pictures": 1.0, "recordings": 1.0}, train={"shared.one.*": 1e-2})
    whole, parts = (train_recipe(raw_recipe(model, tmp_path / name, data, learn, save_every=1)) for name in "ab")
    expected = weights(train(whole).model)
    assert expected["shared.one.of.norm.count"] > 0
    train_until(parts, "one", 2)
    assert not differing(weights(train(parts).model), expected)


def test_a_cache_of_features_does_not_change_what_a_resumed_run_ends_in(model, data, tmp_path):
    """The first look at an item and the second, from the cache, are the same numbers."""
    whole = train_recipe(raw_recipe(model, tmp_path / "a", data, *stages(), cache=str(tmp_path / "cache-a")))
    parts = train_recipe(raw_recipe(model, tmp_path / "b", data, *stages(), cache=str(tmp_path / "cache-b")))
    expected = weights(train(whole).model)
    train_until(parts, "first", 3)
    train_until(parts, "second", 4)
    assert not differing(weights(train(parts).model), expected)
    warm = train_recipe(raw_recipe(model, tmp_path / "c", data, *stages(), cache=str(tmp_path / "cache-a")))
    assert not differing(weights(train(warm).model), expected)


def test_a_stage_after_one_with_checkpointing_runs_alike_whether_or_not_it_was_resumed(model, data, tmp_path):
    """What is frozen beside what learns has no dropout in either."""

    def recipe(name):
        partly = {"inputs.*.projector.*": 1e-3, "backbone.*.layers.1.*": 1e-3}
        stages = stage("first", checkpointing=True, steps=2), stage("second", train=partly, steps=3)
        return train_recipe(raw_recipe(model, tmp_path / name, data, *stages, save_every=1))

    whole = weights(train(recipe("whole")).model)
    train_until(recipe("resumed"), "second", 2)
    check_equal(recipe("resumed"), (whole, state_of(tmp_path / "whole")))
