"""Encoders of more than a few sizes at tiny width, for `tiny.py`. Decides nothing else."""

from __future__ import annotations

from typing import Any

NFNET = {
    **{"depth1": 1, "depth2": 2, "depth3": 1, "depth4": 1, "width1": 16, "width2": 16, "width3": 32, "width4": 32},
    **{"stem": 16, "group": 8, "classes": 3},
}

_DETECTOR: dict[str, Any] = {
    "model_type": "grounding-dino",
    "backbone_config": {
        **{"model_type": "swin", "embed_dim": 8, "depths": [1, 1, 1, 1], "num_heads": [1, 1, 2, 2], "window_size": 4},
        "out_indices": [2, 3, 4],
    },
    "text_config": {
        **{"model_type": "bert", "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1},
        **{"num_attention_heads": 2, "vocab_size": 1040},  # its full stop is token 1012
    },
    **{"d_model": 32, "encoder_layers": 2, "encoder_ffn_dim": 48, "encoder_attention_heads": 2, "num_queries": 4},
    **{"decoder_layers": 2, "decoder_ffn_dim": 48, "decoder_attention_heads": 2},
}
GROUNDING_DINO: dict[str, Any] = {  # what it looks for is "cat. dog."
    "config": _DETECTOR,
    "ids": [101, 7, 1012, 9, 1012, 102],
    "preprocessor": {"size": {"shortest_edge": 96, "longest_edge": 160}},
}

RAM_PLUS = {
    **{"embed": 8, "window": 2, "image": 64, "depth1": 1, "depth2": 2, "depth3": 1, "depth4": 1},
    **{"heads1": 1, "heads2": 1, "heads3": 2, "heads4": 2},
    **{"space": 12, "hidden": 16, "inner": 24, "layers": 2, "tags": 5, "descriptions": 3},
}

PIX2STRUCT = {
    **{"model_type": "pix2struct_vision_model", "hidden_size": 24, "patch_embed_hidden_size": 48, "d_ff": 48, "d_kv": 8},
    **{"num_hidden_layers": 2, "num_attention_heads": 3, "seq_len": 64, "initializer_range": 0.2},
}
W2V_BERT = {
    **{"model_type": "wav2vec2-bert", "hidden_size": 24, "intermediate_size": 48, "num_hidden_layers": 2},
    **{"num_attention_heads": 2, "initializer_range": 0.2},
}
_PATCHES = {"patch_size": {"height": 4, "width": 4}, "max_patches": 20}

WHOLE: dict[str, dict[str, Any]] = {  # recipes, by kind
    "grounding-dino": {"kind": "grounding-dino", **GROUNDING_DINO},
    "pix2struct": {"kind": "pix2struct", "config": PIX2STRUCT, "preprocessor": _PATCHES},
    "w2v-bert": {"kind": "w2v-bert", "config": W2V_BERT},
}
