"""ChatGLM3-6B under its authors' names: nothing is lost between their file and our modules, and both compute the same."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file
from torch.nn import functional as F

from polymodal.errors import RecipeError
from polymodal.parts.backbones import Backbone
from polymodal.parts.language_models import register
from tests.parts.encoders.published import published

# As config.json of THUDM/chatglm3-6b has it, but for sizes.
CONFIG = {
    "_name_or_path": "THUDM/chatglm3-6b",
    "model_type": "chatglm",
    "architectures": ["ChatGLMModel"],
    "auto_map": {"AutoConfig": "configuration_chatglm.ChatGLMConfig"},
    "add_bias_linear": False,
    "add_qkv_bias": True,
    "apply_query_key_layer_scaling": True,
    "apply_residual_connection_post_layernorm": False,
    "attention_dropout": 0.0,
    "attention_softmax_in_fp32": True,
    "ffn_hidden_size": 64,
    "fp32_residual_connection": False,
    "hidden_dropout": 0.0,
    "hidden_size": 32,
    "kv_channels": 8,
    "layernorm_epsilon": 1e-05,
    "multi_query_attention": True,
    "multi_query_group_num": 2,
    "num_attention_heads": 4,
    "num_layers": 2,
    "original_rope": True,
    "padded_vocab_size": 400,
    "post_layer_norm": True,
    "rmsnorm": True,
    "seq_length": 8192,
    "use_cache": True,
    "torch_dtype": "float16",
    "tie_word_embeddings": False,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
SMALL = {65024: 400, 4096: 32, 4608: 64, 27392: 128, 13696: 64, 32: 2}  # sizes of the list, at the sizes above


def tensors() -> dict[str, torch.Tensor]:
    """Random ones with the published names, of two layers."""
    draw = torch.Generator().manual_seed(0)
    names = {n: s for n, s in published("chatglm3_6b").items() if ".layers." not in n or n.split(".")[3] in "01"}
    return {n: torch.randn([SMALL[size] for size in shape], generator=draw) * 0.3 for n, shape in names.items()}


def released(folder: Path, tokenizer: str, **changes) -> Backbone:
    (folder / "config.json").write_text(json.dumps(CONFIG | changes))
    torch.save(tensors(), folder / "pytorch_model.bin")
    return Backbone(path=str(folder), tokenizer=tokenizer).eval()


def said(w: dict[str, torch.Tensor], ids: torch.Tensor) -> torch.Tensor:
    """Logits [T, V] of ids [T], as modeling_chatglm.py computes them: pairs of neighbours are rotated, in the first half of
    each head; two heads share a key."""

    def norm(x, name):
        return x * (x.pow(2).mean(-1, keepdim=True) + CONFIG["layernorm_epsilon"]).rsqrt() * w[f"{name}.weight"]

    def rotated(x):  # [T, heads, 8]
        angles = torch.outer(torch.arange(len(x)).float(), 10000.0 ** -(torch.arange(0, 4, 2) / 4))[:, None]
        even, odd = x[..., 0:4:2], x[..., 1:4:2]
        turned = [even * angles.cos() - odd * angles.sin(), odd * angles.cos() + even * angles.sin()]
        return torch.cat([torch.stack(turned, -1).flatten(-2), x[..., 4:]], -1)

    x = w["transformer.embedding.word_embeddings.weight"][ids]
    for i in range(2):
        at = f"transformer.encoder.layers.{i}"
        mixed = F.linear(
            norm(x, f"{at}.input_layernorm"),
            w[f"{at}.self_attention.query_key_value.weight"],
            w[f"{at}.self_attention.query_key_value.bias"],
        )
        query, key, value = (part.unflatten(-1, (-1, 8)) for part in mixed.split([32, 16, 16], -1))
        query, key, value = rotated(query), rotated(key).repeat_interleave(2, 1), value.repeat_interleave(2, 1)
        states = F.scaled_dot_product_attention(*(s.transpose(0, 1) for s in (query, key, value)), is_causal=True)
        x = x + F.linear(states.transpose(0, 1).flatten(1), w[f"{at}.self_attention.dense.weight"])
        gate, up = F.linear(norm(x, f"{at}.post_attention_layernorm"), w[f"{at}.mlp.dense_h_to_4h.weight"]).chunk(2, -1)
        x = x + F.linear(F.silu(gate) * up, w[f"{at}.mlp.dense_4h_to_h.weight"])
    return F.linear(norm(x, "transformer.encoder.final_layernorm"), w["transformer.output_layer.weight"])


def test_it_computes_what_the_authors_code_does(tmp_path, tokenizer_folder):
    backbone = released(tmp_path, tokenizer_folder)
    ids = torch.randint(5, 400, (1, 9))
    with torch.no_grad():
        ours = backbone.head(backbone.hidden(backbone.embed(ids), torch.ones_like(ids))[0])
        assert torch.allclose(ours, said(tensors(), ids[0]), atol=1e-3 * float(ours.abs().max()))


def test_at_its_own_size_it_has_as_many_weights_as_were_published():
    register()
    with torch.device("meta"):
        config = transformers.AutoConfig.for_model("chatglm")
        model = transformers.AutoModelForCausalLM.from_config(config)
    theirs = {name: torch.Size(shape) for name, shape in published("chatglm3_6b").items() if not name.endswith("inv_freq")}
    assert sum(p.numel() for p in model.parameters()) == sum(shape.numel() for shape in theirs.values())
    layer = model.model.layers[27]
    rows = [part.weight.shape[0] for part in (layer.self_attn.q_proj, layer.self_attn.k_proj, layer.self_attn.v_proj)]
    assert rows == [4096, 256, 256]
    assert layer.mlp.gate_up_proj.weight.shape == theirs["transformer.encoder.layers.27.mlp.dense_h_to_4h.weight"]


def test_saved_it_has_the_authors_names_again(tmp_path, tokenizer_folder):
    backbone = released(tmp_path, tokenizer_folder)
    backbone.lm.save_pretrained(tmp_path / "again")
    saved, before = load_file(tmp_path / "again" / "model.safetensors"), tensors()
    assert saved.keys() == before.keys() - {"transformer.rotary_pos_emb.inv_freq"}
    assert all(torch.equal(tensor, before[name]) for name, tensor in saved.items())


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"rope_ratio": 50}, "another 'rope_ratio' than 1"),
        ({"quantization_bit": 4}, "another 'quantization_bit' than 0"),
    ],
)
def test_another_network_is_refused(changes, says, tmp_path, tokenizer_folder):
    with pytest.raises(RecipeError, match=says):
        released(tmp_path, tokenizer_folder, **changes)


def test_a_missing_tensor_is_named(tmp_path, tokenizer_folder):
    released(tmp_path, tokenizer_folder)
    held = tensors()
    del held["transformer.encoder.layers.1.self_attention.dense.weight"]
    torch.save(held, tmp_path / "pytorch_model.bin")
    with pytest.raises(RecipeError, match=r"model.layers.1.self_attn.o_proj.weight' is missing"):
        Backbone(path=str(tmp_path), tokenizer=tokenizer_folder)
