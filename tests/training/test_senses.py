"""An encoder without pretrained weights learns to name what it meets, with a `tags` projector and without the backbone."""

from __future__ import annotations

import numpy as np
import torch

from polymodal import load
from polymodal.content import Part
from polymodal.media import load as load_medium
from polymodal.parts.base import Features
from polymodal.training.loop import train
from tests.training import runs

NAMES = ["a cat", "the red fox"]  # what the tiny backbone can spell; a ball is called one and a plate the other


def cloud(index: int) -> np.ndarray:
    rng = np.random.default_rng(index)
    places = rng.normal(size=(60, 3))
    places /= np.linalg.norm(places, axis=1, keepdims=True)
    return (places * ((1, 1, 1), (1, 0.05, 1))[index % 2]).astype(np.float32)


def write_clouds(folder, n: int = 12):
    folder.mkdir()
    rows = []
    for i in range(n):
        np.save(folder / f"{i}.npy", cloud(i))
        rows.append(runs._row([{"type": "points", "points": f"{i}.npy"}], NAMES[i % 2]))
    return runs._write(folder / "clouds.jsonl", rows)


def test_an_encoder_learns_with_its_classifier_to_name_clouds_that_it_never_saw(tmp_path, tiny_recipe):
    points = {
        "encoder": {"kind": "pointnet", "points": 60, "width": 8, "augment": True},
        "projector": {"kind": "tags", "names": NAMES, "top": 1, "tokens": 2, "rank": 4},
    }
    rate = {"inputs.points.encoder.*": 1e-2, "inputs.points.projector.classifier.*": 1e-2}
    stage = runs.stage(train=rate, data={"clouds": 1.0}, objectives={"tags": 1.0}, steps=60, batch=8)
    data = {"clouds": write_clouds(tmp_path / "clouds")}
    before = train(runs.recipe(tiny_recipe(points=points), tmp_path / "none", data, {**stage, "steps": 1})).model
    train(runs.recipe(tiny_recipe(points=points), tmp_path / "run", data, stage))
    model = load(tmp_path / "run" / "model").model
    part = model.modalities["points"]
    unseen = [load_medium(Part("points", media=cloud(i))) for i in range(100, 120)]
    with torch.no_grad():
        features = Features(part.encoder([part.encoder.prepare(one) for one in unseen]).tokens)
        named = part.projector.scores(features).argmax(1).tolist()
    assert sum(a == b for a, b in zip(named, [0, 1] * 10, strict=True)) >= 17  # a coin: one time in 800
    moved = runs.differing(runs.weights(before), runs.weights(model))
    assert not any(name.startswith("backbone.") for name in moved)
    assert "inputs.points.encoder.each.0.0.weight" in moved
