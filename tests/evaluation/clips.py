"""A tiny random CLIP, saved as transformers saves one."""

from __future__ import annotations

from pathlib import Path

import torch
import transformers

from tests.conftest import make_tokenizer


def saved(folder: Path) -> Path:
    tokenizer = make_tokenizer()
    torch.manual_seed(0)
    small = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.CLIPConfig(
        vision_config={**small, "image_size": 28, "patch_size": 14},
        text_config={**small, "vocab_size": len(tokenizer), "eos_token_id": 2, "pad_token_id": 0, "bos_token_id": 1},
        projection_dim=12,
    )
    transformers.CLIPModel(config).save_pretrained(folder)
    pictures = transformers.CLIPImageProcessorPil(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28})
    transformers.CLIPProcessor(pictures, tokenizer).save_pretrained(folder)
    return folder
