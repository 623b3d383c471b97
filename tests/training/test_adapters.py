"""Stages with adapters, packing and gradient checkpointing: what learns, what stays, and that a run resumes with them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest
import torch
import yaml

import polymodal
from polymodal.errors import RecipeError
from polymodal.model.composing import compose
from polymodal.model.modeling import MultimodalLM
from polymodal.parts import peft
from polymodal.parts.tiny import FAMILIES
from polymodal.training import loop
from polymodal.training.loop import train
from polymodal.training.stage import train_recipe
from tests.training.runs import differing, raw_recipe, recipe, rows_of, stage, state_of, train_until, weights

LORA = {"backbone.lm.*.self_attn.[qv]_proj": {"kind": "lora", "r": 4, "dropout": 0.1, "rate": 1e-2}}
NORMS = {"backbone.lm.*norm": {"kind": "layernorm", "rate": 1e-2}}
PREFIX = {"backbone.lm.*.self_attn": {"kind": "prefix", "length": 3, "rate": 1e-1}}
EYES = {"inputs.image.encoder.*.[qv]_proj": {"kind": "lora", "r": 2, "rate": 1e-2}}


def adapters(**changes):
    """Three stages: adapters, the base below some of them and other adapters, then neither."""
    return (
        stage("first", peft={**LORA, **EYES}, steps=3, train={}, weight_decay=0.1, **changes),
        stage("second", peft=NORMS, steps=4, train={"backbone.lm.*.q_proj.weight": 1e-3}, **changes),
        stage("third", steps=3, peft={**PREFIX, **LORA}, train={"inputs.image.projector.*": 1e-2}, **changes),
    )


def ordinary(model) -> dict[str, torch.Tensor]:
    return {name: parameter.detach().clone() for name, parameter in peft.named_parameters(model).items()}


@pytest.fixture(scope="module")
def uninterrupted(tiny_recipe, data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "run"
    return train(recipe(tiny_recipe(), folder, data, *adapters())), state_of(folder), folder


@pytest.mark.parametrize(
    ("name", "step"), [("first", 1), ("first", 3), ("second", 1), ("second", 3), ("third", 2), ("third", 3)]
)
def test_a_run_with_adapters_resumes_exactly(name, step, tiny_recipe, data, tmp_path, uninterrupted):
    whole, state, _ = uninterrupted
    settings = recipe(tiny_recipe(), tmp_path / "run", data, *adapters(), save_every=1 if step != 3 else 2)
    train_until(settings, name, step)
    again = train(recipe(tiny_recipe(), tmp_path / "run", data, *adapters(), save_every=1 if step != 3 else 2))
    assert not differing(weights(again.model), weights(whole.model))
    assert not differing(state_of(tmp_path / "run"), state)


def test_the_finished_model_is_loaded_with_its_adapters(uninterrupted):
    whole, _, folder = uninterrupted
    assert list(whole.recipe.peft) == [*LORA, *EYES, *NORMS, *PREFIX]
    assert all(adapter.rate is None for adapter in whole.recipe.peft.values())
    loaded = polymodal.load(folder / "model")
    assert not differing(weights(loaded.model), weights(whole.model))


def test_only_what_a_stage_names_learns(tiny_recipe, data, tmp_path):
    """Adapters of an earlier stage are frozen, unless they are named again by a pattern of `peft` or of `train`."""
    found: dict[str, set[str]] = {}
    raw = raw_recipe(tiny_recipe(), tmp_path / "run", data, *adapters())
    settings = train_recipe(raw)
    before = ordinary(compose(settings.model))
    for name in ("first", "second", "third"):
        stages = [s for s in raw["stages"] if s["name"] in ("first", "second", "third")[: len(found) + 1]]
        after = ordinary(
            train(train_recipe({**raw, "stages": stages, "run": {**raw["run"], "folder": str(tmp_path / name)}})).model
        )
        found[name] = {n for n, value in after.items() if n not in before or not torch.equal(before[n], value)}
        before = after
    lora = {n for n in before if ".lora_" in n}
    assert found["first"] == lora
    assert found["second"] == {n for n in before if "ln_tuning" in n} | {
        n for n in before if "backbone" in n and n.endswith("q_proj.weight")
    }
    projectors = {n for n in before if n.startswith("inputs.image.projector")}
    assert found["third"] == {n for n in lora if "backbone" in n} | {n for n in before if "adaption" in n} | projectors


def test_an_adapter_can_be_named_by_train_later(tiny_recipe, data, tmp_path):
    stages = [stage("one", train={}, peft=LORA, steps=1), stage("two", train={"backbone.*.lora_B.*": 1e-2}, steps=2)]
    first = ordinary(train(recipe(tiny_recipe(), tmp_path / "a", data, stages[0])).model)
    second = ordinary(train(recipe(tiny_recipe(), tmp_path / "b", data, *stages)).model)
    assert differing(first, second) == {name for name in first if name.endswith("lora_B.weight")}


@pytest.mark.parametrize("where", ["backbone.lm.*", "inputs.image.encoder.*"])
def test_the_base_of_an_adapter_runs_as_in_inference(where, tiny_recipe, data, tmp_path, monkeypatch):
    """No dropout in it, no change of it, bit for bit: only the adapter's own dropout is at work."""
    raw = tiny_recipe()
    raw["model"]["backbone"]["config"]["attention_dropout"] = 0.5
    raw["model"]["inputs"]["image"]["encoder"]["config"]["attention_dropout"] = 0.5
    peft_options = {where: {"kind": "lora", "dropout": 0.1, "rate": 1e-2}}
    raw = raw_recipe(raw, tmp_path / "run", data, stage(train={}, peft=peft_options, steps=2))
    before = ordinary(compose(train_recipe(raw).model))
    modes: list[tuple[str, bool]] = []
    seen: list[MultimodalLM] = []

    def watched(recipe):
        seen.append(compose(recipe))
        return seen[-1]

    def watch(row):
        modes.extend((name, module.training) for name, module in seen[0].named_modules() if not list(module.children()))

    monkeypatch.setattr(loop, "compose", watched)
    after = ordinary(train(train_recipe(raw), on_log=watch).model)
    assert {name for name in before if not torch.equal(before[name], after[name])} == set()
    assert any(not torch.equal(after[name], torch.zeros_like(after[name])) for name in after if "lora_B" in name)
    part = where.removesuffix(".*")
    working = {name for name, mode in modes if mode and name.startswith(part)}
    assert working
    assert all(".lora_" in name for name in working)


@pytest.mark.parametrize(
    "change", [{"packing": 1024}, {"checkpointing": True}, {"packing": 1024, "checkpointing": True}], ids=str
)
def test_packed_or_checkpointed_a_run_is_the_same_run(change, tiny_recipe, data, tmp_path):
    """One pool of one batch, so that the samples of each step are the same: then so are losses and weights."""
    both = {"pictures": 1.0, "recordings": 1.0}
    options = {"data": both, "train": {"inputs.*.projector.*": 1e-2, "backbone.*": 1e-3}, "batch": 4, "grouping": 1}
    plain = train(recipe(tiny_recipe(), tmp_path / "plain", data, stage(**options)))
    other = train(recipe(tiny_recipe(), tmp_path / "other", data, stage(**options, **change)))
    expected, found = rows_of(tmp_path / "plain"), rows_of(tmp_path / "other")
    assert [row["loss"] for row in found] == [
        {name: pytest.approx(value, abs=2e-4) for name, value in row["loss"].items()} for row in expected
    ]
    for name, value in weights(plain.model).items():
        assert torch.allclose(weights(other.model)[name], value, atol=2e-3), name
    if "packing" in change:
        assert sum(row["padding"] for row in found) < sum(row["padding"] for row in expected)


def test_a_packed_run_resumes_exactly(tiny_recipe, data, tmp_path):
    options = {"packing": 1024, "batch": 3, "grouping": 2, "checkpointing": True}
    whole = train(recipe(tiny_recipe(), tmp_path / "whole", data, stage(**options)))
    settings = recipe(tiny_recipe(), tmp_path / "run", data, stage(**options))
    train_until(settings, "one", 3)
    assert not differing(weights(train(settings).model), weights(whole.model))


def test_the_finished_model_keeps_no_checkpointing(tiny_recipe, data, tmp_path):
    model = train(recipe(tiny_recipe(), tmp_path / "run", data, stage(checkpointing=True, steps=1))).model
    assert not model.backbone.lm.is_activation_checkpointing
    assert not any(module.training for module in model.modules())


def test_the_guide_shows_adapters_as_they_are(tiny_recipe, data, tmp_path):
    """Its example trains, and its table has every kind with its options and defaults."""
    page = (Path(__file__).parents[2] / "docs/guide/train.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```yaml\n(peft:.*?)```", page, re.S)
    trained = train(recipe(tiny_recipe(), tmp_path / "run", data, stage(**yaml.safe_load(example), steps=1)))
    assert {name.split(".")[0] for name in peft.weights(trained.model)} == {"backbone", "inputs"}
    for kind in (peft.LoRA, peft.Prefix, peft.LayerNorm, peft.Bottleneck):
        (name,) = get_args(kind.model_fields["kind"].annotation)
        (row,) = re.findall(rf"^\| `{name}` \|(.*?)\| [a-z]", page, re.M)
        options = {key: field.default for key, field in kind.model_fields.items() if key not in ("kind", "rate")}
        assert yaml.safe_load("{" + row.replace("`", "") + "}") == options


def refusal(tiny_recipe, data, tmp_path, *stages, **run) -> str:
    with pytest.raises(RecipeError) as caught:
        train(recipe(tiny_recipe, tmp_path / "run", data, *stages, **run))
    assert not (tmp_path / "run").exists()
    return str(caught.value)


def test_what_cannot_be_is_refused_before_anything_is_trained(tiny_recipe, data, tmp_path):
    raw = tiny_recipe()
    first = stage("first")
    for pattern, options, said in (
        ("backbone.lm.*.q_prj", {"kind": "lora"}, r"'backbone.lm.\*.q_prj' \(lora\) matches no module"),
        ("*", {"kind": "lore"}, "stages.1.peft"),
        ("*", {"kind": "lora", "alfa": 1}, r"did you mean 'alpha'"),
        ("*", {"kind": "lora", "r": 0}, "stages.1.peft"),
    ):
        message = pytest.raises(RecipeError, match=said)
        with message:
            train(recipe(raw, tmp_path / "run", data, first, stage("two", peft={pattern: {"rate": 1e-3, **options}})))
    assert not (tmp_path / "run").exists()
    assert "needs a learning rate, 'rate'" in refusal(raw, data, tmp_path, stage(peft={"*": {"kind": "lora"}}))
    assert "trains nothing" in refusal(raw, data, tmp_path, stage(train={}))
    assert "do not hold examples of 1024" in refusal(raw, data, tmp_path, stage(packing=512))
    again = stage("two", train={}, peft={next(iter(LORA)): {"kind": "lora", "r": 2, "rate": 1e-3}})
    assert "has another adapter already" in refusal(raw, data, tmp_path, stage("one", peft=LORA), again)
    wider = stage("two", train={}, peft={"backbone.*": {"kind": "lora", "r": 2, "rate": 1e-3}})
    assert "use the same options" in refusal(raw, data, tmp_path, stage("one", peft=LORA), wider)
    cached = refusal(raw, data, tmp_path, stage(train={}, peft=EYES), cache=str(tmp_path / "cache"))
    assert "trains inputs.image.encoder: remove run.cache" in cached


@pytest.mark.parametrize("family", ["bloom", "mamba2", "t5"])
def test_packing_is_refused_before_anything_is_trained(family, tiny_recipe, data, tmp_path):
    model = tiny_recipe(config=FAMILIES[family], chat_format=None if family == "t5" else "chatml")
    assert f"not exact with a '{family}' backbone" in refusal(model, data, tmp_path, stage(packing=1024))
