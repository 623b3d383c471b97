"""A run learns to change pictures from rows that show one and make another."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from polymodal.training.loop import train
from polymodal.training.stage import train_recipe
from tests.conftest import picture
from tests.outputs import DIFFUSION, SIGNALS, with_output
from tests.training.runs import differing, raw_recipe, stage, weights


def write_edits(folder: Path, shown: int) -> Path:
    """Six rows that ask for the same pictures; `shown`: the seed of those that are changed."""
    folder.mkdir(parents=True)
    rows = []
    for i in range(6):
        picture(shown + i, (8, 8)).save(folder / f"before-{i}.png")
        picture(i, (8, 8)).save(folder / f"after-{i}.png")
        asked = [{"type": "image", "image": f"before-{i}.png"}, {"type": "text", "text": "make it red"}]
        made = [{"type": "image", "image": f"after-{i}.png", "caption": "make it red"}]
        rows.append({"messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": made}]})
    (folder / "edits.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder / "edits.jsonl"


@pytest.mark.parametrize("source", [True, False])
def test_a_run_sees_what_is_changed_and_workers_hand_it_over(source, tiny_recipe, tmp_path):
    """By `generate`, to which nothing else of a row depends on what was shown."""
    network = "outputs.image.generator.network.*"
    learn = stage(objectives={"generate": 1.0}, data={"edits": 1.0}, train={network: 1e-2}, steps=3, batch=3)
    found = []
    for name, shown, workers in (("one", 10, 0), ("again", 10, 1), ("other", 20, 0)):
        model = with_output(tiny_recipe, "signals")
        model["model"]["outputs"] = {"image": {**SIGNALS, "generator": {**DIFFUSION, "source": source}}}
        data = {"edits": write_edits(tmp_path / name, shown)}
        raw = raw_recipe(model, tmp_path / f"run-{name}", data, learn, workers=workers)
        found.append(weights(train(train_recipe(raw)).model))
    assert not differing(found[0], found[1])
    changed = differing(found[0], found[2])
    assert all(each.startswith("outputs.image.generator.network") for each in changed)
    assert bool(changed) == source
