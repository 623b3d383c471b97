"""CTranslate2 files are written here by the published format, from a random transformers Whisper, and must come back."""

from __future__ import annotations

import json
import struct

import numpy as np
import pytest
import torch

from polymodal.assets import ctranslate2
from polymodal.assets.whisper import whisper_tensors, write_whisper
from polymodal.errors import AssetError

TOKENS = ["<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|translate|>", "<|transcribe|>", "<|startofprev|>"]
TOKENS += ["<|nospeech|>", "<|notimestamps|>"]
WIDTH, VOCABULARY = 16, 1 + len(TOKENS) + 1501
CODES = {"float32": 0, "int8": 1, "int16": 2, "int32": 3, "float16": 4}


def write_ctranslate2(path, tensors, aliases=None, spec="WhisperSpec", version=6, dtype_code=None):
    def string(text):
        return struct.pack("<H", len(text) + 1) + text.encode() + b"\0"

    out = struct.pack("<I", version) + string(spec) + struct.pack("<II", 3, len(tensors))
    for name, value in tensors.items():
        out += string(name) + struct.pack(f"<B{value.ndim}I", value.ndim, *value.shape)
        code = CODES[value.dtype.name] if dtype_code is None else dtype_code
        out += struct.pack("<BI", code, value.nbytes) + value.tobytes()
    out += struct.pack("<I", len(aliases or {}))
    for alias, original in (aliases or {}).items():
        out += string(alias) + string(original)
    path.write_bytes(out)
    return path


@pytest.fixture(scope="module")
def source():
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    torch.manual_seed(0)
    config = WhisperConfig(
        vocab_size=VOCABULARY,
        num_mel_bins=80,
        d_model=WIDTH,
        encoder_layers=2,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=24,
        decoder_ffn_dim=24,
        max_source_positions=1500,
        max_target_positions=32,
        pad_token_id=0,
        bos_token_id=0,
        eos_token_id=0,
        decoder_start_token_id=1,
    )
    return WhisperForConditionalGeneration(config).half().float().eval()  # values that fp16 holds exactly


@pytest.fixture
def tensors(source):
    """The source's weights by CTranslate2's names, fused as CTranslate2 fuses them."""
    weights = {k.removeprefix("model."): v.detach().numpy().astype(np.float16) for k, v in source.state_dict().items()}
    out: dict[str, np.ndarray] = {"encoder/num_heads": np.array(2, np.int8), "decoder/num_heads": np.array(2, np.int8)}

    def linear(name, *parts):
        zero = np.zeros(WIDTH, np.float16)
        out[f"{name}/weight"] = np.concatenate([weights[f"{part}.weight"] for part in parts])
        out[f"{name}/bias"] = np.concatenate([weights.get(f"{part}.bias", zero) for part in parts])

    def norm(name, part):
        out[f"{name}/gamma"], out[f"{name}/beta"] = weights[f"{part}.weight"], weights[f"{part}.bias"]

    linear("encoder/conv1", "encoder.conv1")
    linear("encoder/conv2", "encoder.conv2")
    out["decoder/embeddings/weight"] = weights["decoder.embed_tokens.weight"]
    for side, layers in (("encoder", 2), ("decoder", 1)):
        out[f"{side}/position_encodings/encodings"] = weights[f"{side}.embed_positions.weight"]
        norm(f"{side}/layer_norm", f"{side}.layer_norm")
        for i in range(layers):
            new, old = f"{side}/layer_{i}", f"{side}.layers.{i}"
            norm(f"{new}/self_attention/layer_norm", f"{old}.self_attn_layer_norm")
            linear(f"{new}/self_attention/linear_0", *(f"{old}.self_attn.{p}_proj" for p in "qkv"))
            linear(f"{new}/self_attention/linear_1", f"{old}.self_attn.out_proj")
            if side == "decoder":
                norm(f"{new}/attention/layer_norm", f"{old}.encoder_attn_layer_norm")
                linear(f"{new}/attention/linear_0", f"{old}.encoder_attn.q_proj")
                linear(f"{new}/attention/linear_1", *(f"{old}.encoder_attn.{p}_proj" for p in "kv"))
                linear(f"{new}/attention/linear_2", f"{old}.encoder_attn.out_proj")
            norm(f"{new}/ffn/layer_norm", f"{old}.final_layer_norm")
            linear(f"{new}/ffn/linear_0", f"{old}.fc1")
            linear(f"{new}/ffn/linear_1", f"{old}.fc2")
    return out


@pytest.fixture
def kept(tmp_path, tensors):
    """The files of a CTranslate2 Whisper as the packages bring them: the model in two parts, a tokenizer, a config."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    folder = tmp_path / "kept"
    folder.mkdir()
    whole = write_ctranslate2(tmp_path / "model.bin", tensors, {"decoder/projection/weight": "decoder/embeddings/weight"})
    data = whole.read_bytes()
    (folder / "model.bin.part1").write_bytes(data[:10001])
    (folder / "model.bin.part2").write_bytes(data[10001:])
    tokenizer = Tokenizer(models.BPE(vocab={"a": len(TOKENS)} | {t: i for i, t in enumerate(TOKENS)}, merges=[]))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(), decoders.ByteLevel()
    tokenizer.add_special_tokens(TOKENS)
    tokenizer.save(str(folder / "tokenizer.json"))
    extra = {"suppress_ids": [3], "suppress_ids_begin": [0], "lang_ids": [2], "alignment_heads": [[0, 1]]}
    (folder / "config.json").write_text(json.dumps(extra))
    return folder


def test_a_file_reads_back_as_it_was_written(tmp_path):
    written = {
        "a": np.arange(6, dtype=np.float32).reshape(2, 3),
        "b": np.array([-128, 127], np.int8),
        "c": np.array(7, np.int16),
        "d": np.ones((1, 2, 3), np.float16),
    }
    model = ctranslate2.read([write_ctranslate2(tmp_path / "model.bin", written, {"e": "a"}, spec="Any")])
    assert (model.spec, model.revision) == ("Any", 3)
    assert list(model.tensors) == ["a", "b", "c", "d", "e"]
    for name, value in written.items():
        assert model.tensors[name].dtype == value.dtype
        np.testing.assert_array_equal(model.tensors[name], value)
    assert np.shares_memory(model.tensors["e"], model.tensors["a"])


@pytest.mark.parametrize("cut", [3, 30, -1])
def test_a_file_that_ends_early_is_refused_by_name(tmp_path, cut):
    path = write_ctranslate2(tmp_path / "model.bin", {"a": np.ones(50, np.float32)})
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(AssetError, match="model.bin: ends early"):
        ctranslate2.read([path])


def test_bytes_after_the_end_are_refused(tmp_path):
    path = write_ctranslate2(tmp_path / "model.bin", {"a": np.ones(5, np.float32)})
    path.write_bytes(path.read_bytes() + b"xx")
    with pytest.raises(AssetError, match="2 bytes follow the end"):
        ctranslate2.read([path])


def test_another_format_version_is_refused(tmp_path):
    path = write_ctranslate2(tmp_path / "model.bin", {}, version=7)
    with pytest.raises(AssetError, match="format version 7, can read 6"):
        ctranslate2.read([path])


def test_an_unknown_type_is_refused_by_the_tensors_name(tmp_path):
    path = write_ctranslate2(tmp_path / "model.bin", {"a": np.ones(5, np.float32)}, dtype_code=9)
    with pytest.raises(AssetError, match="tensor a is of the unknown type 9"):
        ctranslate2.read([path])


def test_the_converted_folder_gives_the_logits_of_the_source(kept, tmp_path, source):
    from transformers import WhisperForConditionalGeneration

    write_whisper(kept, tmp_path / "ready")
    model, info = WhisperForConditionalGeneration.from_pretrained(
        tmp_path / "ready", dtype=torch.float32, output_loading_info=True
    )
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    features, ids = torch.randn(2, 80, 3000), torch.tensor([[1, 2, 4], [1, 2, 3]])
    with torch.no_grad():
        expected = source(input_features=features, decoder_input_ids=ids).logits
        actual = model.eval()(input_features=features, decoder_input_ids=ids).logits
    assert expected.std() > 0.01
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-6)


def test_the_converted_folder_brings_tokenizer_features_and_generation_settings(kept, tmp_path):
    from transformers import AutoProcessor, GenerationConfig

    write_whisper(kept, tmp_path / "ready")
    processor = AutoProcessor.from_pretrained(tmp_path / "ready")
    assert processor.feature_extractor.feature_size == 80
    assert processor.tokenizer.convert_tokens_to_ids("<|30.00|>") == VOCABULARY - 1
    settings = GenerationConfig.from_pretrained(tmp_path / "ready")
    assert settings.task == "transcribe"
    assert settings.lang_to_id == {"<|en|>": 2}
    assert settings.task_to_id == {"transcribe": 4, "translate": 3}
    assert settings.no_timestamps_token_id == 7


def test_int8_weights_are_scaled_back(tmp_path, tensors):
    name = "encoder/layer_0/ffn/linear_0/weight"
    exact = tensors[name].astype(np.float32)
    scale = 127 / np.abs(exact).max(axis=1)
    quantised = tensors | {name: np.round(exact * scale[:, None]).astype(np.int8), f"{name}_scale": scale}
    model = ctranslate2.read([write_ctranslate2(tmp_path / "model.bin", quantised)])
    restored = whisper_tensors(model)["model.encoder.layers.0.fc1.weight"]
    assert np.abs(restored - exact).max() <= 0.51 / scale.min() + 1e-4
    assert not np.array_equal(restored, exact)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"decoder/layer_0/ffn/linear_1/weight": np.ones((WIDTH, 23), np.float16)}, "fc2.weight is of shape"),
        ({"encoder/layer_0/self_attention/linear_0/bias": np.ones(3 * WIDTH, np.float16)}, "gives keys a bias"),
        ({"encoder/layer_norm/gamma": np.ones(9, np.float16)}, "model.encoder.layer_norm.weight is of shape"),
    ],
)
def test_tensors_that_do_not_fit_are_refused_by_name(kept, tmp_path, tensors, change, message):
    (kept / "model.bin.part2").unlink()
    write_ctranslate2(kept / "model.bin.part1", tensors | change)
    with pytest.raises(AssetError, match=message):
        write_whisper(kept, tmp_path / "ready")
    assert not (tmp_path / "ready").exists()


def test_a_missing_tensor_is_refused_by_name(kept, tmp_path, tensors):
    (kept / "model.bin.part2").unlink()
    del tensors["decoder/layer_norm/beta"]
    write_ctranslate2(kept / "model.bin.part1", tensors)
    with pytest.raises(AssetError, match="lacks the tensor decoder/layer_norm/beta"):
        write_whisper(kept, tmp_path / "ready")


def test_a_tensor_that_would_be_left_out_is_refused_by_name(tmp_path, tensors):
    tensors["decoder/projection/weight"] = np.ones((VOCABULARY, WIDTH), np.float16)  # not tied to the embedding
    with pytest.raises(AssetError, match="has a tensor that Whisper does not: decoder/projection/weight"):
        whisper_tensors(ctranslate2.read([write_ctranslate2(tmp_path / "model.bin", tensors)]))


def test_another_architecture_is_refused(tmp_path):
    model = ctranslate2.read([write_ctranslate2(tmp_path / "model.bin", {}, spec="TransformerSpec")])
    with pytest.raises(AssetError, match="TransformerSpec, expected WhisperSpec"):
        whisper_tensors(model)
