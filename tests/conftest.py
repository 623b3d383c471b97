"""Tiny real models: random weights, a byte-level BPE tokenizer trained here, every part a transformers class."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from polymodal.model.composition import Composition
from polymodal.parts.tiny_encoders import WHISPER

torch.set_num_threads(1)  # two processes with two threads each spin against each other: ten times slower

TEXT = "the quick brown fox jumps over a lazy dog. what is this? a red cat on the blue mat! hello world\n" * 20
SPECIAL = ["<pad>", "<s>", "</s>", "<|im_start|>", "<|im_end|>"]
LLAMA = {
    "model_type": "llama",
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 1024,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
CLIP = {
    "model_type": "clip_vision_model",
    "hidden_size": 24,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "image_size": 28,
    "patch_size": 7,
}
T5 = {
    "model_type": "t5",
    "d_model": 32,
    "d_kv": 8,
    "d_ff": 64,
    "num_layers": 2,
    "num_heads": 4,
    "decoder_start_token_id": 0,
    "pad_token_id": 0,
    "eos_token_id": 2,
}


def make_tokenizer(chat_template: str | None = None):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bpe.train_from_iterator([TEXT], trainers.BpeTrainer(vocab_size=400, special_tokens=SPECIAL, initial_alphabet=alphabet))
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        extra_special_tokens=["<|im_start|>", "<|im_end|>"],
        chat_template=chat_template,
    )


@pytest.fixture(scope="session")
def tokenizer_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    make_tokenizer().save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="session")
def tiny_recipe(tokenizer_folder):
    """A function: keyword overrides of the backbone -> recipe of a tiny image + speech model."""

    def recipe(config=LLAMA, chat_format="chatml", **inputs):
        return {
            "model": {
                "backbone": {"config": dict(config), "tokenizer": tokenizer_folder, "chat_format": chat_format},
                "inputs": inputs
                or {
                    "image": {"encoder": {"kind": "vision", "config": dict(CLIP)}, "projector": {"kind": "mlp"}},
                    "audio": {
                        "encoder": {"kind": "whisper", "config": dict(WHISPER)},
                        "projector": {"kind": "mlp", "stack": 4},
                    },
                },
            }
        }

    return recipe


@pytest.fixture(scope="session")
def tiny(tiny_recipe):
    """A tiny composition. Session-wide: tests that change weights build their own."""
    return Composition.from_recipe(tiny_recipe())


@pytest.fixture(scope="session")
def tiny_t5(tiny_recipe):
    return Composition.from_recipe(tiny_recipe(config=T5, chat_format=None))


def picture(seed: int = 0, size=(40, 30)) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def sound(seconds: float = 0.5, hertz: float = 440.0):
    time = np.arange(int(16000 * seconds)) / 16000
    return np.sin(2 * np.pi * hertz * time).astype(np.float32) * 0.3, 16000


def run_command(monkeypatch, capsys, *arguments) -> tuple[int, str, str]:
    """(exit code, stdout, stderr) of one `polymodal` command, in this process."""
    import sys

    from polymodal import cli

    monkeypatch.setattr(sys, "argv", ["polymodal", *map(str, arguments)])
    code = 0
    try:
        cli.main()
    except SystemExit as end:
        code = end.code or 0
    out = capsys.readouterr()
    return code, out.out, out.err
