"""Every backbone family does everything: its own logits, a training step, a picture, a mixed batch, a second turn."""

from __future__ import annotations

import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from polymodal.content import Message, assistant, audio, image, text, user
from polymodal.errors import RecipeError
from polymodal.model.composition import Composition
from polymodal.model.generation import Sampling, generate
from polymodal.model.sequence import collate
from polymodal.parts.backbones import Backbone
from polymodal.parts.tiny import FAMILIES
from tests.conftest import CLIP, LLAMA, picture, sound

SHORT = Sampling(max_new_tokens=5)


@pytest.fixture(scope="module", params=FAMILIES)
def composition(request, tiny_recipe):
    config = FAMILIES[request.param]
    seq2seq = "num_layers" in config or "encoder_layers" in config
    return Composition.from_recipe(tiny_recipe(config=config, chat_format=None if seq2seq else "chatml"))


def test_head_equals_the_models_own_logits(composition):
    backbone = composition.model.backbone
    torch.manual_seed(0)
    words = len(backbone.tokenizer)
    ids, mask = torch.randint(5, words, (2, 9)), torch.ones(2, 9, dtype=torch.long)
    target = torch.randint(5, words, (2, 5)) if backbone.seq2seq else None
    extra = {} if target is None else {"labels": target}
    with torch.no_grad():
        hidden = backbone.hidden(backbone.embed(ids), mask, target)
        own = backbone.lm(input_ids=ids, attention_mask=mask, **extra).logits
        assert hidden.shape[:2] == own.shape[:2]
        assert torch.allclose(backbone.head(hidden.flatten(0, 1)), own.flatten(0, 1), atol=1e-5)
    assert own.std(-1).mean() > 0.02  # not a head that says the same of every token


def test_a_training_step_reaches_the_projector(composition):
    model = composition.model
    example = composition.processor.encode([user(image(picture(1)), "what is this?"), assistant("a red cat")])
    model.requires_grad_(False)
    projector = model.modalities["image"].projector.requires_grad_(True)
    out = model(collate([example], composition.processor.pad_id))
    torch.nn.functional.cross_entropy(out.logits, out.labels).backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in projector.parameters())
    assert all(p.grad is None for p in model.backbone.parameters())
    model.zero_grad()


def test_an_answer_depends_on_the_picture(composition):
    """Teacher forced, because a random model may well say the same token of two pictures."""

    def logits(seed: int) -> torch.Tensor:
        turns = [user(image(picture(seed)), "what is this?"), assistant("a red cat")]
        with torch.no_grad():
            return composition.model(collate([composition.processor.encode(turns)], composition.processor.pad_id)).logits

    assert not torch.allclose(logits(1), logits(2), atol=1e-4)
    assert composition.ask("what is this?", images=[picture(1)], sampling=SHORT).tokens["generated"] > 0


def test_the_first_token_is_the_one_training_predicts(composition):
    """Prompt and teacher-forced text meet: greedy's first choice is the argmax that training would have scored."""
    question = [user(image(picture(1)), "what is this?")]
    prompt = composition.processor.encode(question, generate=True)
    out = generate(composition.model, [prompt], SHORT, [], composition.processor.pad_id)
    training = composition.processor.encode([*question, assistant("a red cat")])
    with torch.no_grad():
        scores = composition.model(collate([training], composition.processor.pad_id)).logits[0]
    assert out.ids[0][0] == int(scores.argmax())


def test_padding_changes_no_hidden_state(composition):
    """More exact than the tokens below. Causal models generate padded on the left; everything else pads on the right."""
    model, pad = composition.model, composition.processor.pad_id
    examples = [
        composition.processor.encode([user(*media, "what is this?"), assistant("a red cat")])
        for media in ([], [image(picture(1))], [image(picture(2)), audio(sound(0.8))])
    ]

    def states(group, side):
        batch = collate(group, pad, side)
        with torch.no_grad():
            hidden = model.backbone.hidden(model.embed(batch), batch.mask.long(), batch.target)
        return hidden if batch.target is not None else [h[m] for h, m in zip(hidden, batch.mask, strict=True)]

    for side in ("right",) if model.backbone.seq2seq else ("right", "left"):
        for example, together in zip(examples, states(examples, side), strict=True):
            assert torch.allclose(together, states([example], side)[0], atol=1e-4), side


def test_a_batch_of_different_media_answers_as_one_at_a_time(composition):
    conversations = [
        [user("hello")],
        [user(image(picture(1)), "what is this?")],
        [user(image(picture(2)), image(picture(3)), audio(sound(0.8)), "which?")],
        [Message("user", (audio(sound(0.3)), text("repeat")))],
    ]
    examples = [composition.processor.encode(c, generate=True) for c in conversations]

    def tokens(group):
        return generate(composition.model, group, SHORT, [], composition.processor.pad_id).ids

    assert tokens(examples) == [tokens([example])[0] for example in examples]


def test_a_second_turn_answers_as_from_nothing(composition):
    chat = composition.chat(sampling=SHORT)
    for turn, (question, media) in enumerate([("what is this?", [picture(1)]), ("a red cat?", []), ("?", [picture(2)])]):
        answer = chat.ask(question, images=media)
        fresh = composition.generate([chat.messages[:-1]], SHORT)[0]
        assert answer.text == "".join(part.text or "" for part in fresh), turn


@pytest.fixture(scope="module")
def llama_folder(tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("llm")
    tiny.model.backbone.lm.half().save_pretrained(folder)
    tiny.model.backbone.lm.float()
    tiny.model.backbone.tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_backbone_computes_in_the_dtype_it_is_asked_for(llama_folder, dtype):
    """Whatever the checkpoint is stored in: half precision on disk is float32 in memory unless the recipe says so."""
    backbone = Backbone(path=str(llama_folder), dtype=dtype)
    assert {p.dtype for p in backbone.parameters()} == {getattr(torch, dtype)}
    assert backbone.head(torch.zeros(3, backbone.width, dtype=getattr(torch, dtype))).dtype == getattr(torch, dtype)


def test_a_backbone_folder_without_one_tensor_is_refused_by_its_name(llama_folder, tmp_path):
    folder = shutil.copytree(llama_folder, tmp_path / "llm")
    state = load_file(folder / "model.safetensors")
    del state["model.layers.1.self_attn.q_proj.weight"]
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(RecipeError, match=r"'model.layers.1.self_attn.q_proj.weight' is missing"):
        Backbone(path=str(folder))


def test_a_folder_that_is_not_there_is_a_recipe_error(tmp_path, tokenizer_folder):
    with pytest.raises(RecipeError, match="backbone"):
        Backbone(path=str(tmp_path / "nowhere"))
    with pytest.raises(RecipeError, match="backbone"):
        Backbone(path=str(tmp_path / "nowhere"), tokenizer=tokenizer_folder)
    with pytest.raises(RecipeError, match="backbone"):
        Backbone(config=dict(LLAMA), tokenizer=str(tmp_path / "nowhere"))


def test_a_backbone_needs_one_source_and_a_tokenizer(tokenizer_folder):
    with pytest.raises(RecipeError, match="'tokenizer'"):
        Backbone(config=dict(LLAMA))
    with pytest.raises(RecipeError, match="either 'path' .* or 'config'"):
        Backbone(path="somewhere", config=dict(LLAMA), tokenizer=tokenizer_folder)
    with pytest.raises(RecipeError, match="model_type.*'lama'"):
        Backbone(config={**LLAMA, "model_type": "lama"}, tokenizer=tokenizer_folder)
    with pytest.raises(RecipeError, match="backbone.config"):
        Backbone(config={**LLAMA, "hidden_size": 33}, tokenizer=tokenizer_folder)
    with pytest.raises(RecipeError, match="backbone.config"):
        Backbone(config={**CLIP}, tokenizer=tokenizer_folder)


def passed(backbone: Backbone) -> tuple[int, torch.Tensor, torch.Tensor]:
    """(bytes kept for the backward pass, hidden states, their gradient with regard to the embeddings), one random state."""
    torch.manual_seed(3)
    embeds, mask = torch.randn(2, 30, backbone.width, requires_grad=True), torch.ones(2, 30, dtype=torch.bool)
    target = torch.randint(5, 100, (2, 20)) if backbone.seq2seq else None
    kept = 0

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        nonlocal kept
        kept += tensor.nbytes
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        hidden = backbone.hidden(embeds, mask, target)
    (gradient,) = torch.autograd.grad(hidden.pow(2).sum(), embeds)
    return kept, hidden.detach(), gradient


@pytest.mark.parametrize("learns", [True, False], ids=["trained", "frozen"])
@pytest.mark.parametrize("family", FAMILIES)
def test_checkpointing_keeps_less_and_changes_nothing(family, learns, tokenizer_folder):
    """Also where the backbone is frozen and only passes gradients on: transformers' switch looks at the training mode,
    which would bring dropout with it."""
    config = dict(FAMILIES[family])
    if family in ("opt", "gpt2", "t5", "bart"):
        config.update({"dropout": 0.3, "resid_pdrop": 0.3, "dropout_rate": 0.3})
    torch.manual_seed(0)
    backbone = Backbone(config=config, tokenizer=tokenizer_folder).requires_grad_(learns).train(learns)
    whole, states, gradient = passed(backbone)
    backbone.checkpoint(True)
    kept, same_states, same_gradient = passed(backbone)
    assert kept < whole / 2
    assert torch.equal(same_states, states)
    assert torch.equal(same_gradient, gradient)
    backbone.checkpoint(False)
    assert passed(backbone)[0] == whole
    assert {module.training for module in backbone.lm.modules()} == {learns}


def test_checkpointing_is_refused_where_there_is_none(tokenizer_folder, monkeypatch):
    backbone = Backbone(config=dict(LLAMA), tokenizer=tokenizer_folder)
    monkeypatch.setattr(type(backbone.lm), "supports_gradient_checkpointing", False)
    with pytest.raises(RecipeError, match="'llama' backbone has no gradient checkpointing"):
        backbone.checkpoint(True)


@pytest.mark.parametrize("asked", ["packing", "shares_prefix"])
def test_trying_a_backbone_out_changes_nothing_in_the_middle_of_training(asked, tokenizer_folder):
    """Where layers of a frozen backbone look as if they trained, and an adapter's dropout in one of them does."""
    backbone = Backbone(config=dict(LLAMA), tokenizer=tokenizer_folder).requires_grad_(False).eval()
    backbone.checkpoint(True)
    backbone.lm.model.layers[1].mlp.train()
    modes = [module.training for module in backbone.modules()]
    state = torch.get_rng_state()
    assert getattr(backbone, asked)
    assert [module.training for module in backbone.modules()] == modes
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("asked", ["packing", "shares_prefix"])
def test_a_backbone_is_tried_out_in_the_precision_of_its_weights(asked, tokenizer_folder):
    """Products rounded to bfloat16 could pass for examples that mix, or hide that they do."""
    backbone = Backbone(config=dict(LLAMA), tokenizer=tokenizer_folder)
    states = []
    backbone.lm.base_model.layers[0].mlp.register_forward_hook(lambda module, given, out: states.append(out))
    with torch.autocast("cpu", torch.bfloat16):
        assert getattr(backbone, asked)
    assert {out.dtype for out in states} == {torch.float32}
    assert not any(out.requires_grad for out in states)
