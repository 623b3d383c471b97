"""The picture of a run shows what the log holds, and its labels can be read."""

from __future__ import annotations

import json
import math

import pytest
from PIL import Image

from polymodal.errors import DataError
from polymodal.training import plots
from polymodal.training.plots import draw, evaluations, losses

STAGES = [("align", 60, "align", ["a", "b"]), ("pretrain", 90, "lm", ["a"]), ("tune", 50, "lm", ["a", "b", "c"])]


def rows(upto=200):
    """A run of three stages, logged at every second step, evaluated at every fortieth."""
    out, before = [], 0
    for name, steps, objective, sources in STAGES:
        for step in range(2, steps + 1, 2):
            place = {"stage": name, "step": step, "global_step": before + step}
            if place["global_step"] > upto:
                return out
            each = {f"{objective}/{s}": (i + 1) * math.exp(-step / 50) + 0.5 for i, s in enumerate(sources)}
            loss = {objective: sum(each.values()) / len(each), **each}
            out.append({**place, "steps": steps, "lr": 1e-3, "loss": loss})
            if place["global_step"] % 40 == 0:
                model = {"value": place["global_step"] / 250, "interval": [0.1, 0.9], "loss": 1.0}
                control = {"value": 0.2, "interval": [0.1, 0.3], "loss": 2.0}
                result = {"metric": "exact", "model": model, "blind": control, "shuffled": control}
                out.append({**place, "evaluation": {"pets": result}})
        before += steps
    return out


@pytest.fixture
def run(tmp_path):
    """A function: name, rows -> the folder of a run."""

    def write(name="run", entries=None):
        folder = tmp_path / name
        folder.mkdir()
        text = "".join(json.dumps(row) + "\n" for row in (rows() if entries is None else entries))
        (folder / "log.jsonl").write_text(text)
        return folder

    return write


def test_one_run_has_a_line_for_each_source_and_one_for_an_objective_of_several():
    lines = {line.label: line for line in losses([r for r in rows() if "loss" in r], "", "black", sources=True)}
    assert set(lines) == {"align", "align a", "align b", "lm", "lm a", "lm b", "lm c"}
    assert [len(part) for part in lines["lm a"].parts] == [45, 25]  # a line breaks where a stage ends
    assert [len(part) for part in lines["lm"].parts] == [25]  # where there is one source, it is the objective
    assert lines["align b"].colour == lines["lm b"].colour != lines["lm a"].colour
    assert lines["align a"].end == (60, pytest.approx(math.exp(-60 / 50) + 0.5))


def test_several_runs_are_compared_by_their_objectives():
    lines = list(losses([r for r in rows() if "loss" in r], "mine", "blue", sources=False))
    assert [(line.label, line.colour) for line in lines] == [("mine align", "blue"), ("mine lm", "blue")]
    assert [line.label for line in evaluations(rows(), "mine", "blue")] == ["mine pets exact"]


def test_controls_are_dashed_in_the_colour_of_their_set():
    model, blind, shuffled = evaluations(rows(), "", None)
    assert (model.label, blind.label, shuffled.label) == ("pets exact", "pets blind", "pets shuffled")
    assert model.dashes == "-"
    assert len({str(line.dashes) for line in (model, blind, shuffled)}) == 3
    assert model.colour == blind.colour == shuffled.colour
    assert [step for step, _ in model.parts[0]] == [40, 80, 120, 160, 200]
    assert model.intervals[0] == (40, 0.1, 0.9)


def test_no_two_labels_overlap(run, monkeypatch):
    figures = []
    real = plots.label

    def watched(ax, lines):
        real(ax, lines)
        figures.append((ax, len(lines)))

    monkeypatch.setattr(plots, "label", watched)
    draw([run()], run("other") / "loss.png")
    for ax, lines in figures:
        ax.figure.canvas.draw()
        boxes = [text.get_window_extent() for text in ax.texts if text.get_text().strip()]
        assert len(boxes) >= lines
        for i, box in enumerate(boxes):
            assert not any(box.overlaps(other) for other in boxes[:i]), ax.texts[i].get_text()
            assert box.x0 >= 0
            assert box.x1 <= ax.figure.bbox.x1


def test_a_run_is_drawn_young_and_old_alone_and_with_others(run):
    sizes = []
    for name, upto in [("first-row", 2), ("one-stage", 58), ("evaluated", 100), ("done", 200)]:
        file = run(name, rows(upto)) / "loss.png"
        assert draw([file.parent], file) == file
        with Image.open(file) as picture:
            picture.load()
            sizes.append(picture.size)
        assert not list(file.parent.glob("*.part"))
    assert sizes[-1][1] > sizes[0][1]  # room for what was held out
    folders = [file.parent for file in file.parent.parent.glob("*/log.jsonl")]
    draw(folders, folders[0].parent / "all.png")
    assert (folders[0].parent / "all.png").stat().st_size > 10_000


@pytest.mark.parametrize("entries", [None, []])
def test_a_folder_without_steps_is_refused_by_name(tmp_path, run, entries):
    folder = tmp_path / "empty" if entries is None else run("empty", [])
    with pytest.raises(DataError, match=r"empty has no log.jsonl with a step in it"):
        draw([folder], tmp_path / "loss.png")
    assert not (tmp_path / "loss.png").exists()
