"""Encoders of sound, and those of more than a few sizes, at tiny width, for `tiny.py`. Decides nothing else."""

from __future__ import annotations

from typing import Any

WHISPER = {
    "model_type": "whisper",
    "d_model": 24,
    "encoder_layers": 2,
    "encoder_attention_heads": 2,
    "encoder_ffn_dim": 48,
    "decoder_layers": 1,
    "decoder_attention_heads": 2,
    "decoder_ffn_dim": 48,
    "num_mel_bins": 80,
    "vocab_size": 60,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 1,
}
_WAVE = {
    "hidden_size": 24,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
    "conv_dim": [16] * 7,
}
_AST = {"hidden_size": 24, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2, "max_length": 128}
_CLAP = {
    "spec_size": 256,
    "num_mel_bins": 64,
    "patch_embeds_hidden_size": 8,
    "depths": [1, 1, 1],
    "num_attention_heads": [2, 2, 2],
    "hidden_size": 32,
}
AUDIO: dict[str, tuple[str, dict[str, Any]]] = {
    "hubert": ("waveform", {"model_type": "hubert", **_WAVE}),
    "hubert-large": ("waveform", {"model_type": "hubert", **_WAVE, "feat_extract_norm": "layer", "conv_bias": True}),
    "wav2vec2": ("waveform", {"model_type": "wav2vec2", **_WAVE}),
    "wavlm": ("waveform", {"model_type": "wavlm", **_WAVE}),
    "ast": ("spectrogram", {"model_type": "audio-spectrogram-transformer", **_AST}),
    "clap": ("spectrogram", {"model_type": "clap_audio_model", **_CLAP}),
    "whisper": ("whisper", {**WHISPER, "max_source_positions": 50}),  # windows of one second
}

NFNET = {
    **{"depth1": 1, "depth2": 2, "depth3": 1, "depth4": 1, "width1": 16, "width2": 16, "width3": 32, "width4": 32},
    **{"stem": 16, "group": 8, "classes": 3},
}

INTERNVIDEO = {"width": 24, "depth": 3, "heads": 3, "readers": 2, "image": 28, "patch": 7, "space": 12, "frames": 4}

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
