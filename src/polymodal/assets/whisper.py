"""Whisper from CTranslate2 form to a transformers folder. Decides the mapping of tensor names.

CTranslate2 fuses linear layers that share an input (q, k, v of self-attention; k, v of cross-attention); they are split
here. The set of tensors and every shape must be exactly those of the architecture, or nothing is written.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from polymodal.assets.convert import drop_keys
from polymodal.assets.ctranslate2 import Model, read
from polymodal.errors import AssetError


def whisper_tensors(model: Model) -> dict[str, np.ndarray]:
    """The tensors of WhisperForConditionalGeneration, by its names, in fp16; tied ones once.

    Raises AssetError for another architecture, a tensor that is missing or that would be left out, or a key projection
    with a bias (Whisper has none there).
    """
    if model.spec != "WhisperSpec":
        raise AssetError(f"the CTranslate2 model is a {model.spec}, expected WhisperSpec")
    source, used, out = model.tensors, set(), {}

    def take(name: str) -> np.ndarray:
        if name not in source:
            raise AssetError(f"the CTranslate2 Whisper lacks the tensor {name}")
        used.add(id(source[name]))  # an alias is the same object
        return source[name]

    def put(target: str, *values: np.ndarray) -> None:
        """weight and, if given, bias"""
        for kind, value in zip(("weight", "bias")[: len(values)], values, strict=True):
            out[f"model.{target}.{kind}"] = np.ascontiguousarray(value, np.float16)

    def weight(name: str) -> np.ndarray:
        if f"{name}_scale" not in source:
            return take(name)
        return take(name) / take(f"{name}_scale")[:, None]  # of int8: one scale per row, q = round(w * scale)

    def linear(name: str) -> tuple[np.ndarray, np.ndarray]:
        return weight(f"{name}/weight"), take(f"{name}/bias")

    def norm(name: str) -> tuple[np.ndarray, np.ndarray]:
        return take(f"{name}/gamma"), take(f"{name}/beta")

    def fused(name: str, target: str, roles: str) -> None:
        matrix, bias = linear(name)
        count = len(roles)
        for role, w, b in zip(roles, np.split(matrix, count), np.split(bias, count), strict=True):
            if role != "k":
                put(f"{target}.{role}_proj", w, b)
            elif b.any():
                raise AssetError(f"tensor {name}/bias gives keys a bias, which Whisper does not have")
            else:
                put(f"{target}.{role}_proj", w)

    for conv in ("conv1", "conv2"):
        put(f"encoder.{conv}", *linear(f"encoder/{conv}"))
    put("decoder.embed_tokens", weight("decoder/embeddings/weight"))
    for side in ("encoder", "decoder"):
        put(f"{side}.embed_positions", take(f"{side}/position_encodings/encodings"))
        put(f"{side}.layer_norm", *norm(f"{side}/layer_norm"))
        for i in range(layers(model, side)):
            old, new = f"{side}/layer_{i}", f"{side}.layers.{i}"
            put(f"{new}.self_attn_layer_norm", *norm(f"{old}/self_attention/layer_norm"))
            fused(f"{old}/self_attention/linear_0", f"{new}.self_attn", "qkv")
            put(f"{new}.self_attn.out_proj", *linear(f"{old}/self_attention/linear_1"))
            if side == "decoder":
                put(f"{new}.encoder_attn_layer_norm", *norm(f"{old}/attention/layer_norm"))
                put(f"{new}.encoder_attn.q_proj", *linear(f"{old}/attention/linear_0"))
                fused(f"{old}/attention/linear_1", f"{new}.encoder_attn", "kv")
                put(f"{new}.encoder_attn.out_proj", *linear(f"{old}/attention/linear_2"))
            put(f"{new}.final_layer_norm", *norm(f"{old}/ffn/layer_norm"))
            put(f"{new}.fc1", *linear(f"{old}/ffn/linear_0"))
            put(f"{new}.fc2", *linear(f"{old}/ffn/linear_1"))
    left = [name for name, value in source.items() if value.ndim and id(value) not in used]  # scalars are settings
    if left:
        raise AssetError(f"the CTranslate2 Whisper has a tensor that Whisper does not: {left[0]}")
    return out


def layers(model: Model, side: str) -> int:
    """How many layers `side` ("encoder" or "decoder") has."""
    return sum(key.startswith(f"{side}/layer_") and key.endswith("/ffn/layer_norm/gamma") for key in model.tensors)


def write_whisper(kept: Path, ready: Path) -> None:
    """Convert `kept` (model.bin, whole or as .part1, .part2, ...; tokenizer.json; config.json) into the folder `ready`.

    Writes model.safetensors (fp16), config, generation_config, tokenizer and feature extractor. Raises AssetError if
    any tensor of the architecture is missing, left over or of another shape.
    """
    import torch
    from safetensors.numpy import save_file
    from transformers import WhisperFeatureExtractor, WhisperForConditionalGeneration, WhisperProcessor

    model = read(sorted(kept.glob("model.bin*"), key=_part))
    tensors = whisper_tensors(model)
    tokenizer = _tokenizer(kept)
    config = _config(model, tokenizer)
    with torch.device("meta"):
        expected = WhisperForConditionalGeneration(config).state_dict()
    del expected["proj_out.weight"]  # tied to the embedding
    _check(tensors, {key: tuple(value.shape) for key, value in expected.items()})

    config.save_pretrained(ready)
    _generation_config(config, tokenizer, json.loads((kept / "config.json").read_text("utf-8"))).save_pretrained(ready)
    extractor = WhisperFeatureExtractor(feature_size=config.num_mel_bins)
    WhisperProcessor(extractor, tokenizer).save_pretrained(ready)
    extractor.save_pretrained(ready)
    drop_keys(ready / "tokenizer_config.json", "is_local", "local_files_only")
    save_file(tensors, ready / "model.safetensors", {"format": "pt"})


def _part(path: Path) -> int:
    """Position of a part: model.bin.part10 follows model.bin.part9."""
    digits = path.suffix.removeprefix(".part")
    return int(digits) if digits.isdigit() else 0


def _tokenizer(kept: Path) -> Any:
    """The WhisperTokenizer of a CTranslate2 folder, with the 1501 time stamps that its tokenizer.json leaves out."""
    from tokenizers import AddedToken
    from transformers import WhisperTokenizer

    tokenizer = WhisperTokenizer.from_pretrained(kept, local_files_only=True, pad_token="<|endoftext|>")
    stamps = [f"<|{i / 50:.2f}|>" for i in range(1501)]  # 20 ms apart over 30 s
    tokenizer.add_tokens([AddedToken(stamp, special=False, normalized=False) for stamp in stamps])
    return tokenizer


def _config(model: Model, tokenizer: Any) -> Any:
    """The WhisperConfig that the tensors' shapes imply."""
    from transformers import WhisperConfig

    source = model.tensors
    vocabulary, width = source["decoder/embeddings/weight"].shape
    end = tokenizer.eos_token_id
    return WhisperConfig(
        vocab_size=vocabulary,
        num_mel_bins=source["encoder/conv1/weight"].shape[1],
        d_model=width,
        encoder_layers=layers(model, "encoder"),
        decoder_layers=layers(model, "decoder"),
        encoder_attention_heads=int(source["encoder/num_heads"]),
        decoder_attention_heads=int(source["decoder/num_heads"]),
        encoder_ffn_dim=source["encoder/layer_0/ffn/linear_0/weight"].shape[0],
        decoder_ffn_dim=source["decoder/layer_0/ffn/linear_0/weight"].shape[0],
        max_source_positions=source["encoder/position_encodings/encodings"].shape[0],
        max_target_positions=source["decoder/position_encodings/encodings"].shape[0],
        bos_token_id=end,
        eos_token_id=end,
        pad_token_id=end,
        decoder_start_token_id=tokenizer.convert_tokens_to_ids("<|startoftranscript|>"),
        dtype="float16",
        architectures=["WhisperForConditionalGeneration"],
    )


def _generation_config(config: Any, tokenizer: Any, extra: dict[str, Any]) -> Any:
    """Languages, tasks and suppressed tokens, from CTranslate2's config.json (`extra`)."""
    from transformers import GenerationConfig

    ids = tokenizer.convert_tokens_to_ids
    return GenerationConfig(
        bos_token_id=config.bos_token_id,
        eos_token_id=config.eos_token_id,
        pad_token_id=config.pad_token_id,
        decoder_start_token_id=config.decoder_start_token_id,
        prev_sot_token_id=ids("<|startofprev|>"),
        no_timestamps_token_id=ids("<|notimestamps|>"),
        max_length=config.max_target_positions,
        max_initial_timestamp_index=50,
        suppress_tokens=extra["suppress_ids"],
        begin_suppress_tokens=extra["suppress_ids_begin"],
        alignment_heads=extra["alignment_heads"],
        is_multilingual=True,
        lang_to_id={tokenizer.convert_ids_to_tokens(i): i for i in extra["lang_ids"]},
        task="transcribe",  # unset, generate() adds no task token and the model repeats itself
        task_to_id={task: ids(f"<|{task}|>") for task in ("transcribe", "translate")},
        return_timestamps=False,
    )


def _check(tensors: dict[str, np.ndarray], expected: dict[str, tuple[int, ...]]) -> None:
    def listed(names: Iterable[str]) -> str:
        names = sorted(names)
        return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")

    missing, unexpected = expected.keys() - tensors.keys(), tensors.keys() - expected.keys()
    if missing:
        raise AssetError(f"the converted Whisper lacks {listed(missing)}")
    if unexpected:
        raise AssetError(f"the converted Whisper has tensors that its architecture has not: {listed(unexpected)}")
    for name, shape in expected.items():
        if tensors[name].shape != shape:
            raise AssetError(f"tensor {name} is of shape {tensors[name].shape}, its architecture needs {shape}")
