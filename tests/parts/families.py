"""Tiny configs of the backbone families that polymodal promises to run (random weights, real transformers classes)."""

from __future__ import annotations

from typing import Any

_COMMON = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 512,
    "initializer_range": 0.2,  # far from uniform: what a model says depends on what it was shown
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_T5 = {
    "d_model": 32,
    "d_kv": 8,
    "d_ff": 64,
    "num_layers": 2,
    "num_heads": 4,
    "initializer_factor": 2.0,
    "decoder_start_token_id": 0,
    "pad_token_id": 0,
    "eos_token_id": 2,
}
_SPECIAL = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}

# Every fourth layer of SmolLM3 has no rotary positions, Gemma alternates windows, Cohere and Granite scale their logits:
# the options below make such things matter at this size.
FAMILIES: dict[str, dict[str, Any]] = {
    "opt": {
        "model_type": "opt",
        "hidden_size": 32,
        "word_embed_proj_dim": 16,
        "ffn_dim": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 512,
        "init_std": 0.2,
        **_SPECIAL,
    },
    "llama": {"model_type": "llama", **_COMMON},
    "qwen2": {"model_type": "qwen2", **_COMMON},
    "qwen3": {"model_type": "qwen3", **_COMMON},
    "smollm3": {"model_type": "smollm3", **_COMMON, "no_rope_layer_interval": 2},
    "glm": {"model_type": "glm", **_COMMON},
    "glm4": {"model_type": "glm4", **_COMMON},
    "persimmon": {"model_type": "persimmon", **_COMMON},
    "gemma3": {
        "model_type": "gemma3_text",
        **_COMMON,
        "sliding_window": 24,
        "layer_types": ["sliding_attention", "full_attention"],
        "tie_word_embeddings": False,
    },
    "phi3": {"model_type": "phi3", **_COMMON},
    "mistral": {"model_type": "mistral", **_COMMON, "sliding_window": 24},
    "gpt2": {
        "model_type": "gpt2",
        "n_embd": 32,
        "n_layer": 2,
        "n_head": 4,
        "n_positions": 512,
        "initializer_range": 0.2,
        **_SPECIAL,
    },
    "bloom": {"model_type": "bloom", "hidden_size": 32, "n_layer": 2, "n_head": 4, "initializer_range": 0.2, **_SPECIAL},
    "mamba2": {
        "model_type": "mamba2",
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_heads": 8,
        "head_dim": 8,
        "expand": 2,
        "state_size": 16,
        "n_groups": 1,
        "initializer_range": 0.2,
        **_SPECIAL,
    },
    "t5": {"model_type": "t5", **_T5},
    "t5-gated": {"model_type": "t5", **_T5, "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False},
    "umt5": {"model_type": "umt5", **_T5},
    "mt5": {"model_type": "mt5", **_T5},
    "bart": {
        "model_type": "bart",
        "d_model": 32,
        "encoder_layers": 2,
        "decoder_layers": 2,
        "encoder_attention_heads": 4,
        "decoder_attention_heads": 4,
        "encoder_ffn_dim": 64,
        "decoder_ffn_dim": 64,
        "max_position_embeddings": 512,
        "init_std": 0.2,
        "decoder_start_token_id": 2,
        "forced_eos_token_id": None,
        **_SPECIAL,
    },
    "gemma2": {
        "model_type": "gemma2",
        **_COMMON,
        "sliding_window": 24,
        "tie_word_embeddings": False,
        "final_logit_softcapping": 1.0,
    },
    "cohere": {"model_type": "cohere", **_COMMON, "logit_scale": 0.25},
    "granite": {"model_type": "granite", **_COMMON, "logits_scaling": 4.0, "embedding_multiplier": 3.0},
}
