"""The loop: it learns, it counts tokens, it refuses early, and what it logs is what happened."""

from __future__ import annotations

import datetime
import math
import multiprocessing

import pytest
import torch

import polymodal
from polymodal.content import assistant, user
from polymodal.errors import CheckpointError, DataError, RecipeError
from polymodal.model.composing import compose
from polymodal.model.composition import Composition
from polymodal.model.sequence import collate
from polymodal.training import dump
from polymodal.training.loop import Losses, rate, train
from polymodal.training.stage import Stage, train_recipe
from polymodal.training.state import write_model
from polymodal.training.step import Loss
from tests.outputs import DIFFUSION, with_output
from tests.training.runs import PROJECTORS, differing, raw_recipe, recipe, rows_of, stage, state_of, train_until, weights


def test_loss_falls_when_it_learns_a_few_pictures_by_heart(tiny_recipe, data, tmp_path):
    patterns = {**PROJECTORS, "backbone.*": 3e-3}
    learn = stage(train=patterns, steps=60, batch=6, grouping=1, warmup=5, schedule="constant")
    composition = train(recipe(tiny_recipe(), tmp_path / "run", data, learn, save_every=60))
    losses = [row["loss"]["lm"] for row in rows_of(tmp_path / "run")]
    assert losses[0] > 5  # log(number of tokens): it knows nothing
    assert losses[-1] < 0.3
    again = polymodal.load(tmp_path / "run" / "model")
    for model in (composition, again):  # what was trained is what was saved, and it says what it was taught
        for i, word in enumerate(["a cat", "the red fox", "a dog"]):
            answer = model.ask("what is this?", images=[str(data["pictures"].parent / f"{i}.png")])
            assert answer.text == word


def test_a_weight_that_float16_cannot_hold_is_saved_as_it_is(tiny_recipe, tmp_path):
    composition = Composition.from_recipe(tiny_recipe())
    name, weight = next((n, p) for n, p in composition.model.named_parameters() if n.startswith("inputs.image.projector."))
    with torch.no_grad():
        weight.view(-1)[:2] = torch.tensor([1e5, 1 / 3])  # the first is beyond it, the second none of its numbers
    write_model(composition, tmp_path / "model", {n for n, _ in composition.model.named_parameters()})
    saved = dict(polymodal.load(tmp_path / "model").model.named_parameters())
    assert torch.equal(saved[name].view(-1)[:2], torch.tensor([1e5, 1 / 3]))
    assert all(torch.isfinite(parameter).all() for parameter in saved.values())
    others = [p for n, p in saved.items() if n.startswith("inputs.") and ".projector." in n and n != name]
    assert others
    assert all(torch.equal(p, p.half().float()) for p in others)


def test_projectors_alone_learn_through_a_frozen_backbone(tiny_recipe, data, tmp_path):
    learn = stage(train={"inputs.*.projector.*": 5e-2}, steps=40, batch=6, grouping=1, schedule="constant")
    train(recipe(tiny_recipe(), tmp_path / "run", data, learn, save_every=40))
    losses = [row["loss"]["lm"] for row in rows_of(tmp_path / "run")]
    assert losses[-1] < losses[0] - 0.1


@pytest.fixture
def composition(tiny_recipe):
    return Composition.from_recipe(tiny_recipe())


def conversations():
    return [
        [user("what is this?"), assistant("a cat")],
        [user("hello"), assistant("the quick brown fox jumps over a lazy dog")],
        [user("?"), assistant("red"), user("and?"), assistant("blue mat")],
    ]


def by_hand(composition, messages):
    """Summed cross-entropy and number of supervised tokens, by the backbone's own logits."""
    example = composition.processor.encode(messages)
    scores = composition.model.backbone.lm(input_ids=example.ids[None]).logits[0].log_softmax(-1)
    at = example.supervised.nonzero()[:, 0]
    return -scores[at - 1, example.ids[at]].sum(), len(at)


def test_a_steps_loss_is_the_mean_over_all_its_tokens(composition):
    """Not the mean of the means: a sample of one word weighs one word."""
    examples = [composition.processor.encode(c) for c in conversations()]
    with torch.no_grad():
        loss, parts = Losses(composition.model, {"lm": 1.0})(collate(examples, composition.processor.pad_id))
        sums, counts = zip(*(by_hand(composition, c) for c in conversations()), strict=True)
    assert len(set(counts)) == 3
    assert torch.allclose(loss, sum(sums) / sum(counts), rtol=1e-5)
    each, tokens = parts["lm"]
    assert torch.allclose(each, torch.stack(sums), rtol=1e-4)
    assert tokens.tolist() == list(counts)


def test_gradients_are_those_of_the_mean_over_all_tokens(composition):
    examples = [composition.processor.encode(c) for c in conversations()]
    Losses(composition.model, {"lm": 1.0})(collate(examples, composition.processor.pad_id))[0].backward()
    mine = {name: p.grad.clone() for name, p in composition.model.named_parameters() if p.grad is not None}
    composition.model.zero_grad()
    sums, counts = zip(*(by_hand(composition, c) for c in conversations()), strict=True)
    (sum(sums) / sum(counts)).backward()
    for name, parameter in composition.model.named_parameters():
        if parameter.grad is not None:
            assert torch.allclose(mine[name], parameter.grad, atol=1e-6), name


def test_objectives_are_summed_with_their_weights(composition, monkeypatch):
    from polymodal.training import objectives, step

    def fixed(value):
        return lambda step: Loss(torch.tensor([value, 3 * value]), torch.tensor([1.0, 1.0]))

    monkeypatch.setattr(objectives, "OBJECTIVES", {"a": fixed(1.0), "b": fixed(10.0)})
    monkeypatch.setattr(step, "COUNTS", dict.fromkeys("ab", lambda batch: 2))
    examples = [composition.processor.encode(c) for c in conversations()[:2]]
    loss, _ = Losses(composition.model, {"a": 0.5, "b": 2.0})(collate(examples, composition.processor.pad_id))
    assert loss.item() == pytest.approx(0.5 * 2.0 + 2.0 * 20.0)


def test_the_rate_warms_up_and_then_falls_to_nothing():
    cosine = Stage(**stage(steps=100, warmup=10))
    rates = [rate(cosine, step) for step in range(101)]
    assert rates[0] == pytest.approx(1 / 11)
    assert rates[:11] == sorted(rates[:11])
    assert rates[10] == 1.0
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[55] == pytest.approx(0.5)
    assert rates[100] == pytest.approx(0)
    assert rate(Stage(**stage(schedule="constant", warmup=0)), 0) == 1.0
    assert math.isfinite(rate(Stage(**stage(steps=2, warmup=5)), 1))


def test_each_pattern_learns_at_its_own_rate_and_the_last_one_decides(tiny_recipe, data, tmp_path):
    patterns = {"inputs.*.projector.*": 1e-2, "inputs.image.projector.layers.1.*": 1e-5}
    learn = stage(train=patterns, steps=1, warmup=0)
    before = weights(compose(train_recipe(raw_recipe(tiny_recipe(), tmp_path, data)).model))
    train(recipe(tiny_recipe(), tmp_path / "run", data, learn, save_every=1))
    after = state_of(tmp_path / "run")
    fast, slow = (f"inputs.image.projector.layers.{i}.weight" for i in (0, 1))
    # Adam's first step moves every weight by the learning rate.
    assert (after[f"weight/{fast}"] - before[fast]).abs().max() == pytest.approx(1e-2, rel=1e-3)
    assert (after[f"weight/{slow}"] - before[slow]).abs().max() == pytest.approx(1e-5, rel=1e-2)


def test_how_it_was_made_is_written_into_the_model(tiny_recipe, data, tmp_path):
    raw = raw_recipe(tiny_recipe(), tmp_path / "run", data, stage(steps=1))
    raw["about"] = {"name": "a test", "made": datetime.date(2026, 1, 2)}  # YAML reads dates as dates
    train(train_recipe(raw))
    about = polymodal.load(tmp_path / "run" / "model").about
    assert about["name"] == "a test"
    assert about["made"] == "2026-01-02"
    assert about["trained"]["recipe"]["stages"][0]["steps"] == 1


def test_the_saved_model_is_the_returned_one_bit_for_bit(tiny_recipe, data, tmp_path):
    composition = train(recipe(tiny_recipe(), tmp_path / "run", data, stage(steps=2)))
    assert not differing(weights(composition.model), weights(polymodal.load(tmp_path / "run" / "model").model))
    assert not any(p.requires_grad for p in composition.model.parameters())
    assert not composition.model.training


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_both_precisions_learn_in_one_process_and_keep_weights_in_float32(tiny_recipe, data, tmp_path, precision):
    learn = stage(steps=30, batch=6, grouping=1, schedule="constant")
    composition = train(recipe(tiny_recipe(), tmp_path / "run", data, learn, save_every=30, precision=precision))
    losses = [row["loss"]["lm"] for row in rows_of(tmp_path / "run")]
    assert losses[-1] < losses[0] - 0.05
    assert {p.dtype for p in composition.model.parameters()} == {torch.float32}


def test_a_batch_without_media_does_not_stop_a_stage_of_projectors(tiny_recipe, data, tmp_path):
    """Nothing in it leads to what learns: its step changes nothing, and the run goes on."""
    mixed = stage(data={"talk": 4.0, "pictures": 1.0}, steps=12, batch=1, grouping=4)
    train(recipe(tiny_recipe(), tmp_path / "run", data, mixed))
    rows = rows_of(tmp_path / "run")
    assert any(set(row["loss"]) == {"lm", "lm/talk"} for row in rows)
    assert any(set(row["loss"]) == {"lm", "lm/pictures"} for row in rows)


def test_a_run_begins_from_the_parts_of_a_checkpoint(tiny_recipe, data, tmp_path):
    """Those of the same name, and what a stage does not train stays what it was."""
    first = train(recipe(tiny_recipe(), tmp_path / "a", data, stage(steps=3, train={"inputs.image.*": 1e-2})))
    learn = stage(data={"recordings": 1.0}, train={"inputs.audio.projector.*": 1e-2})
    again = recipe(tiny_recipe(), tmp_path / "b", data, learn, init_from=str(tmp_path / "a" / "model"))
    changed = differing(weights(first.model), weights(train(again).model))
    assert changed
    assert all(name.startswith("inputs.audio.projector.") for name in changed)


def test_parts_begin_from_the_checkpoint_of_the_first_pattern_that_fits(tiny_recipe, data, tmp_path):
    """One model extends what several runs have learned; a pattern that nothing begins by is a mistake."""
    images = train(recipe(tiny_recipe(), tmp_path / "a", data, stage(steps=3, train={"inputs.image.*": 1e-2})))
    heard = stage(data={"recordings": 1.0}, train={"inputs.audio.*": 1e-2}, steps=3)
    sounds = train(recipe(tiny_recipe(), tmp_path / "b", data, heard))
    folders = {"inputs.audio.*": str(tmp_path / "b" / "model"), "*": str(tmp_path / "a" / "model")}
    learn = stage(data={"recordings": 1.0}, train={"inputs.audio.projector.*": 1e-12}, steps=1)
    begun = weights(train(recipe(tiny_recipe(), tmp_path / "c", data, learn, init_from=folders)).model)
    for name, theirs in {"inputs.audio.": weights(sounds.model), "inputs.image.": weights(images.model)}.items():
        for key in (key for key in begun if key.startswith(name)):
            assert torch.allclose(begun[key], theirs[key], atol=1e-6)
    folders["inputs.points.*"] = folders["*"]
    with pytest.raises(RecipeError, match="'inputs.points.\\*' fits no part"):
        train(recipe(tiny_recipe(), tmp_path / "d", data, learn, init_from=folders))


def test_a_generator_that_is_told_in_words_begins_as_the_one_it_tells(tiny_recipe, data, tmp_path):
    model = with_output(tiny_recipe, "signals")
    alone = train(recipe(model, tmp_path / "a", data, stage(steps=1)))
    model["model"]["outputs"]["image"] = {"span": {"kind": "text"}, "generator": {"kind": "prompted", "of": DIFFUSION}}
    folders = {"outputs.image.generator": str(tmp_path / "a" / "model")}
    model["model"]["seed"] = 7
    told = train(recipe(model, tmp_path / "b", data, stage(steps=1), init_from=folders))
    of = told.model.designs["image"].made_by().of
    theirs = alone.model.designs["image"].made_by().state_dict()
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in of.state_dict().items())


def test_a_part_of_another_architecture_is_refused_by_name(tiny_recipe, data, tmp_path):
    train(recipe(tiny_recipe(), tmp_path / "a", data, stage(steps=1)))
    other = tiny_recipe()
    other["model"]["inputs"]["image"]["projector"] = {"kind": "linear"}
    begun = recipe(other, tmp_path / "b", data, init_from=str(tmp_path / "a" / "model"))
    with pytest.raises(CheckpointError, match="init_from: inputs.image.projector of .* is another architecture") as caught:
        train(begun)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_batch_that_broke_a_run_can_be_run_again(tiny_recipe, data, tmp_path, monkeypatch, accumulate):
    from polymodal.training import objectives

    seen = []

    def lm(step):
        loss = objectives.lm(step)
        seen.append((step.model, step.batch, loss.each.detach().clone()))
        return Loss(loss.each * (math.nan if len(seen) == 2 * accumulate else 1.0), loss.counts)

    mixed = stage(data={"pictures": 1.0, "recordings": 1.0, "talk": 1.0}, batch=6, accumulate=accumulate)
    monkeypatch.setattr(objectives, "OBJECTIVES", {"lm": lm})
    with pytest.raises(DataError, match="the loss of step 2 is nan"):
        train(recipe(tiny_recipe(), tmp_path / "run", data, mixed))
    kept = sorted((tmp_path / "run" / "bad_batch").glob("*.json"))
    assert [file.name for file in kept] == [f"0-{i}.json" for i in range(accumulate)]
    for file, (model, batch, each) in zip(kept, seen[accumulate:], strict=True):
        again = dump.read(file)
        assert again.names == batch.names
        assert torch.equal(again.ids, batch.ids)
        with torch.no_grad():
            model.eval()
            assert torch.allclose(objectives.lm(objectives.Step(model, again)).each, each, rtol=1e-5)


def test_a_killed_run_repeats_no_row_of_its_log(tiny_recipe, data, tmp_path):
    one = recipe(tiny_recipe(), tmp_path / "run", data, stage(steps=6), save_every=4)
    train_until(one, "one", 6)
    assert [row["step"] for row in rows_of(tmp_path / "run")] == [1, 2, 3, 4, 5, 6]
    train(one)
    assert [row["step"] for row in rows_of(tmp_path / "run")] == [1, 2, 3, 4, 5, 6]


def test_a_run_that_is_broken_off_leaves_no_worker(tiny_recipe, data, tmp_path):
    """Which would prepare all that was asked of it for later steps, and keep a program from ending until it has."""
    told = recipe(tiny_recipe(), tmp_path / "run", data, stage(), workers=1)
    before = set(multiprocessing.active_children())
    with pytest.raises(KeyboardInterrupt):
        train(told, stop=lambda: True)
    assert set(multiprocessing.active_children()) == before
