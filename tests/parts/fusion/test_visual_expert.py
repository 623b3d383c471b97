"""Visual expert: weights of their own for the positions of media, and for no other."""

from __future__ import annotations

import copy

import pytest
import torch

import polymodal
from polymodal.content import assistant, image, user
from polymodal.errors import RecipeError
from polymodal.evaluation.choice import likelihoods
from polymodal.model.composition import Composition
from polymodal.model.generation import Sampling
from polymodal.model.sequence import collate, standing
from polymodal.parts import peft
from polymodal.parts.backbones import Backbone
from polymodal.parts.fusion.visual_expert import VisualExpert
from polymodal.parts.peft import LoRA, Prefix
from polymodal.parts.tiny import FAMILIES
from tests.conftest import picture
from tests.parts.fusion.test_attention import PROMPTS, TURNS, check_together_is_alone, examples, greedy, logits

EXPERT = {"kind": "visual-expert"}


def fused(tiny_recipe, family: str | None = None) -> Composition:
    recipe = tiny_recipe(config=FAMILIES[family]) if family else tiny_recipe()
    recipe["model"]["inputs"]["image"] |= {"fusion": EXPERT}
    return Composition.from_recipe(recipe)


def disturbed(composition: Composition) -> Composition:
    """Experts as if trained."""
    torch.manual_seed(1)
    with torch.no_grad():
        for weight in composition.model.inputs.image.fusion.parameters():
            weight.add_(torch.randn_like(weight) * 0.2)
    return composition


@pytest.fixture(scope="module")
def composition(tiny_recipe) -> Composition:
    return disturbed(fused(tiny_recipe))


@pytest.mark.parametrize("family", ["llama", "opt", "gemma3", "qwen3", "bloom"])
def test_text_alone_is_the_backbones_bit_for_bit(family, tiny_recipe):
    """However far the experts have gone; and with copies in their places, so are pictures to rounding."""
    composition, plain = fused(tiny_recipe, family), Composition.from_recipe(tiny_recipe(config=FAMILIES[family]))
    for name, part in plain.model.parts.items():
        part.load_state_dict(composition.model.get_submodule(name).state_dict())
    text, shown = examples(composition, TURNS[1]), examples(composition, *TURNS)
    expected = logits(plain, shown)
    assert torch.allclose(logits(composition, shown), expected, atol=1e-5)
    disturbed(composition)
    assert torch.equal(logits(composition, text), logits(plain, text))
    assert not torch.allclose(logits(composition, shown), expected, atol=1e-2)
    assert plain.model.backbone.state_dict().keys() == composition.model.backbone.state_dict().keys()


def test_it_is_another_layer_in_the_columns_of_media_only(composition):
    """Of one linear layer: what it gives of text and of a recording is its own, and of pictures its expert's."""
    model, rows = composition.model, examples(composition, TURNS[2], TURNS[3])
    batch = collate(rows, composition.processor.pad_id)
    linear, expert = model.backbone.layers[1].mlp.up_proj, model.inputs.image.fusion.layers[1]["mlp-up_proj"]
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    hook = linear.register_forward_hook(lambda module, args, out: seen.append((args[0], out)))
    with torch.no_grad():
        model(batch)
        hook.remove()
        ((given, out),) = seen
        own = standing(batch, "image") >= 0
        assert own.sum() == sum(
            span.length for row in rows for span in row.spans if row.media[span.index].modality == "image"
        )
        assert torch.allclose(out[own], expert(given)[own], atol=1e-5)
        assert torch.equal(out[~own], torch.nn.functional.linear(given, linear.weight, linear.bias)[~own])


@pytest.mark.parametrize("options", [{}, {"side": "left"}, {"packing": 400}])
def test_together_is_alone(options, composition):
    check_together_is_alone(composition, options)


@pytest.mark.parametrize("family", ["llama", "opt"])
def test_generation_with_a_cache_is_generation_without(family, tiny_recipe):
    composition = disturbed(fused(tiny_recipe, family))
    asked = [turn[:-1] for turn in TURNS]
    said = composition.generate(asked, Sampling(max_new_tokens=4))
    assert [part.text for (part,) in said] == [greedy(composition, turn, 4) for turn in asked]
    beams = Sampling(max_new_tokens=3, beams=2)
    assert composition.generate(asked, beams) == [composition.generate([turn], beams)[0] for turn in asked]


def test_a_second_turn_goes_on_from_the_cache(composition):
    """The first picture is in it, and is neither encoded nor run again."""
    chat = composition.chat(sampling=Sampling(max_new_tokens=5))
    chat.ask("what is this?", images=[picture(1)])
    encoded = composition.model.encoded
    for pictures in ([], [picture(2)]):
        answer = chat.ask("is it red?", images=pictures)
        assert answer.tokens["cached"] > 0
        (alone,) = composition.generate([chat.messages[:-1]], Sampling(max_new_tokens=5))
        assert alone == answer.parts
        assert composition.model.encoded <= (encoded := encoded + 3)


def test_forced_choice_from_the_cache_is_that_of_whole_sequences(composition):
    turns, options = [user(image(picture(1)), "what is this?")], ["a cat", "the red fox", "a"]
    for option, score in zip(options, likelihoods(composition, turns, options), strict=True):
        with torch.no_grad():
            (row,) = examples(composition, [*turns, assistant(option)])
            out = composition.model(collate([row], composition.processor.pad_id))
        token = out.logits.log_softmax(-1).gather(-1, out.labels[:, None])
        assert torch.allclose(token.sum(), score, atol=1e-4)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_experts_learn_behind_a_frozen_backbone(checkpointing, tiny_recipe):
    composition = fused(tiny_recipe)
    model = composition.model
    model.backbone.requires_grad_(False)
    model.backbone.checkpoint(checkpointing)
    out = model(collate(examples(composition, *TURNS), composition.processor.pad_id))
    torch.nn.functional.cross_entropy(out.logits, out.labels).backward()
    learned = {name for name, p in model.inputs.image.fusion.named_parameters() if p.grad is not None and p.grad.any()}
    last = {
        f"layers.1.{key}.weight"
        for key in ("self_attn-q_proj", "self_attn-o_proj", "mlp-gate_proj", "mlp-up_proj", "mlp-down_proj")
    }
    # Of the last layer nothing but keys and values is read of a position that predicts nothing.
    assert {name for name, _ in model.inputs.image.fusion.named_parameters()} - learned <= last
    assert not any(p.grad is not None for p in model.backbone.parameters())


def test_the_backbone_may_have_adapters_beside_it(composition):
    """LoRA beside a layer is beside its expert, too."""
    rows = examples(composition, TURNS[0])
    before = logits(composition, rows)
    with peft.trial(composition.model):
        peft.attach(composition.model, {"backbone.lm.*.q_proj": LoRA(kind="lora", r=2)})
        assert torch.equal(logits(composition, rows), before)
        with torch.no_grad():
            for name, weight in peft.weights(composition.model).items():
                weight.add_(0.3 if "lora_B" in name else 0)
        assert not torch.allclose(logits(composition, rows), before, atol=1e-4)


def test_it_is_saved_loaded_and_copied(composition, tmp_path):
    rows = examples(composition, *TURNS)
    expected = logits(composition, rows)
    composition.save(tmp_path / "model")
    assert torch.equal(logits(polymodal.load(tmp_path / "model"), rows), expected)
    clone = Composition(copy.deepcopy(composition.model), composition.recipe)
    assert torch.equal(logits(clone, rows), expected)
    with torch.no_grad():
        for weight in clone.model.inputs.image.fusion.parameters():
            weight.zero_()
    assert torch.equal(logits(composition, rows), expected)
    assert not torch.allclose(logits(clone, rows), expected, atol=1e-2)


def test_pictures_and_recordings_have_experts_of_their_own(tiny_recipe):
    recipe = tiny_recipe()
    for part in recipe["model"]["inputs"].values():
        part["fusion"] = EXPERT
    composition = disturbed(Composition.from_recipe(recipe))
    shown, heard = examples(composition, TURNS[0]), examples(composition, TURNS[2])
    before = logits(composition, shown), logits(composition, heard)
    with torch.no_grad():
        for weight in composition.model.inputs.audio.fusion.parameters():
            weight.mul_(2)
    assert torch.equal(logits(composition, shown), before[0])
    assert not torch.allclose(logits(composition, heard), before[1], atol=1e-3)


def test_learned_tokens_in_the_same_layers_are_refused(composition, tiny_recipe):
    recipe = tiny_recipe()
    recipe["model"]["inputs"]["image"]["fusion"] = EXPERT
    recipe["model"]["inputs"]["audio"] |= {"projector": {"kind": "resampler", "latents": 1}, "fusion": PROMPTS}
    both = Composition.from_recipe(recipe)
    with pytest.raises(RecipeError, match="drop the fusion 'adaption-prompts'"):
        logits(both, examples(both, TURNS[0]))
    with peft.trial(composition.model):
        peft.attach(composition.model, {"backbone.lm.*.self_attn": Prefix(kind="prefix", length=3)})
        with pytest.raises(RecipeError, match="or the adapter 'prefix'"):
            logits(composition, examples(composition, TURNS[0]))


def test_it_is_as_large_as_the_paper_says(tokenizer_folder):
    """6.5 billion parameters learn behind a Vicuna-7B (section 2.2), and nearly all of them are these."""
    sizes = {"hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32, "num_attention_heads": 32}
    with torch.device("meta"):
        expert = VisualExpert(Backbone(config={"model_type": "llama", **sizes}, tokenizer=tokenizer_folder))
    assert 6.4e9 < sum(p.numel() for p in expert.parameters()) < 6.6e9


def test_a_backbone_of_other_layers_is_refused(tiny_recipe):
    for family, says in (
        ("gpt2", "'attn.c_attn.weight' of a 'gpt2' backbone is of no linear layer"),
        ("mamba2", "'placement'"),
    ):
        with pytest.raises(RecipeError, match=says):
            fused(tiny_recipe, family)
