"""Adapters: attached in place, by pattern, without changing an output, a name or a weight of what they are attached to."""

from __future__ import annotations

import warnings

import pytest
import torch
from pydantic import TypeAdapter

from polymodal.errors import RecipeError
from polymodal.parts import peft
from polymodal.parts.backbones import Backbone
from polymodal.parts.tiny import FAMILIES
from tests.conftest import LLAMA, T5

KINDS = ["lora", "prefix", "layernorm", "bottleneck"]
PREFIXED = ["llama", "mistral", "gpt2"]  # families whose attention peft's zero-gated prefixes know
ATTENTION = {"lora": "lm.*.self_attn.[qv]_proj", "prefix": "lm.*.self_attn", "layernorm": "lm.*norm", "bottleneck": "lm.*"}


def adapter(kind: str, **options):
    return TypeAdapter(peft.Adapter).validate_python({"kind": kind, **options})


@pytest.fixture
def backbone(tokenizer_folder):
    torch.manual_seed(0)
    return Backbone(config=dict(LLAMA), tokenizer=tokenizer_folder).eval()


def states(backbone: Backbone) -> torch.Tensor:
    """Logits of two rows, the second of them padded on the left."""
    ids = torch.arange(5, 21).view(2, 8)
    mask = torch.ones(2, 8, dtype=torch.long)
    mask[1, :3] = 0
    target = ids if backbone.seq2seq else None
    with torch.no_grad():
        hidden = backbone.hidden(backbone.embed(ids), mask, target)
        return backbone.head(hidden[1 - mask == 0] if target is None else hidden.flatten(0, 1))


def disturb(model: torch.nn.Module) -> None:
    """Weights as if trained: no longer the identity."""
    random = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in peft.weights(model).values():
            weight.add_(torch.randn(weight.shape, generator=random) * 0.3)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_takes_it_and_is_what_it_was(family, kind, tokenizer_folder):
    """Attaching changes no logit and no name; a changed adapter changes logits; taken off, everything is as it was."""
    torch.manual_seed(0)
    backbone = Backbone(config=dict(FAMILIES[family]), tokenizer=tokenizer_folder).eval()
    before, names = states(backbone), dict(backbone.named_parameters())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        if kind == "prefix" and family not in PREFIXED:
            with pytest.raises(RecipeError, match=r"\(prefix\) matches no module: this model has no module that it fits"):
                peft.attach(backbone, {"*": adapter(kind)})
            return
        peft.attach(backbone, {"*": adapter(kind)})
    assert torch.equal(states(backbone), before)
    adapters = peft.weights(backbone)
    assert {name: id(p) for name, p in peft.named_parameters(backbone).items() if name not in adapters} == {
        name: id(p) for name, p in names.items()
    }
    disturb(backbone)
    after = states(backbone)
    assert (after - before).abs().max() > 1e-2
    with peft.detached(backbone):
        assert torch.equal(states(backbone), before)
        assert [*backbone.named_parameters()] == [*names.items()]
    assert torch.equal(states(backbone), after)
    if kind not in ("prefix", "bottleneck"):
        with peft.detached(backbone, merge=True):
            assert torch.allclose(states(backbone), after, atol=1e-4 * float(after.abs().max()))
        assert torch.equal(states(backbone), after)


@pytest.mark.parametrize("family", [*PREFIXED, "gemma3", "opt"])
def test_generation_with_a_cache_is_generation_without(family, tokenizer_folder):
    """A prefix is no position of the sequence: padding, caches and their cropping do not know of it."""
    torch.manual_seed(0)
    backbone = Backbone(config=dict(FAMILIES[family]), tokenizer=tokenizer_folder).eval()
    peft.attach(backbone, {"*": adapter("lora")})
    if family in PREFIXED:
        peft.attach(backbone, {"*": adapter("prefix", length=3)})  # around attention whose projections are wrapped already
    peft.attach(backbone, {"*": adapter("bottleneck", width=3)})  # around layers, all of which is wrapped already
    disturb(backbone)
    ids, mask = torch.arange(5, 21).view(2, 8), torch.ones(2, 8, dtype=torch.long)
    mask[1, :3] = 0
    with_cache, without = (
        backbone.lm.generate(input_ids=ids, attention_mask=mask, max_new_tokens=6, do_sample=False, use_cache=cache)
        for cache in (True, False)
    )
    assert torch.equal(with_cache, without)
    alone = backbone.lm.generate(input_ids=ids[1:, 3:], max_new_tokens=6, do_sample=False)
    assert torch.equal(alone[0, -6:], with_cache[1, -6:])


@pytest.mark.parametrize("kind", KINDS)
def test_a_pattern_chooses_modules(kind, backbone):
    peft.attach(backbone, {ATTENTION[kind].replace("*", "model.layers.1*", 1): adapter(kind)})
    found = {name for name, module in peft.named_modules(backbone) if peft.attached(module)}
    assert (
        found
        == {
            "lora": {"lm.model.layers.1.self_attn.q_proj", "lm.model.layers.1.self_attn.v_proj"},
            "prefix": {"lm.model.layers.1.self_attn"},
            "layernorm": {"lm.model.layers.1.input_layernorm", "lm.model.layers.1.post_attention_layernorm"},
            "bottleneck": {"lm.model.layers.1"},
        }[kind]
    )


def test_names_stand_beside_those_of_the_weights(backbone):
    peft.attach(backbone, {"lm.model.layers.0.self_attn.q_proj": adapter("lora")})
    peft.attach(backbone, {"lm.model.layers.0.self_attn": adapter("prefix")})
    peft.attach(backbone, {"lm.model.norm": adapter("layernorm")})
    peft.attach(backbone, {"lm.model.layers.1": adapter("bottleneck")})
    assert set(peft.weights(backbone)) == {
        "lm.model.layers.0.self_attn.q_proj.lora_A.weight",
        "lm.model.layers.0.self_attn.q_proj.lora_B.weight",
        "lm.model.layers.0.self_attn.adaption_prompt",
        "lm.model.layers.0.self_attn.adaption_gate",
        "lm.model.norm.ln_tuning_layers.weight",
        *(f"lm.model.layers.1.adapter_{layer}.{key}" for layer in ("down", "up") for key in ("weight", "bias")),
    }
    assert "lm.model.layers.0.self_attn.q_proj.weight" in peft.named_parameters(backbone)


def test_a_pattern_that_matches_nothing_names_the_nearest_module(backbone):
    with pytest.raises(RecipeError, match=r"matches no module.*did you mean 'lm.model.layers.0.self_attn.q_proj'"):
        peft.attach(backbone, {"lm.model.layers.0.self_atn.q_proj": adapter("lora")})
    with pytest.raises(RecipeError, match=r"\(layernorm\) matches no module"):  # it is there, but it is no norm
        peft.attach(backbone, {"lm.model.layers.0.self_attn.q_proj": adapter("layernorm")})


def test_the_same_again_is_the_same_and_another_is_refused(backbone):
    peft.attach(backbone, {ATTENTION["lora"]: adapter("lora", r=4)})
    first = peft.weights(backbone)
    peft.attach(backbone, {"lm.*.[qv]_proj": adapter("lora", r=4, rate=1e-4)})
    assert {name: id(p) for name, p in peft.weights(backbone).items()} == {name: id(p) for name, p in first.items()}
    with pytest.raises(RecipeError, match=r"q_proj, which already has .*'r': 4.*: use the same options"):
        peft.attach(backbone, {"lm.*.q_proj": adapter("lora", r=8)})


def test_a_tied_head_has_no_lora(tokenizer_folder):
    """Its weight is the embeddings': merged, the product would change what the model reads."""
    tied = Backbone(config={**LLAMA, "tie_word_embeddings": True}, tokenizer=tokenizer_folder)
    loose = Backbone(config={**LLAMA, "tie_word_embeddings": False}, tokenizer=tokenizer_folder)
    for backbone in (tied, loose):
        peft.attach(backbone, {"lm.*": adapter("lora")})
    heads = [peft.attached(backbone.lm.lm_head) for backbone in (tied, loose)]
    assert heads[0] is None
    assert heads[1] is not None


@pytest.mark.parametrize("kind", ["prefix", "bottleneck"])
def test_what_no_weights_express_cannot_be_merged(kind, backbone):
    peft.attach(backbone, {"*": adapter(kind)})
    attached = peft.weights(backbone)
    with pytest.raises(RecipeError, match=f"'{kind}' cannot be merged"), peft.detached(backbone, merge=True):
        pass
    assert peft.weights(backbone).keys() == attached.keys()


def test_a_bottleneck_is_h_and_what_two_layers_make_of_h(backbone):
    """Of a layer that carries adapters of its own; the backbone still finds its layers, and whatever hooks into them."""
    names, stack = [*backbone._layers()], backbone.stack
    seen: list[torch.Tensor] = []
    for layer in backbone.layers:
        layer.register_forward_hook(lambda module, given, out: seen.append(out))
    peft.attach(backbone, {ATTENTION["lora"]: adapter("lora")})
    peft.attach(backbone, {"lm.model.layers.1": adapter("bottleneck", width=3)})
    disturb(backbone)
    assert [*backbone._layers()] == names
    assert backbone.stack is stack
    wrapper = backbone.layers[1]
    wrapper.register_forward_hook(lambda module, given, out: seen.append(out))
    ids = torch.arange(5, 13)[None]
    with torch.no_grad():
        backbone.hidden(backbone.embed(ids), torch.ones_like(ids))
        first, h, out = seen
        between = torch.nn.functional.gelu(h @ wrapper.adapter_down.weight.T + wrapper.adapter_down.bias)
        assert between.shape[-1] == 3
        expected = h + between @ wrapper.adapter_up.weight.T + wrapper.adapter_up.bias
    assert torch.allclose(out, expected, atol=1e-5)
    assert not torch.allclose(out, h, atol=1e-2)


def test_bottlenecks_learn_through_checkpointed_layers(backbone):
    """As without: the layer is computed again, its bottleneck is not."""
    peft.attach(backbone, {"lm.*": adapter("bottleneck")})
    disturb(backbone)
    backbone.requires_grad_(False)
    weights = peft.weights(backbone)
    ids = torch.arange(5, 13)[None]

    def gradients() -> list[torch.Tensor]:
        for weight in weights.values():
            weight.requires_grad_(True)
        hidden = backbone.hidden(backbone.embed(ids), torch.ones_like(ids))
        return list(torch.autograd.grad(hidden.pow(2).sum(), weights.values()))

    plain = gradients()
    backbone.checkpoint(True)
    assert all(torch.equal(a, b) for a, b in zip(gradients(), plain, strict=True))
    assert all(gradient.any() for gradient in plain)


def test_thin_matrices_of_a_half_precision_backbone_learn_in_full(tokenizer_folder):
    backbone = Backbone(config=dict(LLAMA), tokenizer=tokenizer_folder, dtype="bfloat16").eval()
    before = states(backbone)
    peft.attach(backbone, {"*": adapter("lora")})
    assert {p.dtype for p in peft.weights(backbone).values()} == {torch.float32}
    assert torch.equal(states(backbone), before)


def test_a_seq2seq_backbone_is_adapted_on_both_sides(tokenizer_folder):
    backbone = Backbone(config=dict(T5), tokenizer=tokenizer_folder)
    peft.attach(backbone, {"lm.*Attention.[qv]": adapter("lora")})
    sides = {name.split(".")[1] for name in peft.weights(backbone)}
    assert sides == {"encoder", "decoder"}


def test_what_is_only_tried_is_taken_off_again(backbone):
    peft.attach(backbone, {"lm.*.q_proj": adapter("lora")})
    modules = dict(backbone.named_modules())
    with peft.trial(backbone):
        peft.attach(backbone, {"*": adapter("prefix"), "lm.*": adapter("lora"), "lm*": adapter("bottleneck")})
        assert len(list(backbone.modules())) > len(modules)
    assert dict(backbone.named_modules()) == modules
