"""What is logged is what happened."""

from __future__ import annotations

import sys

import pytest
import torch

from polymodal.errors import RecipeError
from polymodal.training import log
from polymodal.training.log import Log
from polymodal.training.loop import train
from polymodal.training.stage import Stage
from polymodal.training.state import Progress
from tests.training.runs import recipe, rows_of, stage, train_until

PROMISED = {
    "stage",
    "step",
    "steps",
    "global_step",
    "lr",
    "loss",
    "grad_norm",
    "examples_per_s",
    "tokens_per_s",
    "data_wait",
    "padding",
    "memory_gb",
    "peak_memory_gb",
    "seconds",
    "eta",
}
ONE = Stage(**stage("one", steps=10))
TWO = Stage(**stage("two", steps=6))
MASK = torch.tensor([[True, True, True, True], [True, True, False, False]])


def add(to: Log, sums=(1.0, 1.0), counts=(1.0, 1.0), norm=0.1, busy=0.0):
    to.add({"lm": (torch.tensor(sums), torch.tensor(counts))}, ["cats", "dogs"], MASK, norm, busy)


def test_rows_of_a_run_hold_what_is_promised(tiny_recipe, data, tmp_path):
    mixed = stage(data={"pictures": 1.0, "talk": 1.0}, steps=6, batch=3)
    seen = []
    train(recipe(tiny_recipe(), tmp_path / "run", data, mixed, stage("two", steps=2), log_every=4), on_log=seen.append)
    rows = rows_of(tmp_path / "run")
    assert rows == seen
    assert [(row["stage"], row["step"], row["steps"], row["global_step"]) for row in rows] == [
        ("one", 4, 6, 4),
        ("one", 6, 6, 6),
        ("two", 2, 2, 8),
    ]
    for row in rows:
        assert set(row) - {"peak_gpu_gb"} == PROMISED
        assert "lm" in row["loss"]
        assert set(row["loss"]) <= {"lm", "lm/pictures", "lm/talk"}
        assert 0 <= row["data_wait"] < 1
        assert 0 <= row["padding"] < 1
        assert row["examples_per_s"] > 0
        assert row["tokens_per_s"] > row["examples_per_s"]
        assert row["peak_memory_gb"] >= row["memory_gb"] * 0.9 > 0.01
    assert rows[0]["lr"] > rows[1]["lr"] > 0
    assert rows[1]["eta"] == rows[2]["eta"] == 0


def test_the_loss_is_the_mean_over_the_tokens_since_the_last_row(tmp_path):
    to = Log(tmp_path, [ONE])
    add(to, (6.0, 1.0), (3.0, 1.0), norm=0.5)
    add(to, (9.0, 4.0), (3.0, 2.0), norm=0.7)
    add(to, (0.0, 0.0), (0.0, 0.0), norm=0.1)
    to.write(ONE, Progress(step=3), lr=0.1)
    add(to, norm=0.2)
    to.write(ONE, Progress(step=4), lr=0.1)
    first, second = rows_of(tmp_path)
    assert first["loss"] == {
        "lm": pytest.approx(20 / 9, abs=1e-4),
        "lm/cats": 2.5,
        "lm/dogs": pytest.approx(5 / 3, abs=1e-4),
    }
    assert second["loss"] == {"lm": 1.0, "lm/cats": 1.0, "lm/dogs": 1.0}
    assert (first["grad_norm"], second["grad_norm"]) == (0.7, 0.2)
    assert first["padding"] == 0.25


def test_rates_and_what_is_left_are_those_of_the_clock(tmp_path, monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(log.time, "perf_counter", lambda: clock[0])
    to = Log(tmp_path, [ONE, TWO])
    for step in (1, 2):
        clock[0] += 4.0
        add(to, busy=3.0)
        to.write(ONE, Progress(step=step), lr=0.1)
    with to.paused():
        clock[0] += 1000.0  # an evaluation
    clock[0] += 1.0
    add(to, busy=1.0)
    to.write(ONE, Progress(step=3), lr=0.1)
    clock[0] += 10.0
    add(to, busy=10.0)
    to.write(TWO, Progress(step=1), lr=0.1)
    rows = rows_of(tmp_path)
    assert [row["data_wait"] for row in rows] == [0.25, 0.25, 0, 0]
    assert [row["tokens_per_s"] for row in rows] == [2, 2, 6, 1]
    assert [row["examples_per_s"] for row in rows] == [0.5, 0.5, 2, 0.2]
    assert [row["eta"] for row in rows] == [36, 32, 21, 50]  # 7 steps at 9 / 3 seconds; then a stage with a pace of its own


def test_a_resumed_run_logs_each_step_once_and_half_a_line_is_not_read(tiny_recipe, data, tmp_path):
    run = recipe(tiny_recipe(), tmp_path / "run", data, stage(steps=6), save_every=4)
    train_until(run, "one", 6)
    train(run)
    file = tmp_path / "run" / log.FILE
    with open(file, "a") as stream:
        stream.write('{"stage": "one", "st')  # read in the middle of being written
    assert [row["step"] for row in log.read(file)] == [1, 2, 3, 4, 5, 6]


def test_tensorboard_has_every_number_at_its_step_of_the_whole_run(tmp_path):
    to = Log(tmp_path, [ONE, TWO], tensorboard=True)
    add(to, (3.0, 1.0), (1.0, 1.0))
    to.write(TWO, Progress(step=2), lr=0.5)
    to.evaluation(TWO, Progress(step=3), {"photos": {"model": {"value": 0.25, "interval": [0.1, 0.4]}}})
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    read = {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
    assert read["loss/lm"] == [(12, 2.0)]
    assert read["loss/lm/cats"] == [(12, 3.0)]
    assert read["lr"] == [(12, 0.5)]
    assert read["evaluation/photos/model/value"] == [(13, 0.25)]
    assert "step" not in read


def test_tensorboard_that_is_not_installed_is_refused_with_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(RecipeError, match=r"pip install 'polymodal\[tensorboard\]'"):
        Log(tmp_path, [ONE], tensorboard=True)
