"""Guarantee 4, accumulation: a step of one batch is a step of eight micro-batches, with answers of unequal lengths."""

from __future__ import annotations

import pytest
import torch
from tests.training.runs import raw_recipe, rows_of, stage, weights, write_pictures, write_recordings, write_talk

from polymodal.content import assistant, user
from polymodal.model.composition import Composition
from polymodal.model.sequence import collate
from polymodal.training.loop import Losses, train
from polymodal.training.objectives import OBJECTIVES
from polymodal.training.stage import select, train_recipe
from polymodal.training.step import COUNTS, Step, Whole

ANSWERS = ["a cat", "red", "the quick brown fox jumps over a lazy dog", "a", "the blue mat", "hello world", "is it?", "dog"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    return {"pictures": write_pictures(folder), "recordings": write_recordings(folder), "talk": write_talk(folder)}


def gradients(composition, cuts, mean_of_means=False):
    composition.model.zero_grad()
    examples = [composition.processor.encode([user("what is this?"), assistant(answer)]) for answer in ANSWERS]
    size = len(examples) // cuts
    parts = [collate(examples[i : i + size], composition.processor.pad_id) for i in range(0, len(examples), size)]
    losses = Losses(composition.model, {"lm": 1.0})
    whole = Whole.of(parts, ["lm"], composition.model.backbone)
    for part in parts:
        loss = losses(part)[0] / len(parts) if mean_of_means else losses(part, whole)[0]
        loss.backward()
    return {name: p.grad.clone() for name, p in composition.model.named_parameters() if p.grad is not None}


def test_gradients_of_eight_of_one_are_those_of_one_of_eight(tiny_recipe):
    composition = Composition.from_recipe(tiny_recipe())
    select(composition.model, {"backbone.*": 1e-3})
    together, apart, wrong = (gradients(composition, *args) for args in ((1,), (8,), (8, True)))
    assert together.keys() == apart.keys()
    largest = max(value.abs().max() for value in together.values())
    assert all((together[name] - apart[name]).abs().max() < 1e-5 * largest for name in together)
    # The tolerance tells: the mean of the means is a thousand times further off.
    assert any((together[name] - wrong[name]).abs().max() > 1e-2 * largest for name in together)


@pytest.mark.parametrize("objective", ["lm", "align", "words", "ctc"])
def test_a_run_accumulated_is_the_run(objective, tiny_recipe, data, tmp_path):
    source = "recordings" if objective == "ctc" else "pictures"
    raw = tiny_recipe()
    for part in raw["model"]["inputs"].values():
        part["projector"]["norm"] = True  # running statistics, too
    models = []
    for cuts in (1, 8):
        learn = stage(
            data={source: 1.0, "talk": 1.0} if objective == "lm" else {source: 1.0},
            objectives={objective: 1.0},
            batch=8,
            accumulate=cuts,
            steps=3,
            grouping=1,
        )
        models.append(train(train_recipe(raw_recipe(raw, tmp_path / str(cuts), data, learn))).model)
    one, eight = map(weights, models)
    assert all(torch.allclose(one[name], eight[name], rtol=1e-3, atol=5e-5) for name in one)
    for a, b in zip(rows_of(tmp_path / "1"), rows_of(tmp_path / "8"), strict=True):
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-3)


@pytest.mark.parametrize("name", ["lm", "ctc", "align"])
def test_tokens_counted_before_the_model_runs_are_those_the_loss_sums_over(name, tiny_recipe, data):
    from polymodal.training.sources import build_source

    composition = Composition.from_recipe(tiny_recipe())
    source = build_source("it", {"kind": "messages", "path": str(data["recordings"])})
    examples = [composition.processor.encode(source.sample(i, None).messages) for i in range(3)]
    batch = collate(examples, composition.processor.pad_id)
    assert COUNTS[name](batch) == OBJECTIVES[name](Step(composition.model, batch)).counts.sum()
