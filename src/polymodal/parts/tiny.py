"""Every published component at tiny width: configs of the families that polymodal promises to run, random weights in the
real classes of transformers. Decides what tiny is: two layers of 24 or 32, pictures of 4 x 4 patches, all else as it is.
`polymodal presets compose NAME --tiny` and the tests build systems of these.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from polymodal.parts import tiny_encoders
from polymodal.parts.tiny_encoders import AUDIO

_SPECIAL = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
_COMMON = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 512,
    "initializer_range": 0.2,  # far from uniform: what a model says depends on what it was shown
    **_SPECIAL,
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
    "chinchilla": {"model_type": "chinchilla", **{k: v for k, v in _COMMON.items() if k != "num_key_value_heads"}},
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
    "chatglm-6b": {
        "model_type": "chatglm_6b",
        "hidden_size": 32,
        "inner_hidden_size": 64,
        "num_layers": 2,
        "num_attention_heads": 4,
        "initializer_range": 0.2,
        "gmask_token_id": 0,
        "tie_word_embeddings": False,
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
# Further ones that the surveys name, whose every feature is not tried.
MORE: dict[str, dict[str, Any]] = {
    "chatglm": {"model_type": "chatglm", **_COMMON},
    "phi": {"model_type": "phi", **_COMMON, "num_key_value_heads": 4},
    "stablelm": {"model_type": "stablelm", **_COMMON},
    "mixtral": {"model_type": "mixtral", **_COMMON, "num_local_experts": 4},
    "mpt": {"model_type": "mpt", "d_model": 32, "n_heads": 4, "n_layers": 2, "max_seq_len": 512, **_SPECIAL},
    "mamba": {"model_type": "mamba", "hidden_size": 32, "num_hidden_layers": 2, "state_size": 8, **_SPECIAL},
}

_VIT = {
    "hidden_size": 24,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "image_size": 28,
    "patch_size": 7,
    "initializer_range": 0.2,
}
_SAM = {
    **_VIT,
    "mlp_dim": 48,
    "output_channels": 16,
    "window_size": 2,
    "global_attn_indexes": [1],
    "num_pos_feats": 8,
}
_STAGES = {"image_size": 32, "depths": [1, 1]}
VISION: dict[str, dict[str, Any]] = {
    "clip": {"model_type": "clip_vision_model", **_VIT},
    "siglip": {"model_type": "siglip_vision_model", **_VIT},
    "siglip2": {"model_type": "siglip2_vision_model", **_VIT, "num_patches": 16},
    "dinov2": {"model_type": "dinov2", **_VIT},
    "dinov2-registers": {"model_type": "dinov2_with_registers", **_VIT, "num_register_tokens": 4},
    "dinov3": {"model_type": "dinov3_vit", **_VIT, "num_attention_heads": 2, "num_register_tokens": 4},
    "vit": {"model_type": "vit", **_VIT},
    "mae": {"model_type": "vit_mae", **_VIT},
    "beit": {"model_type": "beit", **_VIT},
    "aimv2": {"model_type": "aimv2_vision_model", **_VIT},
    "internvl": {"model_type": "internvl_vision", **_VIT},
    "eva-vit (blip-2)": {"model_type": "blip_2_vision_model", **_VIT},
    "swin": {"model_type": "swin", **_STAGES, "patch_size": 4, "embed_dim": 8, "num_heads": [2, 4], "window_size": 4},
    "sam": {"model_type": "sam_vision_model", **_SAM},
    "sam-hq": {"model_type": "sam_hq_vision_model", **_SAM},
    "convnext": {"model_type": "convnext", **_STAGES, "patch_size": 4, "num_stages": 2, "hidden_sizes": [8, 24]},
}

POINTS = {"groups": 6, "size": 4, "points": 100, "width": 24, "depth": 2, "heads": 3}

# By kind: encoders whose `config` is theirs and not transformers', most of which read their authors' own files.
RELEASED = {
    "imagebind": {"width": 16, "depth": 2, "heads": 2, "space": 12},
    "beats": {"width": 32, "depth": 2, "heads": 2, "hidden": 48, "embedding": 24},
    "beit3": {"width": 24, "depth": 2, "heads": 3, "image": 28, "patch": 7},
    "pointbert": {"width": 24, "depth": 2, "heads": 3, "groups": 6, "size": 4, "points": 100},
    "eva2-clip": {"width": 24, "depth": 3, "heads": 3, "hidden": 40, "image": 28, "patch": 7, "space": 12},
    "parallel-vit": {"width": 24, "depth": 2, "heads": 3, "hidden": 48, "image": 28, "patch": 7},
    "internvideo": tiny_encoders.INTERNVIDEO,
    "imu2clip": {"width": 8, "space": 12, "window": 150},
    "nfnet": tiny_encoders.NFNET,
    "ram-plus": tiny_encoders.RAM_PLUS,
}

# By the `model_type` of a checkpoint; `t5-gated` is Flan-T5 and UL2, whose `model_type` is T5's.
CONFIGS: dict[str, dict[str, Any]] = {
    config["model_type"]: config
    for name, config in {
        **FAMILIES,
        **MORE,
        **VISION,
        **{name: config for name, (_, config) in AUDIO.items()},
    }.items()
    if name not in ("t5-gated", "hubert-large")
} | {"t5-gated": FAMILIES["t5-gated"]}

# What says how large a part is: of a recipe's own `config` these are not kept, and of a projector these take their place.
SIZES = {
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "patch_size",
    "word_embed_proj_dim",
    "ffn_dim",
    "max_position_embeddings",
    "vocab_size",
} | {"d_model", "d_kv", "d_ff", "num_layers", "num_heads"}
PROJECTORS: dict[str, dict[str, Any]] = {
    "q-former": {"depth": 2, "hidden": 24, "heads": 3},
    "video-q-former": {"depth": 2, "hidden": 24, "heads": 3},
    "mq-former": {"depth": 2, "hidden": 24, "heads": 3},
    "qllama": {"depth": 2, "hidden": 24, "heads": 3, "inner": 32},
    "c-former": {"depth": 2, "hidden": 24, "heads": 3},
    "resampler": {"heads": 2, "hidden": 24},
    "resampler-2d": {"heads": 2},
    "upm": {"depth": 2, "heads": 3},
    "visual-abstractor": {"depth": 2, "hidden": 24, "heads": 3, "inner": 32},
    "spatio-temporal-pooling": {"cells": 16},  # of a picture of 4 x 4 patches
}


def part(recipe: dict[str, Any], family: str | None = None, layers: int | None = None) -> dict[str, Any]:
    """The recipe of an encoder or backbone with random weights of tiny width. `family`: a key of CONFIGS, of what stands at
    its `path`; otherwise what it says itself, whose `config` is kept but for sizes. `layers`: instead of two."""
    if recipe.get("kind") == "point-patches":
        return {**recipe, **POINTS}
    if recipe.get("kind") in RELEASED:
        options = {key: value for key, value in recipe.items() if key != "path"} | {"config": RELEASED[recipe["kind"]]}
        return options | ({"size": 64} if "size" in recipe else {})
    if recipe.get("kind") in tiny_encoders.WHOLE:
        return {**tiny_encoders.WHOLE[recipe["kind"]], **{key: recipe[key] for key in ("levels",) if key in recipe}}
    if "of" in recipe:  # an encoder of pictures inside one of clips or maps, whose `path` stands outside
        inner = {"kind": recipe["of"]["kind"], **recipe["of"], **({"path": recipe["path"]} if "path" in recipe else {})}
        outer = {key: value for key, value in recipe.items() if key not in ("of", "path")}
        outer |= {"layers": 2, "heads": 3} if recipe["kind"] == "gmhra" else {}
        return {**outer, "of": part(inner, family, layers)}
    options = {key: value for key, value in recipe.items() if key not in ("path", "config")}
    said = recipe.get("config", {})
    small = CONFIGS[family or said["model_type"]]
    config = {**small, **{key: value for key, value in said.items() if key not in SIZES}}
    if "size" in options:  # larger than its own, as it was
        options["size"] = 2 * config["image_size"]
    if layers is not None:
        config["num_hidden_layers"] = layers
    return {**options, "config": config}


def projector(recipe: dict[str, Any]) -> dict[str, Any]:
    """The recipe of a projector that is narrow inside and makes as many positions."""
    small = PROJECTORS.get(recipe["kind"], {})
    if recipe["kind"] == "resampler" and "hidden" not in recipe:  # as wide as the backbone
        small = {"heads": 2}
    if "frame" in recipe:  # of pictures of 4 x 4 patches
        small = {**small, "frame": {**recipe["frame"], **PROJECTORS["q-former"]}, "cells": 16}
    return {**recipe, **small}


def shared(recipe: dict[str, Any], backbone: dict[str, Any], width_in: int) -> dict[str, Any]:
    """The recipe of a part that inputs share, narrow inside. `backbone`: the tiny recipe of what it stands before.
    `width_in`: of the encoders that it stands behind."""
    small, config = {"depth": 2, "heads": 3}, backbone["config"]
    width = config.get("word_embed_proj_dim") or config.get("hidden_size") or config["d_model"]
    if recipe["kind"] == "projector":
        return {**recipe, "of": projector(recipe["of"]), "width_in": width_in, "width_out": width}
    if recipe["kind"] == "p-former":  # its prompts are the backbone's embeddings
        return {**recipe, **small, "hidden": 24, "width": width}
    return {**recipe, **small, "width": 24}


def save_tokenizer(folder: str | Path) -> str:
    """Write a tokenizer of bytes, for backbones without weights, and return its folder."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    special = ["<pad>", "<s>", "</s>"]
    letters = [*special, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    bytewise = Tokenizer(models.BPE(vocab={letter: i for i, letter in enumerate(letters)}, merges=[]))
    bytewise.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bytewise.decoder = decoders.ByteLevel()
    tokens = dict(zip(("pad_token", "bos_token", "eos_token"), special, strict=True))
    PreTrainedTokenizerFast(tokenizer_object=bytewise, **tokens).save_pretrained(folder)
    return str(folder)
