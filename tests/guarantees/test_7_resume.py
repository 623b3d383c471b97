"""Guarantee 7: killed at any step and resumed is uninterrupted, bit for bit on a CPU, for any mix, with workers.

What a kill leaves in the middle of a checkpoint is tested in `tests/training/test_resume.py`; several processes in
`test_8_distributed.py`.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.training.runs import (
    differing,
    raw_recipe,
    rows_of,
    stage,
    state_of,
    train_until,
    weights,
    write_pictures,
    write_recordings,
    write_talk,
)

from polymodal.training.loop import train
from polymodal.training.stage import train_recipe

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    return {"pictures": write_pictures(folder), "recordings": write_recordings(folder), "talk": write_talk(folder)}


@pytest.fixture(scope="module")
def model(tiny_recipe):
    recipe = tiny_recipe()
    recipe["model"]["backbone"]["config"]["attention_dropout"] = 0.1
    projector = {"kind": "prefix", "tokens": 1, "hidden": 16, "dropout": 0.2, "noise": 0.1}
    recipe["model"]["inputs"]["image"]["projector"] = projector
    return recipe


def raw(model, folder, data, **run):
    """A mix, pools, micro-batches, dropout, noise, momentum, decay, two stages, one of them as long as its data."""
    both = {"pictures": 2.0, "recordings": 1.0}
    stages = [
        stage("first", data=both, batch=4, accumulate=2, steps=5, weight_decay=0.1),
        stage("second", data={**both, "talk": 1.0}, batch=6, steps=None, epochs=1.5, train={"inputs.*.projector.*": 1e-3}),
    ]
    return raw_recipe(model, folder, data, *stages, save_every=2, **run)


@pytest.fixture(scope="module")
def uninterrupted(model, data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "run"
    composition = train(train_recipe(raw(model, folder, data)))
    return weights(composition.model), state_of(folder), rows_of(folder)


def check(recipe, uninterrupted):
    composition = train(train_recipe(recipe))
    folder = Path(recipe["run"]["folder"])
    expected, tensors, rows = uninterrupted
    assert not differing(weights(composition.model), expected)
    assert not differing(state_of(folder), tensors)
    same = ("stage", "step", "loss", "grad_norm", "lr", "padding")
    assert [[row[key] for key in same] for row in rows_of(folder)] == [[row[key] for key in same] for row in rows]


def test_epochs_are_as_many_steps_as_the_data_has(uninterrupted):
    samples = 6 + 5 + 7
    assert [row["steps"] for row in uninterrupted[2]][-1] == -(-int(1.5 * samples) // 6)


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_change_nothing(model, data, tmp_path, uninterrupted, workers):
    check(raw(model, tmp_path / "run", data, workers=workers), uninterrupted)


@pytest.mark.parametrize(("name", "step"), [("first", 1), ("first", 3), ("first", 5), ("second", 1), ("second", 4)])
def test_broken_off_with_workers_and_resumed_with_none(model, data, tmp_path, uninterrupted, name, step):
    train_until(train_recipe(raw(model, tmp_path / "run", data, workers=1)), name, step)
    check(raw(model, tmp_path / "run", data), uninterrupted)


def test_a_run_that_goes_on_looks_at_no_sample_that_it_has_used(model, data, tmp_path, monkeypatch, uninterrupted):
    train_until(
        train_recipe(raw(model, tmp_path / "run", data)), "first", 3
    )  # a checkpoint stands at step 2 of a pool of 3
    seen = []
    from polymodal.training.loading import Renderer

    monkeypatch.setattr(Renderer, "render", _counted(Renderer.render, seen))
    monkeypatch.setattr("polymodal.training.loop.state.save", lambda *a, **k: (_ for _ in ()).throw(StopIteration))
    with pytest.raises((StopIteration, RuntimeError)):
        train(train_recipe(raw(model, tmp_path / "run", data)))
    assert len(seen) == 4 + 12  # step 3 of the first pool; the second pool, sorted as a whole, with step 4


def _counted(function, seen):
    def counted(*args, **kwargs):
        seen.append(args)
        return function(*args, **kwargs)

    return counted


CHILD = """
import json, os, signal, sys, torch
torch.set_num_threads(1)
from polymodal.training.loop import train
from polymodal.training.stage import train_recipe
kill = lambda row: os.kill(os.getpid(), signal.SIGKILL) if [row["stage"], row["step"]] == ["first", 4] else None
train(train_recipe(json.load(open(sys.argv[1]))), on_log=kill)
"""


def test_killed_with_workers_and_started_again(model, data, tmp_path, uninterrupted):
    recipe = raw(model, tmp_path / "run", data, workers=2)
    file = tmp_path / "recipe.json"
    file.write_text(json.dumps(recipe))
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", CHILD, str(file)]
    # It leads a group of its own, so that what it leaves behind can be told.
    child = subprocess.Popen(
        command, env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True
    )
    child.wait(120)
    assert child.returncode == -signal.SIGKILL
    assert nobody_left(child.pid)
    check(recipe, uninterrupted)


def nobody_left(group: int) -> bool:
    """Whether the processes of a group end within seconds."""
    for _ in range(100):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False
