"""`polymodal train` and `polymodal plot`: what they say of a run, and how it is stopped."""

from __future__ import annotations

import json
import os
import signal
from contextlib import contextmanager

import pytest
import yaml
from safetensors.torch import load_file

from polymodal import assets, cli_train
from polymodal.training.stage import train_recipe
from tests.conftest import run_command
from tests.training.runs import differing, raw_recipe, rows_of, stage, write_pictures, write_talk


@pytest.fixture
def recipe(tiny_recipe, tmp_path):
    """A function: run folder -> recipe file of two stages with a held-out set."""
    data = {"pictures": write_pictures(tmp_path / "data"), "talk": write_talk(tmp_path / "data")}
    data["held-out"] = write_pictures(tmp_path / "other", "held-out.jsonl")

    def write(folder="run"):
        stages = [stage("one"), stage("two", steps=6, batch=3, data={"pictures": 1.0, "talk": 1.0})]
        raw = raw_recipe(tiny_recipe(), tmp_path / folder, data, *stages)
        raw["evaluate"] = {"pets": {"data": "held-out", "metric": "choice", "every": 5}}
        file = tmp_path / f"{folder}.yaml"
        file.write_text(yaml.safe_dump(raw, sort_keys=False))
        return file

    return write


def test_a_run_says_its_settings_its_progress_its_result_and_where_everything_is(recipe, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "100")
    code, out, err = run_command(monkeypatch, capsys, "train", recipe(), "stages.1.warmup=2", "run.seed=3")
    folder = tmp_path / "run"
    assert (code, out) == (0, "")
    lines = [" ".join(line.split()) for line in err.splitlines()]
    assert "seed 3 override" in lines
    assert "save_every 2 run.yaml" in lines
    assert "schedule cosine default" in lines
    assert lines.count("schedule cosine default") == 1  # of every stage, said once
    assert "warmup 1 run.yaml" in lines
    assert "warmup 2 override" in lines
    steps = [line for line in lines if line.startswith(("one ", "two ")) and "/" in line.split()[1]]
    assert len(steps) == 10
    assert all("left lm " in line and "tokens/s wait " in line and "pad " in line and "GB" in line for line in steps)
    assert any("pictures 5" in line and "talk 5" in line for line in steps[4:])
    assert not any("pictures" in line for line in steps[:4])  # one source is the loss itself
    assert any(line.startswith("two 1 pets: choice 0.") for line in lines)  # the fifth step of the run
    header = next(i for i, line in enumerate(lines) if line == "set metric n model 95 % blind shuffled chance beats blind")
    assert lines[header + 1].startswith("pets choice 6 ")
    assert f"plots {folder}/loss.png" in lines
    assert f'ask it polymodal ask "What is this?" --image FILE --audio FILE --model {folder}/model' in lines
    for name in ("log.jsonl", "loss.png", "eval.json", "samples.jsonl", "model/polymodal.json"):
        assert (folder / name).is_file(), name
    assert max(map(len, err.splitlines()[: header + 2])) <= 100 + len(str(folder)) * 3


def test_ctrl_c_ends_the_step_saves_and_says_how_to_go_on(recipe, tmp_path, monkeypatch, capsys):
    """And the run that went on is the run that was never stopped."""
    whole, stopped = recipe("whole"), recipe("stopped")
    assert run_command(monkeypatch, capsys, "train", whole)[0] == 0
    show = cli_train.Watch.__call__

    def interrupt(self, row):
        show(self, row)
        if (row["stage"], row["step"]) == ("two", 3) and "loss" in row:
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patch:
        patch.setattr(cli_train.Watch, "__call__", interrupt)
        code, _, err = run_command(patch, capsys, "train", stopped)
    assert code == 130
    assert signal.getsignal(signal.SIGINT) == before
    assert f"polymodaltrain{stopped}goeson" in "".join(err.split())  # a long path wraps anywhere
    assert not (tmp_path / "stopped" / "model").exists()
    assert run_command(monkeypatch, capsys, "train", stopped)[0] == 0
    steps = [row["global_step"] for row in rows_of(tmp_path / "stopped") if "loss" in row]
    assert steps == [*range(1, 11)]  # it was saved at step 7, though every second step is saved: none was done again
    projectors = sorted((tmp_path / "whole" / "model").glob("*projector*.safetensors"))
    assert projectors
    for file in projectors:
        assert not differing(load_file(file), load_file(tmp_path / "stopped" / "model" / file.name))


def test_a_second_ctrl_c_does_not_wait_for_the_step():
    from rich.console import Console

    at_home = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    with cli_train.asked_to_stop(Console(quiet=True)) as stop:
        assert not stop()
        os.kill(os.getpid(), signal.SIGINT)
        assert stop()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    signal.signal(signal.SIGINT, at_home)


def test_missing_assets_of_the_recipe_are_fetched_before_training(tiny_recipe, tmp_path, monkeypatch):
    from rich.console import Console

    raw = raw_recipe(tiny_recipe(), tmp_path / "run", {"pictures": write_pictures(tmp_path)})
    raw["model"]["backbone"] = {"path": "asset:smollm2-135m-instruct"}
    raw["model"]["inputs"]["image"]["encoder"] = {"kind": "efficientnet-lite", "path": "asset:efficientnet-lite0"}
    fetched = []

    @contextmanager
    def no_bar(name):
        yield None

    monkeypatch.setattr(cli_train, "fetch_bar", no_bar)
    monkeypatch.setattr(assets, "state", lambda name: "ready" if name == "efficientnet-lite0" else "absent")
    monkeypatch.setattr(assets, "fetch", lambda name, progress: fetched.append(name))
    cli_train._fetch(train_recipe(raw), Console(quiet=True))
    assert fetched == ["smollm2-135m-instruct"]


def test_a_terminal_shows_the_run_in_three_lines_of_a_hundred_columns(recipe):
    import io

    from rich.console import Console

    row = {
        "stage": "pretrain-image",
        "step": 160,
        "steps": 400,
        "eta": 4000,
        "loss": {"lm": 2.31234, "lm/ask-classes": 2.4, "lm/ask-emoji": 2.111},
        "tokens_per_s": 812,
        "data_wait": 0.021,
        "padding": 0.054,
        "memory_gb": 1.94,
    }
    watched = train_recipe(yaml.safe_load(recipe().read_text()))
    watched.stages[0].name = "pretrain-image"
    screen = io.StringIO()
    watch = cli_train.Watch(Console(file=screen, force_terminal=True, width=100, color_system=None), watched)
    with watch:
        watch(row)
        watch.live.refresh()
    shown = [line.strip() for line in screen.getvalue().replace("\x1b", "\n").splitlines()]
    assert any("pretrain-image (1/2)" in line and "160/400 1:06:40 left" in line for line in shown)
    assert "lm 2.312  ask-classes 2.40  ask-emoji 2.11" in shown
    assert "812 tokens/s  wait 2%  pad 5%  1.9 GB" in shown
    assert cli_train.plain(row) == (
        "pretrain-image 160/400  1:06:40 left  lm 2.312  812 tokens/s  wait 2%  pad 5%  1.9 GB  "
        "ask-classes 2.40  ask-emoji 2.11"
    )


def test_plot_draws_one_run_into_its_folder_and_several_where_one_says(tmp_path, monkeypatch, capsys):
    row = {"stage": "one", "step": 1, "steps": 2, "global_step": 1, "lr": 0.1, "loss": {"lm": 1.0, "lm/a": 1.0}}
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "log.jsonl").write_text(json.dumps(row) + "\n")
    assert run_command(monkeypatch, capsys, "plot", tmp_path / "a")[:2] == (0, f"{tmp_path}/a/loss.png\n")
    out = tmp_path / "both.png"
    assert run_command(monkeypatch, capsys, "plot", tmp_path / "a", tmp_path / "b", "--out", out)[:2] == (0, f"{out}\n")
    assert out.is_file()
    code, _, err = run_command(monkeypatch, capsys, "plot", tmp_path)
    assert (code, len(err.strip().splitlines())) == (2, 1)


def test_a_cache_is_filled_beforehand_and_a_run_says_what_it_lacks(recipe, tmp_path, monkeypatch, capsys):
    cache = f"run.cache={tmp_path / 'cache'}"
    code, _, err = run_command(monkeypatch, capsys, "train", recipe(), "--fill-cache")
    assert code == 2
    assert "run.cache names no folder to fill" in err
    code, out, err = run_command(monkeypatch, capsys, "train", recipe(), "--fill-cache", cache)
    assert (code, out) == (0, "")
    assert "cache: 6 items, 6 missing, about 0 MB, about 0 min to fill" in err
    assert "encoded 6 items" in err
    assert not (tmp_path / "run").exists()
    code, _, err = run_command(monkeypatch, capsys, "train", recipe(), cache)
    assert code == 0
    assert "cache: 6 items, 0 missing" in err
