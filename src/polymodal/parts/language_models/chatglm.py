"""ChatGLM2-6B and ChatGLM3-6B as their authors published them: the mathematics of transformers' GLM (norms of root mean
squares, SwiGLU, few keys and values, rotary positions of half of a head, whose pairs lie side by side) under other names.
Decides those names. transformers renames and splits tensors as it loads, and joins them again when it saves, so that a
folder of theirs and one that was saved here are read alike.

The first generation is another network of the same `model_type` in its authors' config, which is told apart by what only it
says (`chatglm_6b`). Variants of the later ones that count positions otherwise are refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from transformers import GlmConfig, GlmForCausalLM
from transformers.conversion_mapping import register_checkpoint_conversion_mapping
from transformers.core_model_loading import Split, WeightConverter, WeightRenaming

from polymodal.parts.language_models.chatglm_6b import ChatGLM6BConfig

FIRST = {"position_encoding_2d", "inner_hidden_size"}  # what the config of the first generation says, and no later one
# What the authors' config must say, where it says anything, for their network to be GLM's.
EXPECTED = {
    "rmsnorm": True,
    "add_bias_linear": False,
    "apply_residual_connection_post_layernorm": False,
    "post_layer_norm": True,
    "original_rope": True,
    "multi_query_attention": True,
    "rope_ratio": 1,
    "quantization_bit": 0,
    "pre_seq_len": None,
}


@dataclass
class ChatGLMConfig(GlmConfig):
    """Of ChatGLM3-6B, if nothing else is said. Takes the authors' names of sizes and ours. Raises `ValueError` for
    another network."""

    model_type = "chatglm"
    attribute_map = {
        "padded_vocab_size": "vocab_size",
        "num_layers": "num_hidden_layers",
        "ffn_hidden_size": "intermediate_size",
        "kv_channels": "head_dim",
        "multi_query_group_num": "num_key_value_heads",
        "layernorm_epsilon": "rms_norm_eps",
        "add_qkv_bias": "attention_bias",
        "seq_length": "max_position_embeddings",
    }

    vocab_size: int = 65024
    num_hidden_layers: int = 28
    max_position_embeddings: int = 8192
    rms_norm_eps: float = 1e-5
    pad_token_id: int | None = 0
    eos_token_id: int | list[int] | None = 2

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        """Of a config file. One of the first generation makes a `ChatGLM6BConfig`."""
        if FIRST & config_dict.keys():
            first = {**config_dict, "model_type": ChatGLM6BConfig.model_type}
            return ChatGLM6BConfig.from_dict(first, **kwargs)
        return super().from_dict(config_dict, **kwargs)

    def __post_init__(self, **kwargs: Any) -> None:
        if FIRST & kwargs.keys():
            raise ValueError("this is ChatGLM of the first generation: its 'model_type' is 'chatglm_6b' here")
        for name, value in EXPECTED.items():
            if kwargs.pop(name, value) != value:
                raise ValueError(f"a ChatGLM of another '{name}' than {value} cannot be read")
        for theirs, ours in self.attribute_map.items():
            if theirs in kwargs:
                setattr(self, ours, kwargs.pop(theirs))
        super().__post_init__(**kwargs)


class ChatGLMForCausalLM(GlmForCausalLM):
    config_class = ChatGLMConfig
    _keys_to_ignore_on_load_unexpected = [r"rotary_pos_emb\.inv_freq$"]  # which follows from the config


NAMES = {
    "transformer.embedding.word_embeddings.": "model.embed_tokens.",
    "transformer.encoder.layers.": "model.layers.",
    "transformer.encoder.final_layernorm.": "model.norm.",
    "transformer.output_layer.": "lm_head.",
    "self_attention.dense.": "self_attn.o_proj.",
    "mlp.dense_h_to_4h.": "mlp.gate_up_proj.",
    "mlp.dense_4h_to_h.": "mlp.down_proj.",
}
register_checkpoint_conversion_mapping(
    ChatGLMConfig.model_type,
    [
        *(WeightRenaming(theirs, ours) for theirs, ours in NAMES.items()),
        *(
            WeightConverter(
                source_patterns=f"self_attention.query_key_value.{kind}",
                target_patterns=[f"self_attn.{part}_proj.{kind}" for part in "qkv"],
                operations=[Split(dim=0)],
            )
            for kind in ("weight", "bias")
        ),
    ],
)
