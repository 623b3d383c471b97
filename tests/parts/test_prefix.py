"""A shared prefix run once: the same logits and gradients as every row for itself, in every family that can."""

from __future__ import annotations

import pytest
import torch

from polymodal.content import assistant, image, user
from polymodal.model.composition import Composition
from polymodal.model.sequence import collate, shared_prefix
from polymodal.parts import peft, prefix
from polymodal.parts.tiny import FAMILIES
from tests.conftest import picture

ASKED = "what is this? the quick brown fox jumps over a lazy dog. what is this?"


def batch(composition, texts_first: bool = True):
    """Three rows that begin alike, one without a picture, of unequal lengths."""
    turns = [
        [user(ASKED, image(picture(0))), assistant("a cat")],
        [user(ASKED, image(picture(1)), "is it red?"), assistant("the red fox jumps over a lazy dog")],
        [user(ASKED + " hello"), assistant("hello world")],
    ]
    if not texts_first:
        turns = [[user(image(picture(i)), ASKED), assistant("a cat")] for i in range(3)]
    return collate([composition.processor.encode(turn) for turn in turns], composition.processor.pad_id)


def outcome(composition, data, shared: bool):
    """(logits, gradients of the projector) with or without sharing."""
    model = composition.model
    model.backbone.__dict__["shares_prefix"] = shared
    model.requires_grad_(False)
    learned = list(model.modalities["image"].projector.requires_grad_(True).parameters())
    learned += [p.requires_grad_(True) for name, p in model.named_parameters() if "lora_" in name or "adaption_" in name]
    out = model(data)
    loss = torch.nn.functional.cross_entropy(out.logits, out.labels)
    return out.logits.detach(), torch.autograd.grad(loss, learned)


def check_equal(composition, data):
    calls = []
    hook = composition.model.backbone.lm.base_model.register_forward_hook(lambda *_: calls.append(1))
    (logits, gradients), (plain_logits, plain) = (outcome(composition, data, shared) for shared in (True, False))
    hook.remove()
    assert len(calls) == 3  # prefix, rest; everything
    assert (logits - plain_logits).abs().max() < 1e-5
    for a, b in zip(gradients, plain, strict=True):
        assert (a - b).norm() <= 1e-4 * b.norm() + 1e-9
    assert any(b.norm() > 0 for b in plain)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_that_says_it_can_share_a_prefix_gives_the_same(family, tiny_recipe):
    composition = Composition.from_recipe(tiny_recipe(config=FAMILIES[family], chat_format="plain"))
    backbone = composition.model.backbone
    if not backbone.shares_prefix:
        assert backbone.seq2seq or family not in {"llama", "qwen2", "qwen3", "smollm3", "opt"}
        return
    data = batch(composition)
    assert shared_prefix(data) >= prefix.SHORTEST
    check_equal(composition, data)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("kind", ["lora", "prefix"])
def test_adapters_see_the_same_prefix(kind, attention, tiny_recipe):
    composition = Composition.from_recipe(tiny_recipe())
    where = {"lora": "backbone.lm.*.q_proj", "prefix": "backbone.lm.*.self_attn"}[kind]
    adapter = {"lora": peft.LoRA(kind="lora"), "prefix": peft.Prefix(kind="prefix")}[kind]
    peft.attach(composition.model, {where: adapter})
    composition.model.backbone.lm.set_attn_implementation(attention)
    torch.manual_seed(0)
    for name, parameter in composition.model.named_parameters():
        if "lora_" in name or "adaption_" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    check_equal(composition, batch(composition))


def test_an_error_by_one_position_would_be_seen(tiny_recipe, monkeypatch):
    composition = Composition.from_recipe(tiny_recipe())
    data = batch(composition)
    right, _ = outcome(composition, data, False)
    run = prefix.hidden
    monkeypatch.setattr(prefix, "hidden", lambda lm, s, e, m, p: run(lm, s, e, m, p - (p >= s.shape[1]).long()))
    wrong, _ = outcome(composition, data, True)
    assert (wrong - right).abs().max() > 1e-4


def test_the_shared_prefix_ends_where_a_row_holds_media_or_padding_or_another_token(tiny_recipe):
    composition = Composition.from_recipe(tiny_recipe())
    data = batch(composition)
    common = shared_prefix(data)
    assert len({tuple(row[:common].tolist()) for row in data.ids}) == 1
    first_media = (data.index_map >= data.ids.numel()).any(0).nonzero()[0].item()
    assert 8 <= common <= first_media
    media_first = batch(composition, texts_first=False)
    assert shared_prefix(media_first) == (media_first.index_map >= media_first.ids.numel()).any(0).nonzero()[0].item()
    alike = [composition.processor.encode([user(ASKED), assistant("a cat")])] * 2
    assert shared_prefix(collate(alike, 0)) == len(alike[0]) - 1  # something must be left to run
    assert shared_prefix(collate(alike[:1], 0)) == 0
    assert shared_prefix(collate(alike, 0, packing=200)) == 0


def test_a_prefix_of_a_frozen_backbone_leaves_no_graph(tiny_recipe, monkeypatch):
    """Nothing that learns stands before it: neither its states nor casts of weights are kept for a backward pass."""
    composition = Composition.from_recipe(tiny_recipe())
    calls = []
    composition.model.backbone.lm.base_model.register_forward_hook(lambda m, i, out: calls.append(out[0].requires_grad))
    outcome(composition, batch(composition), True)
    assert calls == [False, True]
