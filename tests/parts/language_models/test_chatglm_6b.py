"""ChatGLM-6B under its authors' names: what their code computes, both ways through a prompt, forwards through an answer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file
from torch.nn import functional as F

from polymodal.content import assistant, user
from polymodal.errors import RecipeError
from polymodal.model.composition import Composition
from polymodal.parts import peft
from polymodal.parts.backbones import Backbone
from polymodal.parts.language_models import register
from polymodal.parts.peft import LoRA
from polymodal.parts.tiny import FAMILIES
from tests.parts.encoders.published import published

# As config.json of THUDM/chatglm-6b has it, but for sizes and for ids of 400 tokens.
CONFIG = {
    "_name_or_path": "THUDM/chatglm-6b",
    "model_type": "chatglm",
    "architectures": ["ChatGLMModel"],
    "auto_map": {
        "AutoConfig": "configuration_chatglm.ChatGLMConfig",
        "AutoModelForSeq2SeqLM": "modeling_chatglm.ChatGLMForConditionalGeneration",
    },
    "bos_token_id": 394,
    "eos_token_id": 395,
    "mask_token_id": 390,
    "gmask_token_id": 391,
    "pad_token_id": 3,
    "hidden_size": 32,
    "inner_hidden_size": 128,
    "layernorm_epsilon": 1e-05,
    "max_sequence_length": 2048,
    "num_attention_heads": 4,
    "num_layers": 2,
    "position_encoding_2d": True,
    "torch_dtype": "float16",
    "use_cache": True,
    "vocab_size": 400,
}
BOS, GMASK = CONFIG["bos_token_id"], CONFIG["gmask_token_id"]
SMALL = {130528: 400, 4096: 32, 12288: 96, 16384: 128, 32: 2}  # sizes of the list, at the sizes above


def tensors() -> dict[str, torch.Tensor]:
    """Random ones with the published names, of two layers."""
    draw = torch.Generator().manual_seed(0)
    names = {n: s for n, s in published("chatglm_6b").items() if ".layers." not in n or n.split(".")[2] in "01"}
    return {n: torch.randn([SMALL[size] for size in shape], generator=draw) * 0.3 for n, shape in names.items()}


def released(folder: Path, tokenizer: str, **changes) -> Backbone:
    (folder / "config.json").write_text(json.dumps(CONFIG | changes))
    torch.save(tensors(), folder / "pytorch_model.bin")
    return Backbone(path=str(folder), tokenizer=tokenizer).eval()


@pytest.fixture
def backbone(tokenizer_folder) -> Backbone:
    torch.manual_seed(0)
    return Backbone(config=dict(FAMILIES["chatglm-6b"]), tokenizer=tokenizer_folder).eval()


def said(w: dict[str, torch.Tensor], ids: torch.Tensor) -> torch.Tensor:
    """Logits [T, V] of one sequence, its prompt, [GMASK], <bos> and answer alike, as modeling_chatglm.py computes them:
    one mask and two rows of positions for all of it, and in a row of query_key_value a head's three parts side by side."""

    def norm(x, name):
        return F.layer_norm(x, x.shape[-1:], w[f"{name}.weight"], w[f"{name}.bias"], CONFIG["layernorm_epsilon"])

    def linear(x, name):
        return F.linear(x, w[f"{name}.weight"], w[f"{name}.bias"])

    def rotated(x, places):  # [T, heads, 4]: of half a head, its first half with its second
        angles = torch.outer(places.float(), 10000.0 ** -(torch.arange(0, 4, 2) / 4)).repeat(1, 2)[:, None]
        return x * angles.cos() + torch.cat([-x[..., 2:], x[..., :2]], -1) * angles.sin()

    count, context = len(ids), ids.tolist().index(BOS)
    seen = torch.ones(count, count).tril()
    seen[:, :context] = 1
    positions, blocks = torch.arange(count), torch.zeros(count)
    positions[context:] = ids.tolist().index(GMASK)
    blocks[context:] = torch.arange(count - context) + 1
    alpha = (2 * CONFIG["num_layers"]) ** 0.5
    x = w["transformer.word_embeddings.weight"][ids]
    for i in range(2):
        at = f"transformer.layers.{i}"
        x = norm(x, f"{at}.input_layernorm")
        mixed = linear(x, f"{at}.attention.query_key_value").view(count, 4, 24)
        query, key, value = mixed.split(8, -1)
        query, key = (torch.cat([rotated(p[..., :4], positions), rotated(p[..., 4:], blocks)], -1) for p in (query, key))
        scores = torch.einsum("qhd,khd->hqk", query, key) / 8**0.5
        shares = scores.masked_fill(seen == 0, -10000.0).softmax(-1)
        states = torch.einsum("hqk,khd->qhd", shares, value).flatten(1)
        x = norm(x * alpha + linear(states, f"{at}.attention.dense"), f"{at}.post_attention_layernorm")
        inner = linear(x, f"{at}.mlp.dense_h_to_4h")
        gelu = 0.5 * inner * (1 + torch.tanh(0.7978845608028654 * inner * (1 + 0.044715 * inner * inner)))
        x = x * alpha + linear(gelu, f"{at}.mlp.dense_4h_to_h")
    return F.linear(norm(x, "transformer.final_layernorm"), w["lm_head.weight"])


def test_it_computes_what_the_authors_code_does(tmp_path, tokenizer_folder):
    """Two prompts of different lengths in a batch, each as alone in one sequence with its answer."""
    backbone = released(tmp_path, tokenizer_folder)
    prompts = [torch.cat([torch.randint(5, 390, (n,)), torch.tensor([GMASK])]) for n in (9, 4)]
    answers = torch.randint(5, 390, (2, 6))
    ids = torch.nn.utils.rnn.pad_sequence(prompts, batch_first=True, padding_value=3)
    mask = torch.arange(10) < torch.tensor([[10], [5]])
    with torch.no_grad():
        ours = backbone.hidden(backbone.embed(ids), mask, answers)
        for row, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
            whole = said(tensors(), torch.cat([prompt, torch.tensor([BOS]), answer]))
            logits = backbone.head(ours[row])
            assert torch.allclose(logits, whole[len(prompt) : -1], atol=1e-3 * float(logits.abs().max()))


def test_at_its_own_size_it_has_the_names_and_shapes_that_were_published():
    register()
    with torch.device("meta"):
        config = transformers.AutoConfig.for_model("chatglm_6b")
        model = transformers.AutoModelForSeq2SeqLM.from_config(config)
    theirs = {name: shape for name, shape in published("chatglm_6b").items() if not name.endswith("inv_freq")}
    assert {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()} == theirs
    assert 6.1e9 < sum(p.numel() for p in model.parameters()) < 6.2e9  # one table for input and output


@pytest.mark.parametrize("tied", [True, False])
def test_saved_it_has_the_authors_names_again(tied, tmp_path, tokenizer_folder):
    """Their file holds both tables; if they are equal they are one here, and if not, two."""
    held = tensors()
    if tied:
        held["lm_head.weight"] = held["transformer.word_embeddings.weight"].clone()
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    torch.save(held, tmp_path / "pytorch_model.bin")
    backbone = Backbone(path=str(tmp_path), tokenizer=tokenizer_folder).eval()
    assert torch.equal(backbone.lm.lm_head.weight, held["lm_head.weight"])
    assert (backbone.lm.lm_head.weight is backbone.lm.transformer.word_embeddings.weight) == tied
    backbone.lm.save_pretrained(tmp_path / "again")
    saved = load_file(tmp_path / "again" / "model.safetensors")
    shared = {"lm_head.weight"} if tied else set()
    assert saved.keys() == {name for name in held if not name.endswith("inv_freq")} - shared
    assert all(torch.equal(tensor, held[name]) for name, tensor in saved.items())
    again = Backbone(path=str(tmp_path / "again"), tokenizer=tokenizer_folder).eval()
    ids, target = torch.randint(5, 390, (1, 7)), torch.randint(5, 390, (1, 3))
    with torch.no_grad():
        states = [each.hidden(each.embed(ids), torch.ones_like(ids), target) for each in (backbone, again)]
        assert torch.equal(backbone.head(states[0][0]), again.head(states[1][0]))


def test_a_prompt_is_read_in_both_directions_and_an_answer_forwards(backbone):
    """What each position hands on, its keys and values in the last layer, and what each state of an answer depends on."""
    torch.manual_seed(1)
    prompt = torch.randn(1, 6, backbone.width, requires_grad=True)
    mask = torch.ones(1, 6, dtype=torch.long)
    held = backbone.lm.get_encoder()(inputs_embeds=prompt, attention_mask=mask).last_hidden_state
    assert held.shape == (1, 6, 2 * 2 * backbone.width)
    for row in held[0, :, 2 * backbone.width :]:
        (gradient,) = torch.autograd.grad(row.sum(), prompt, retain_graph=True)
        assert (gradient[0].abs().sum(-1) > 0).all()
    answer = torch.randn(1, 5, backbone.width, requires_grad=True)
    states = backbone.lm.get_decoder()(inputs_embeds=answer, encoder_hidden_states=held, encoder_attention_mask=mask)[0]
    for at, row in enumerate(states[0]):
        before, own = torch.autograd.grad(row[0], (prompt, answer), retain_graph=True)
        assert (before[0].abs().sum(-1) > 0).all()
        assert (own[0].abs().sum(-1) > 0).tolist() == [place <= at for place in range(5)]


@pytest.mark.parametrize("beams", [1, 3])
def test_what_is_written_from_a_cache_is_what_training_scores(beams, backbone):
    """Prompts of two lengths; the logits of every step are those of the whole answer, teacher forced."""
    torch.manual_seed(2)
    ids, mask = torch.randint(5, 300, (2, 9)), torch.ones(2, 9, dtype=torch.long)
    mask[1, 5:] = 0
    embeds = backbone.embed(ids)
    options = {"max_new_tokens": 8, "do_sample": False, "num_beams": beams, "eos_token_id": 2}
    out = backbone.lm.generate(
        inputs_embeds=embeds, attention_mask=mask, return_dict_in_generate=True, output_logits=True, **options
    )
    written = out.sequences[:, 1:]
    with torch.no_grad():
        whole = backbone.head(backbone.hidden(embeds, mask, written).flatten(0, 1)).unflatten(0, written.shape)
    if beams == 1:
        assert len(set(written[0].tolist())) > 2
        assert torch.allclose(torch.stack(out.logits, 1), whole, atol=1e-4)
        return
    for row in (0, 1):  # the cache and the prompt follow the beams: as without a cache
        again = backbone.lm.generate(
            inputs_embeds=embeds[row, None, : mask[row].sum()], attention_mask=mask[row, None, : mask[row].sum()],
            use_cache=False, **options,
        )  # fmt: skip
        count = again.shape[1] - 1
        assert torch.equal(written[row, :count], again[0, 1:])


def test_a_prompt_ends_with_gmask_and_an_answer_starts_from_bos(tiny_recipe):
    config = {**FAMILIES["chatglm-6b"], "vocab_size": 402, "gmask_token_id": 401}
    composition = Composition.from_recipe(tiny_recipe(config=config, chat_format="raw"))
    question = [user("what is this?")]
    ids = composition.model.backbone.ids
    assert composition.processor.encode(question, generate=True).ids.tolist() == [*ids("what is this?"), 401]
    learned = composition.processor.encode([*question, assistant("a cat")])
    assert learned.ids.tolist() == [*ids("what is this?"), 401]
    assert learned.target.tolist() == [*ids("a cat"), 2]
    shifted = composition.model.backbone.lm.prepare_decoder_input_ids_from_labels(learned.target[None])
    assert shifted.tolist() == [[1, *ids("a cat")]]


def test_it_takes_lora_in_its_one_projection(backbone):
    """Which adapts a prompt and an answer alike, for both pass through it."""
    ids, target = torch.randint(5, 300, (1, 7)), torch.randint(5, 300, (1, 4))
    before = backbone.hidden(backbone.embed(ids), torch.ones_like(ids), target)
    peft.attach(backbone, {"lm.transformer.layers.*.attention.query_key_value": LoRA(kind="lora", r=2)})
    names = [name for name, p in backbone.lm.named_parameters() if "lora_B" in name]
    assert len(names) == 2
    with torch.no_grad():
        for name, parameter in backbone.lm.named_parameters():
            if name in names:
                parameter.normal_()
    assert not torch.allclose(backbone.hidden(backbone.embed(ids), torch.ones_like(ids), target), before, atol=1e-3)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"quantization_bit": 4}, "another 'quantization_bit' than 0"),
        ({"pre_seq_len": 128}, "another 'pre_seq_len' than None"),
        ({"position_encoding_2d": False}, "another 'position_encoding_2d' than True"),
        ({"num_attention_heads": 16}, "no four quarters"),
    ],
)
def test_another_network_is_refused(changes, says, tmp_path, tokenizer_folder):
    with pytest.raises(RecipeError, match=says):
        released(tmp_path, tokenizer_folder, **changes)


def test_a_config_that_is_not_its_own_is_a_recipe_error(tokenizer_folder):
    config = dict(FAMILIES["chatglm-6b"])
    with pytest.raises(RecipeError, match="backbone.config: a head of 36 / 4 has no four quarters"):
        Backbone(config=config | {"hidden_size": 36}, tokenizer=tokenizer_folder)
    with pytest.raises(RecipeError, match="first generation: its 'model_type' is 'chatglm_6b'"):
        Backbone(config=config | {"model_type": "chatglm", "position_encoding_2d": True}, tokenizer=tokenizer_folder)


def test_a_missing_tensor_is_named(tmp_path, tokenizer_folder):
    released(tmp_path, tokenizer_folder)
    held = tensors()
    del held["transformer.layers.1.attention.dense.weight"]
    torch.save(held, tmp_path / "pytorch_model.bin")
    with pytest.raises(RecipeError, match=r"transformer.layers.1.attention.dense.weight' is missing"):
        Backbone(path=str(tmp_path), tokenizer=tokenizer_folder)
