"""Fusions by attention: the backbone as it was until something is learned, and each position sees its own media only."""

from __future__ import annotations

import copy

import pytest
import torch

import polymodal
from polymodal.content import assistant, audio, image, user
from polymodal.errors import RecipeError
from polymodal.evaluation.choice import likelihoods
from polymodal.model.composition import Composition
from polymodal.model.generation import Sampling
from polymodal.model.sequence import collate, latest
from polymodal.parts.fusion.adaption_prompts import FAMILIES as FAMILIES_OF_PROMPTS
from polymodal.parts.fusion.attention import Media
from polymodal.parts.tiny import FAMILIES
from tests.conftest import T5, picture, sound

GATED = {"kind": "gated-cross-attention", "every": 1, "heads": 2, "head_width": 8}
PROMPTS = {"kind": "adaption-prompts", "length": 5}
BOTH = pytest.mark.parametrize("fusion", [GATED, PROMPTS], ids=["gated", "prompts"])
# Learned positions inside a decoder of its own (OPT), positional arguments (GPT-2), windows, ALiBi.
LOOKED_AT = [(GATED, f) for f in ("llama", "opt", "gpt2", "mistral", "gemma3", "smollm3", "persimmon", "granite", "bloom")]
LOOKED_AT += [(GATED, "chinchilla")]
LOOKED_AT += [(PROMPTS, f) for f in FAMILIES_OF_PROMPTS]
IN_FAMILIES = pytest.mark.parametrize(("fusion", "family"), LOOKED_AT, ids=[f"{k['kind']}-{f}" for k, f in LOOKED_AT])


def fused(tiny_recipe, fusion: dict, family: str | None = None) -> Composition:
    """Pictures by attention to a resampler's latents, sound in the sequence."""
    recipe = tiny_recipe(config=FAMILIES[family]) if family else tiny_recipe()
    recipe["model"]["inputs"]["image"] |= {
        "projector": {"kind": "resampler", "latents": 5, "heads": 2},
        "fusion": fusion,
    }
    return Composition.from_recipe(recipe)


def disturbed(composition: Composition) -> Composition:
    """Gates as if trained, wide open."""
    with torch.no_grad():
        for name, gate in composition.model.inputs.named_parameters():
            if name.endswith("gate"):
                gate.fill_(1.5)
    return composition


@pytest.fixture(scope="module", params=[GATED, PROMPTS], ids=["gated", "prompts"])
def composition(request, tiny_recipe):
    return disturbed(fused(tiny_recipe, request.param))


def examples(composition: Composition, *turns):
    return [composition.processor.encode(turn, name=f"row {i}") for i, turn in enumerate(turns)]


TURNS = [
    [user(image(picture(1)), "what is this?"), assistant("a red cat")],
    [user("hello"), assistant("a")],
    [user(audio(sound(0.6)), image(picture(2)), "?"), assistant("the blue mat")],
    [user("what?"), assistant("a dog"), user(image(picture(3)), "or", image(picture(4)), "it?"), assistant("the red fox")],
]


def logits(composition: Composition, rows, **options) -> torch.Tensor:
    with torch.no_grad():
        return composition.model(collate(rows, composition.processor.pad_id, **options)).logits


def test_a_picture_takes_one_position_and_a_recording_as_many_as_before(composition, tiny):
    (row,) = examples(composition, TURNS[2])
    (placed,) = examples(tiny, TURNS[2])
    assert [span.length for span in row.spans] == [placed.spans[0].length, 1]


def test_a_position_sees_the_last_item_of_its_own_example(composition):
    rows = examples(composition, TURNS[3], TURNS[0], TURNS[1])
    batch = collate(rows, composition.processor.pad_id, packing=200)
    assert len(batch.ids) == 1
    seen = latest(batch, "image")[0]
    for e, row in enumerate(rows):
        own = seen[batch.segments[0] == e].tolist()
        starts = [span.start for span in row.spans] + [len(row)]
        first = {0: 0, 1: 2, 2: 3}[e]
        expected = [-1] * starts[0]
        for i, (start, end) in enumerate(zip(starts, starts[1:], strict=False)):
            expected += [first + i] * (end - start)
        assert own == expected


@IN_FAMILIES
def test_at_initialisation_the_backbone_says_exactly_what_it_said(fusion, family, tiny_recipe):
    """Bit for bit, of the same embeddings."""
    composition = fused(tiny_recipe, fusion, family)
    model, pad = composition.model, composition.processor.pad_id
    batch = collate(examples(composition, *TURNS), pad)
    plain = Composition.from_recipe(tiny_recipe(config=FAMILIES[family])).model.backbone
    plain.load_state_dict(model.backbone.state_dict())
    with torch.no_grad():
        features = model.features(batch.media)
        embeds = model.embed(batch, features)
        before = plain.hidden(embeds, batch.mask)
        with model.attending(batch, features):
            assert torch.equal(model.backbone.hidden(embeds, batch.mask), before)
        disturbed(composition)
        with model.attending(batch, features):
            assert not torch.allclose(model.backbone.hidden(embeds, batch.mask), before, atol=1e-2)


def test_the_text_of_one_picture_does_not_see_the_next(composition):
    """Changing the second picture changes nothing before it and something after it; so it is with the first, whose text
    is told apart from the second's."""

    def states(*pictures):
        turns = [user(image(picture(pictures[0])), "a red cat", image(picture(pictures[1])), "the dog"), assistant("a fox")]
        batch = collate(examples(composition, turns), composition.processor.pad_id)
        model = composition.model
        with torch.no_grad():
            features = model.features(batch.media)
            with model.attending(batch, features):
                hidden = model.backbone.hidden(model.embed(batch, features), batch.mask)[0]
        seen = latest(batch, "image")[0]
        return hidden, seen

    (one, seen), (other, _) = states(1, 2), states(1, 3)
    assert torch.equal(one[seen < 1], other[seen < 1])
    assert (one[seen == 1] - other[seen == 1]).abs().amax(-1).min() > 1e-4
    changed, _ = states(4, 2)
    assert torch.equal(one[seen == -1], changed[seen == -1])
    assert (one[seen == 0] - changed[seen == 0]).abs().amax(-1).min() > 1e-4


def test_only_the_picture_before_it_is_attended_to(tiny_recipe):
    """What a layer adds to a position behind two pictures is what it adds if there is only the second."""
    composition = disturbed(fused(tiny_recipe, GATED))
    model = composition.model
    look = model.modalities["image"].fusion.layers["1"]
    batch = collate(examples(composition, TURNS[3]), composition.processor.pad_id)
    seen = latest(batch, "image")
    features = model.features(batch.media)
    states = torch.randn(1, seen.shape[1], model.backbone.width)
    with torch.no_grad():
        both = look(states, Media(features, seen), 0)
        second = look(states, Media(features[1:], seen - 1), 0)
    behind = seen[0] == 1
    assert torch.allclose(both[0, behind], second[0, behind], atol=1e-6)
    assert not torch.allclose(both[0, seen[0] == 0], second[0, seen[0] == 0], atol=1e-3)


def check_together_is_alone(composition, options):
    """Padded on either side and packed, with rows that have no picture, one and two."""
    rows = examples(composition, *TURNS)
    if options.get("side") == "left":
        for row in rows:  # a left-padded batch is never trained on
            row.supervised[:2] = False
    batch = collate(rows, composition.processor.pad_id, **options)
    with torch.no_grad():
        out = composition.model(batch)
    for e, row in enumerate(rows):
        assert torch.allclose(out.logits[out.owner == e], logits(composition, [row]), atol=5e-5)


@pytest.mark.parametrize("options", [{}, {"side": "left"}, {"packing": 400}])
def test_together_is_alone(options, composition):
    check_together_is_alone(composition, options)


def test_packed_gradients_are_those_of_padded_rows(composition):
    model, rows = composition.model, examples(composition, *TURNS)

    def gradients(**options):
        model.zero_grad()
        out = model(collate(rows, composition.processor.pad_id, **options))
        torch.nn.functional.cross_entropy(out.logits, out.labels, reduction="sum").backward()
        return {name: p.grad.clone() for name, p in model.inputs.image.named_parameters() if p.grad is not None}

    packed, padded = gradients(packing=400), gradients()
    assert packed.keys() == padded.keys()
    for name, expected in padded.items():
        assert torch.allclose(packed[name], expected, atol=1e-4 * float(expected.abs().max().clamp(min=1))), name


def greedy(composition: Composition, turn, tokens: int) -> str:
    """What is likeliest, token by token, by running the whole sequence anew for each: no cache anywhere."""
    model, processor = composition.model, composition.processor
    batch = collate([processor.encode(turn, generate=True)], processor.pad_id)
    ids: list[int] = []
    with torch.no_grad():
        features = model.features(batch.media)
        for _ in range(tokens):
            said = model.backbone.embed(torch.tensor([ids], dtype=torch.long))
            embeds = torch.cat([model.embed(batch, features), said], 1)
            with model.attending(batch, features):
                hidden = model.backbone.hidden(embeds, torch.ones(embeds.shape[:2], dtype=torch.long))
            ids.append(int(model.backbone.head(hidden[0, -1:]).argmax()))
            if ids[-1] in processor.stop_ids:
                break
    return "".join(part.text or "" for part in processor.decode(ids))


@IN_FAMILIES
def test_generation_with_a_cache_is_generation_without(fusion, family, tiny_recipe):
    """In a batch of rows with and without pictures, padded on the left."""
    composition = disturbed(fused(tiny_recipe, fusion, family))
    asked = [turn[:-1] for turn in TURNS]
    said = composition.generate(asked, Sampling(max_new_tokens=4))
    assert [part.text for (part,) in said] == [greedy(composition, turn, 4) for turn in asked]


def test_beams_look_at_the_media_of_their_row(composition):
    asked, beams = [turn[:-1] for turn in TURNS], Sampling(max_new_tokens=4, beams=2)
    assert composition.generate(asked, beams) == [composition.generate([turn], beams)[0] for turn in asked]


def test_a_second_turn_goes_on_from_the_cache(composition):
    """With what a conversation without a cache says, though the picture is in the part that is not run again."""
    chat = composition.chat(sampling=Sampling(max_new_tokens=5))
    chat.ask("what is this?", images=[picture(1)])
    encoded = composition.model.encoded
    second = chat.ask("is it red?")
    assert second.tokens["cached"] > 0
    assert composition.model.encoded == encoded
    (alone,) = composition.generate([chat.messages[:-1]], Sampling(max_new_tokens=5))
    assert alone == second.parts
    third = chat.ask("and this?", images=[picture(2)])
    (alone,) = composition.generate([chat.messages[:-1]], Sampling(max_new_tokens=5))
    assert alone == third.parts


def test_forced_choice_from_the_cache_is_that_of_whole_sequences(composition):
    turns, options = [user(image(picture(1)), "what is this?")], ["a cat", "the red fox", "a"]
    scores = likelihoods(composition, turns, options)
    for option, score in zip(options, scores, strict=True):
        with torch.no_grad():
            (row,) = examples(composition, [*turns, assistant(option)])
            out = composition.model(collate([row], composition.processor.pad_id))
        token = out.logits.log_softmax(-1).gather(-1, out.labels[:, None])
        assert torch.allclose(token.sum(), score, atol=1e-4)


@BOTH
@pytest.mark.parametrize("checkpointing", [False, True])
def test_gradients_reach_gates_and_resampler(checkpointing, fusion, tiny_recipe):
    """Through a frozen backbone, whether or not it keeps its states. From closed gates the gates learn first."""
    composition = fused(tiny_recipe, fusion)
    model = composition.model
    model.backbone.requires_grad_(False)
    model.backbone.checkpoint(checkpointing)
    batch = collate(examples(composition, *TURNS), composition.processor.pad_id)

    def gradients():
        model.zero_grad()
        out = model(batch)
        torch.nn.functional.cross_entropy(out.logits, out.labels).backward()
        return {n: float(p.grad.abs().max()) for n, p in model.inputs.image.named_parameters() if p.grad is not None}

    closed = gradients()
    assert all((value > 0) == name.endswith(("gate", "marker")) for name, value in closed.items() if "fusion" in name)
    disturbed(composition)
    opened = gradients()
    assert all(value > 0 for name, value in opened.items() if "key.bias" not in name and "k_proj.bias" not in name)
    assert {name.split(".")[0] for name in opened} == {"encoder", "projector", "fusion"}
    if checkpointing:
        plain = disturbed(fused(tiny_recipe, fusion))
        plain.model.backbone.requires_grad_(False)
        plain.model.load_state_dict(model.state_dict())
        out = plain.model(batch)
        torch.nn.functional.cross_entropy(out.logits, out.labels).backward()
        for name, p in plain.model.inputs.image.named_parameters():
            if p.grad is not None:
                assert float(p.grad.abs().max()) == pytest.approx(opened[name], rel=1e-4), name


@BOTH
def test_a_copy_is_a_model_of_its_own(fusion, tiny_recipe):
    """Made in the middle of training, when there is a graph; its layers are hooked to its own fusion."""
    composition = disturbed(fused(tiny_recipe, fusion))
    rows = examples(composition, *TURNS)
    batch = collate(rows, composition.processor.pad_id)
    out = composition.model(batch)
    clone = copy.deepcopy(composition.model)
    with torch.no_grad():
        assert torch.equal(clone(batch).logits, out.logits)
        for parameter in composition.model.inputs.image.fusion.parameters():
            parameter.zero_()
        assert torch.equal(clone(batch).logits, out.logits)
        for name, gate in clone.inputs.image.fusion.named_parameters():
            gate.mul_(0 if name.endswith("gate") else 1)
        assert not torch.allclose(clone(batch).logits, out.logits, atol=1e-4)


def test_it_is_saved_and_loaded(composition, tmp_path):
    composition.save(tmp_path / "model")
    again = polymodal.load(tmp_path / "model")
    assert (tmp_path / "model" / "inputs.image.fusion.safetensors").is_file()
    assert not (tmp_path / "model" / "inputs.audio.fusion.safetensors").exists()
    assert again.recipe.inputs["image"].fusion in (GATED, PROMPTS)
    rows = examples(composition, *TURNS)
    assert torch.equal(logits(again, rows), logits(composition, rows))
    (tmp_path / "model" / "inputs.image.fusion.safetensors").unlink()
    with pytest.raises(polymodal.errors.CheckpointError, match="inputs.image.fusion.safetensors"):
        polymodal.load(tmp_path / "model")


def test_the_backbone_keeps_its_names_and_weights(composition, tiny):
    assert composition.model.backbone.state_dict().keys() == tiny.model.backbone.state_dict().keys()


def test_two_modalities_are_looked_at_by_layers_of_their_own(tiny_recipe):
    recipe = tiny_recipe()
    for part in recipe["model"]["inputs"].values():
        part["fusion"] = GATED
    composition = disturbed(Composition.from_recipe(recipe))
    (both,) = examples(composition, TURNS[2])
    assert [span.length for span in both.spans] == [1, 1]
    other = [[user(audio(sound(0.6, 880.0)), image(picture(2)), "?"), TURNS[2][1]]]
    assert not torch.allclose(logits(composition, [both]), logits(composition, examples(composition, *other)), atol=1e-4)


@pytest.mark.parametrize(("family", "config"), [("t5", T5), ("mamba2", FAMILIES["mamba2"])])
def test_a_backbone_without_such_layers_is_refused(family, config, tiny_recipe):
    recipe = tiny_recipe(config=config, chat_format=None)
    recipe["model"]["inputs"]["image"]["fusion"] = GATED
    with pytest.raises(RecipeError, match=f"a '{family}' backbone has no layers that could look at media"):
        Composition.from_recipe(recipe)


def test_a_backbone_of_too_few_layers_is_refused(tiny_recipe):
    with pytest.raises(RecipeError, match="'every' is 4, but the backbone has 2 layers"):
        fused(tiny_recipe, {"kind": "gated-cross-attention"})


def test_a_misspelt_fusion_is_named(tiny_recipe):
    with pytest.raises(RecipeError, match=r"inputs.image.fusion.kind 'placment' is not known \(did you mean 'placement'"):
        fused(tiny_recipe, {"kind": "placment"})


def test_prompts_are_for_one_feature_or_one_each(tiny_recipe):
    recipe = tiny_recipe(config=FAMILIES["llama"])
    recipe["model"]["inputs"]["image"] |= {"fusion": {**PROMPTS, "length": 4}}  # 16 patches through an mlp
    with pytest.raises(RecipeError, match="the projector gives 16 features for 4 prompts; let it give one, or set"):
        examples(Composition.from_recipe(recipe), TURNS[0])
    recipe["model"]["inputs"]["image"] |= {"projector": {"kind": "resampler", "latents": 1, "heads": 2}}
    composition = disturbed(Composition.from_recipe(recipe))
    other = [user(image(picture(5)), "what is this?"), TURNS[0][1]]
    one, two = (logits(composition, examples(composition, turn)) for turn in (TURNS[0], other))
    assert not torch.allclose(one, two, atol=1e-4)


def test_prompts_refuse_another_attention(tiny_recipe):
    with pytest.raises(RecipeError, match="the backbone is a 'qwen3', not llama or mistral"):
        fused(tiny_recipe, PROMPTS, "qwen3")


def test_prompts_without_media_are_those_of_the_peft_library(tiny_recipe):
    """Its layer has one gate, without the tanh: with equal gates, text alone gives the same states."""
    from polymodal.parts import peft
    from polymodal.parts.peft import Prefix

    composition = fused(tiny_recipe, PROMPTS, "llama")
    plain = Composition.from_recipe(tiny_recipe(config=FAMILIES["llama"])).model.backbone
    plain.load_state_dict(composition.model.backbone.state_dict())
    peft.attach(plain, {"*self_attn": Prefix(kind="prefix", length=5)})
    weights = peft.weights(plain)
    with torch.no_grad():
        for i, layer in composition.model.inputs.image.fusion.layers.items():
            layer.gate.fill_(0.7)
            weights[f"lm.model.layers.{i}.self_attn.adaption_gate"].copy_(layer.gate[0, 0].tanh())
            weights[f"lm.model.layers.{i}.self_attn.adaption_prompt"].copy_(layer.prompts[None])
        ids = torch.arange(5, 21).view(2, 8)
        embeds = plain.embed(ids)
        ours = composition.model.backbone.hidden(embeds, torch.ones_like(ids))
        assert torch.allclose(ours, plain.hidden(embeds, torch.ones_like(ids)), atol=1e-5)
