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
GROUNDING_DINO: dict[str, Any] = {  # a whole recipe: what it looks for is "cat. dog."
    "kind": "grounding-dino",
    "config": _DETECTOR,
    "ids": [101, 7, 1012, 9, 1012, 102],
    "preprocessor": {"size": {"shortest_edge": 96, "longest_edge": 160}},
}

RAM_PLUS = {
    **{"embed": 8, "window": 2, "image": 64, "depth1": 1, "depth2": 2, "depth3": 1, "depth4": 1},
    **{"heads1": 1, "heads2": 1, "heads3": 2, "heads4": 2},
    **{"space": 12, "hidden": 16, "inner": 24, "layers": 2, "tags": 5, "descriptions": 3},
}
