"""A model that learns a modality from nothing: random encoder, projector and backbone, trained together on clouds."""

from __future__ import annotations

import json

import numpy as np
import pytest

from polymodal.training.loop import train
from tests.training import runs

SHAPES = {"cube": "a cat", "sphere": "the red fox", "disc": "hello world"}  # words that the tiny tokenizer knows
ENCODER = {"kind": "point-patches", "groups": 8, "size": 8, "points": 128, "width": 32, "depth": 1, "heads": 4}


def cloud(shape: str, rng: np.random.Generator) -> np.ndarray:
    """128 points on a surface, stretched by up to a tenth along each axis and turned about the vertical."""
    points = rng.normal(size=(128, 3))
    if shape == "sphere":
        points /= np.linalg.norm(points, axis=1, keepdims=True)
    elif shape == "disc":
        points = np.column_stack((np.sqrt(rng.random(128)), 2 * np.pi * rng.random(128), np.zeros(128)))
        points = np.column_stack((points[:, 0] * np.cos(points[:, 1]), points[:, 0] * np.sin(points[:, 1]), points[:, 2]))
    else:
        points = rng.uniform(-1, 1, size=(128, 3))
        points[np.arange(128), rng.integers(0, 3, 128)] = rng.choice((-1, 1), 128)
    a = rng.uniform(0, 2 * np.pi)
    turned = points @ np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    return (turned * rng.uniform(0.9, 1.1, 3)).astype(np.float32)


def write_clouds(folder, name, n, seed):
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(n):
        shape = list(SHAPES)[i % 3]
        np.save(folder / f"{name}-{i}.npy", cloud(shape, rng))
        content = [{"type": "points", "points": f"{name}-{i}.npy"}, {"type": "text", "text": "what is this?"}]
        turns = [{"role": "user", "content": content}, {"role": "assistant", "content": SHAPES[shape]}]
        rows.append({"messages": turns})
    file = folder / f"{name}.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


@pytest.fixture(scope="module")
def results(tiny_recipe, tmp_path_factory):
    """What a trained model makes of clouds it never saw, beside its controls."""
    folder = tmp_path_factory.mktemp("points")
    data = {"new": write_clouds(folder, "new", 48, seed=0), "old": write_clouds(folder, "old", 180, seed=1)}
    model = tiny_recipe(points={"encoder": ENCODER, "projector": {"kind": "mlp", "norm": True}})
    rates = {"inputs.points.*": 2e-3, "backbone.*": 5e-3}
    stage = runs.stage(train=rates, data={"old": 1.0}, steps=200, batch=12, warmup=5)
    recipe = runs.raw_recipe(model, folder / "run", data, stage, save_every=1000)
    recipe["evaluate"] = {"shapes": {"data": "new", "metric": "choice", "examples": 48, "every": 1000}}
    train(runs.train_recipe(recipe))
    return json.loads((folder / "run/eval.json").read_text())["sets"]["shapes"]


def test_shapes_are_told_apart_in_clouds_never_seen(results):
    assert results["model"]["value"] >= 0.7
    assert results["beats_blind"]


def test_without_its_own_cloud_the_model_is_at_chance(results):
    assert results["blind"]["value"] <= 0.45
    assert results["shuffled"]["value"] <= 0.55
