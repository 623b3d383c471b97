"""Guarantee 6: what is frozen never changes and gets no gradient; each objective changes only what its stage declares."""

from __future__ import annotations

from fnmatch import fnmatchcase

import pytest
import torch
from accelerate import Accelerator
from tests.conftest import T5, picture
from tests.training.runs import differing, raw_recipe, recipe, stage, weights, write_pictures, write_recordings, write_talk

from polymodal.content import assistant, image, user
from polymodal.errors import RecipeError
from polymodal.model.composing import compose
from polymodal.model.composition import Composition
from polymodal.model.sequence import collate
from polymodal.parts import peft
from polymodal.training import loop
from polymodal.training.loop import train
from polymodal.training.stage import select, train_recipe


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    return {
        "pictures": write_pictures(folder),
        "recordings": write_recordings(folder),
        "talk": write_talk(folder),
    }


@pytest.fixture
def seen(monkeypatch):
    """A real run, watched: at every step, the names of the parameters that hold a gradient."""
    steps: list[set[str]] = []
    models: list[torch.nn.Module] = []
    original_compose, original_clip = loop.compose, Accelerator.clip_grad_norm_

    def watched_compose(recipe):
        models.append(original_compose(recipe))
        return models[-1]

    def watched_clip(self, parameters, limit):
        steps.append({name for name, p in models[-1].named_parameters() if p.grad is not None})
        return original_clip(self, parameters, limit)

    monkeypatch.setattr(loop, "compose", watched_compose)
    monkeypatch.setattr(Accelerator, "clip_grad_norm_", watched_clip)
    return steps


def matching(names, patterns):
    return {name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns)}


PROJECTORS = ("inputs.*.projector.*",)
CASES = {
    # objective, data, patterns -> patterns of what must change: the declared that the objective can reach, all of it
    "lm, projectors": ("lm", ("pictures", "recordings"), PROJECTORS, PROJECTORS),
    "lm, one projector": ("lm", ("pictures", "recordings"), ("inputs.image.projector.*",), ("inputs.image.projector.*",)),
    "lm, a layer of the backbone": ("lm", ("pictures", "talk"), ("backbone.*.layers.1.mlp.*",), ("backbone.*",)),
    "lm, norms": ("lm", ("pictures",), ("*.norm.weight", "*layernorm.weight"), ("backbone.*norm.weight",)),
    "lm, an encoder": ("lm", ("pictures",), ("inputs.image.encoder.*",), ("inputs.image.encoder.*",)),
    "lm, all": ("lm", ("pictures", "recordings"), ("*",), ("backbone.*", "inputs.*.projector.*", "inputs.*.encoder.*")),
    "ctc, projectors": ("ctc", ("recordings",), PROJECTORS, ("inputs.audio.projector.*",)),
    "ctc, an encoder": ("ctc", ("recordings",), ("inputs.audio.*",), ("inputs.audio.*",)),
    "align, projectors": ("align", ("pictures",), PROJECTORS, ("inputs.image.projector.*",)),
}
# Parameters that no feature depends on: CLIP's norm of the pooled output, which LLaVA-style models never read.
UNREACHABLE = ("*.post_layernorm.*", "*.k_proj.bias")


@pytest.mark.parametrize("case", CASES)
def test_a_run_changes_what_its_patterns_name_and_nothing_else(case, tiny_recipe, data, tmp_path, seen):
    name, sources, patterns, reached = CASES[case]
    learn = stage(
        objectives={name: 1.0},
        data=dict.fromkeys(sources, 1.0),
        train=dict.fromkeys(patterns, 1e-2),
        steps=6,
        batch=3,
    )
    raw = raw_recipe(tiny_recipe(), tmp_path / "run", data, learn)
    before = weights(compose(train_recipe(raw).model))
    after = weights(train(train_recipe(raw)).model)
    declared = matching(before, patterns)
    for name in declared:  # at its end a run rounds the projectors it declares to float16
        if ".projector." in name:
            before[name] = before[name].half().float()
    changed = differing(before, after)
    assert changed
    assert changed <= declared
    expected = matching(declared, reached) - matching(declared, UNREACHABLE)
    assert changed - matching(declared, UNREACHABLE) == expected
    assert len(seen) == 6
    assert all(gradients <= declared for gradients in seen)
    assert set().union(*seen) >= expected


def test_a_stage_freezes_what_the_stage_before_trained(tiny_recipe, data, tmp_path, seen):
    first = stage("first", data={"recordings": 1.0}, train={"inputs.audio.projector.*": 1e-2}, steps=3)
    second = stage("second", data={"pictures": 1.0, "recordings": 1.0}, train={"inputs.image.projector.*": 1e-2}, steps=5)
    alone = train(recipe(tiny_recipe(), tmp_path / "alone", data, first))
    both = train(recipe(tiny_recipe(), tmp_path / "both", data, first, second))
    changed = differing(weights(alone.model), weights(both.model))
    assert changed == {name for name in weights(both.model) if name.startswith("inputs.image.projector.")}
    assert all(name.startswith("inputs.image.projector.") for gradients in seen[6:] for name in gradients)


def test_weight_decay_does_not_reach_what_is_frozen(tiny_recipe, data, tmp_path):
    learn = stage(weight_decay=0.5, steps=4)
    raw = raw_recipe(tiny_recipe(), tmp_path / "run", data, learn)
    before = weights(compose(train_recipe(raw).model))
    changed = differing(before, weights(train(train_recipe(raw)).model))
    assert all(".projector." in name for name in changed)


@pytest.mark.parametrize("encoder", ["efficientnet-lite", "dropout"])
def test_a_frozen_part_runs_as_in_inference(encoder, tiny_recipe, data, tmp_path):
    """No moving statistics, no dropout: two passes over a picture while training give the same features."""
    raw = tiny_recipe()
    if encoder == "efficientnet-lite":
        raw["model"]["inputs"]["image"]["encoder"] = {"kind": "efficientnet-lite"}
    else:
        raw["model"]["inputs"]["image"]["encoder"]["config"]["attention_dropout"] = 0.5
        raw["model"]["backbone"]["config"]["attention_dropout"] = 0.5
    learn = stage(steps=2, train={"inputs.image.projector.*": 1e-2})
    run = raw_recipe(raw, tmp_path / "run", data, learn)
    before = weights(compose(train_recipe(run).model))
    after = weights(train(train_recipe(run)).model)  # buffers included
    assert all(name.startswith("inputs.image.projector.") for name in differing(before, after))
    composition = Composition.from_recipe(raw)
    select(composition.model, {"inputs.*.projector.*": 1e-2})
    composition.model.train()
    loop._freeze_statistics(composition.model)
    turns = [user(image(picture(1)), "?"), assistant("a cat")]
    batch = collate([composition.processor.encode(turns)], composition.processor.pad_id)
    with torch.no_grad():
        assert torch.equal(composition.model(batch).logits, composition.model(batch).logits)


def test_the_statistics_of_a_frozen_branch_stay_while_its_neighbour_learns(tiny_recipe, data, tmp_path):
    """A classifier whose mean moved after it had learned would call everything by another name."""
    raw = tiny_recipe()
    tags = {"kind": "tags", "names": ["a cat", "a dog"], "top": 1, "tokens": 1, "rank": 4}
    raw["model"]["inputs"]["image"]["projector"] = {"kind": "branches", "of": {"tags": tags, "prefix": {"kind": "prefix"}}}
    learn = stage(train={"inputs.image.projector.of.prefix.*": 1e-2}, steps=2)
    before = weights(compose(train_recipe(raw_recipe(raw, tmp_path / "run", data, learn)).model))
    after = weights(train(train_recipe(raw_recipe(raw, tmp_path / "run", data, learn))).model)
    changed = differing(before, after)
    assert any(name.endswith("standardize.mean") for name in changed)
    assert all(torch.equal(before[name].half(), after[name].half()) for name in changed if ".tags." in name)  # as stored


@pytest.mark.parametrize("family", ["causal", "seq2seq"])
def test_the_gradient_reaches_the_projector_through_a_frozen_backbone(family, tiny_recipe):
    composition = Composition.from_recipe(tiny_recipe() if family == "causal" else tiny_recipe(T5, chat_format=None))
    select(composition.model, {"inputs.image.projector.*": 1e-2})
    example = composition.processor.encode([user(image(picture(1)), "what is this?"), assistant("a red cat")])
    loop.Losses(composition.model, {"lm": 1.0})(collate([example], composition.processor.pad_id))[0].backward()
    for name, parameter in composition.model.named_parameters():
        if name.startswith("inputs.image.projector."):
            assert parameter.grad.abs().max() > 0, name
        else:
            assert parameter.grad is None, name


@pytest.mark.parametrize("kind", ["lora", "prefix", "layernorm"])
def test_the_weights_beside_an_adapter_never_change_and_get_no_gradient(kind, tiny_recipe, data, tmp_path, seen):
    learn = stage(train={}, peft={"backbone.lm.*": {"kind": kind, "rate": 1e-2}})
    raw = raw_recipe(tiny_recipe(), tmp_path / "run", data, learn)
    before = weights(compose(train_recipe(raw).model))
    model = train(train_recipe(raw)).model
    adapters = peft.weights(model)
    assert all(adapters[name].abs().max() > 0 for name in adapters)
    with peft.detached(model):
        assert not differing(before, weights(model))
        plain = {name for name, _ in model.named_parameters()}
    assert not plain & set().union(*seen)
    assert set(seen[-1]) == {name for name, _ in model.named_parameters() if _ in set(adapters.values())}


def test_a_pattern_that_matches_nothing_raises_before_anything_is_trained(tiny_recipe, data, tmp_path, seen):
    with pytest.raises(RecipeError, match=r"'inputs.image.projecter.\*' matches no parameter.*inputs.image.projector"):
        train(recipe(tiny_recipe(), tmp_path / "run", data, stage(train={"inputs.image.projecter.*": 1e-2})))
    assert not seen
