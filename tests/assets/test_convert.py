from __future__ import annotations

import ctypes
import hashlib
import json
import pickle
import platform
import struct

import numpy as np
import pytest
import torch

from polymodal.assets import convert, espeak, flite
from polymodal.errors import AssetError

TEMPLATE = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"


def write_gguf(path, width=32, heads=4, kv_heads=2):
    """A random one-layer Llama with a byte-level tokenizer. Returns its embedding and its value projection."""
    import gguf

    alphabet = sorted(bytes_to_unicode().values())
    tokens = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *alphabet, "he"]
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(64)
    writer.add_embedding_length(width)
    writer.add_block_count(1)
    writer.add_feed_forward_length(48)
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_types([3, 3, 3] + [1] * (len(tokens) - 3))
    writer.add_token_merges(["h e"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_pad_token_id(2)
    writer.add_chat_template(TEMPLATE)
    random = np.random.default_rng(0)

    def tensor(name, *shape):
        value = random.normal(0, 0.1, shape).astype(np.float32)
        writer.add_tensor(name, value)
        return value

    embedding = tensor("token_embd.weight", len(tokens), width)
    tensor("output_norm.weight", width)
    size = width // heads * kv_heads
    for part in ("attn_norm", "ffn_norm"):
        tensor(f"blk.0.{part}.weight", width)
    tensor("blk.0.attn_q.weight", width, width)
    tensor("blk.0.attn_k.weight", size, width)
    value = tensor("blk.0.attn_v.weight", size, width)
    tensor("blk.0.attn_output.weight", width, width)
    tensor("blk.0.ffn_gate.weight", 48, width)
    tensor("blk.0.ffn_up.weight", 48, width)
    tensor("blk.0.ffn_down.weight", width, 48)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return embedding, value


def bytes_to_unicode():
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    return bytes_to_unicode()


def test_a_gguf_model_becomes_a_plain_fp16_folder_with_tokenizer_and_template(tmp_path, capfd):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    kept, ready = tmp_path / "kept", tmp_path / "ready"
    kept.mkdir()
    embedding, value = write_gguf(kept / "tiny.gguf")
    convert.convert("gguf-to-transformers", kept, ready)
    assert "%|" not in capfd.readouterr().err  # no progress bars of the loader

    model = AutoModelForCausalLM.from_pretrained(ready)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float16}
    assert not getattr(model, "is_quantized", False)
    np.testing.assert_array_equal(model.model.embed_tokens.weight.detach().numpy(), embedding.astype(np.float16))
    layer = model.model.layers[0].self_attn
    np.testing.assert_array_equal(layer.v_proj.weight.detach().numpy(), value.astype(np.float16))
    assert model.lm_head.weight is model.model.embed_tokens.weight
    model.save_pretrained(tmp_path / "again")

    tokenizer = AutoTokenizer.from_pretrained(ready)
    assert tokenizer.decode(tokenizer("hello <|im_end|>").input_ids) == "hello <|im_end|>"
    assert tokenizer.chat_template == TEMPLATE
    assert (tokenizer.eos_token_id, model.generation_config.eos_token_id) == (2, 2)
    settings = json.loads((ready / "tokenizer_config.json").read_text())
    assert "local_files_only" not in settings


def test_two_files_to_convert_are_refused(tmp_path):
    (tmp_path / "a.gguf").touch()
    (tmp_path / "b.gguf").touch()
    with pytest.raises(AssetError, match=r"expected one file \*.gguf to convert, found 2"):
        convert.convert("gguf-to-transformers", tmp_path, tmp_path / "ready")


def efficientnet_files(folder, classes=3, labels=3):
    folder.mkdir()
    weights = {"_conv_stem.weight": torch.randn(4, 3, 3, 3), "_fc.weight": torch.randn(classes, 5)}
    weights["_bn0.num_batches_tracked"] = torch.tensor(7)
    torch.save(weights, folder / "tiny.pth")
    (folder / "imagenet1k_clean_names.json").write_text(json.dumps([f"name {i}" for i in range(labels)]))
    return weights


def test_efficientnet_weights_are_unchanged_and_described(tmp_path):
    from safetensors.torch import load_file

    weights = efficientnet_files(tmp_path / "kept")
    convert.convert("efficientnet-lite", tmp_path / "kept", tmp_path / "ready")
    loaded = load_file(tmp_path / "ready" / "model.safetensors")
    assert loaded.keys() == weights.keys()
    assert all(torch.equal(loaded[name], weights[name]) for name in weights)
    config = json.loads((tmp_path / "ready" / "config.json").read_text())
    assert (config["num_classes"], config["feature_width"], config["mean"], config["std"]) == (3, 5, 127.0, 128.0)
    assert json.loads((tmp_path / "ready" / "labels.json").read_text()) == ["name 0", "name 1", "name 2"]


def test_labels_that_do_not_match_the_classes_are_refused(tmp_path):
    efficientnet_files(tmp_path / "kept", classes=3, labels=2)
    with pytest.raises(AssetError, match="3 classes but 2 labels"):
        convert.convert("efficientnet-lite", tmp_path / "kept", tmp_path / "ready")


def test_a_pickle_that_would_run_code_is_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "evil"), "w"))

    efficientnet_files(tmp_path / "kept")
    (tmp_path / "kept" / "tiny.pth").write_bytes(pickle.dumps(Evil(), protocol=2))
    with pytest.raises(AssetError, match="tiny.pth: refused, it holds more than tensors"):
        convert.convert("efficientnet-lite", tmp_path / "kept", tmp_path / "ready")
    assert not (tmp_path / "evil").exists()


def test_an_unknown_converter_is_refused_with_the_nearest():
    with pytest.raises(AssetError, match=r"\(did you mean 'espeak-ng'\?\)"):
        convert.converter("espeak")


def test_licences_follow_a_conversion(tmp_path):
    efficientnet_files(tmp_path / "kept")
    (tmp_path / "kept" / "licences" / "tiny").mkdir(parents=True)
    (tmp_path / "kept" / "licences" / "tiny" / "LICENSE").write_text("free")
    convert.convert("efficientnet-lite", tmp_path / "kept", tmp_path / "ready")
    assert (tmp_path / "ready" / "licences" / "tiny" / "LICENSE").read_text() == "free"


@pytest.mark.skipif(platform.system() != "Linux" or platform.machine() != "x86_64", reason="loads an x86-64 library")
def test_the_stand_in_is_a_library_whose_functions_return_zero(tmp_path):
    (tmp_path / "libpcaudio.so.0").write_bytes(espeak.stand_in("libpcaudio.so.0", espeak.SOUND_FUNCTIONS, 62))
    library = ctypes.CDLL(str(tmp_path / "libpcaudio.so.0"))
    for name in espeak.SOUND_FUNCTIONS:
        assert getattr(library, name)(b"x", 5) == 0
    with pytest.raises(AttributeError):
        library.audio_object_missing  # noqa: B018


@pytest.mark.skipif(platform.system() != "Linux" or platform.machine() != "x86_64", reason="loads an x86-64 library")
def test_a_stand_in_answers_for_the_version_it_was_made_with_and_no_other(tmp_path):
    (tmp_path / "libasound.so.2").write_bytes(espeak.stand_in("libasound.so.2", flite.SOUND_FUNCTIONS, 62, "ALSA_0.9"))
    library = ctypes.CDLL(str(tmp_path / "libasound.so.2"))
    versioned = ctypes.CDLL(None).dlvsym
    versioned.restype, versioned.argtypes = ctypes.c_void_p, (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_char_p)
    for name in flite.SOUND_FUNCTIONS:
        assert versioned(library._handle, name.encode(), b"ALSA_0.9")
        assert not versioned(library._handle, name.encode(), b"ALSA_1.0")


def test_a_processor_without_stand_in_is_refused():
    with pytest.raises(AssetError, match="ELF machine 40"):
        espeak.stand_in("libpcaudio.so.0", espeak.SOUND_FUNCTIONS, 40)


def test_an_espeak_that_does_not_run_is_refused_in_its_own_words(tmp_path):
    for part, name in (("bin", "espeak-ng"), ("lib", "libespeak-ng.so.1")):
        (tmp_path / "kept" / part).mkdir(parents=True)
        (tmp_path / "kept" / part / name).write_bytes(struct.pack("<18xH", 62))
    (tmp_path / "kept" / "bin" / "espeak-ng").write_text("#!/bin/sh\necho 'espeak-ng: lacks a voice' >&2\nexit 1\n")
    (tmp_path / "kept" / "bin" / "espeak-ng").chmod(0o755)
    with pytest.raises(AssetError, match="espeak-ng does not run on this machine: lacks a voice"):
        convert.convert("espeak-ng", tmp_path / "kept", tmp_path / "ready")


def test_a_flite_that_does_not_run_is_refused_in_its_own_words(tmp_path):
    for part, name in (("bin", "flite"), ("lib", "libflite.so.1")):
        (tmp_path / "kept" / part).mkdir(parents=True)
        (tmp_path / "kept" / part / name).write_bytes(struct.pack("<18xH", 62))
    (tmp_path / "kept" / "bin" / "flite").write_text("#!/bin/sh\necho 'flite: lacks a voice' >&2\nexit 1\n")
    (tmp_path / "kept" / "bin" / "flite").chmod(0o755)
    with pytest.raises(AssetError, match="flite does not run on this machine: lacks a voice"):
        convert.convert("flite", tmp_path / "kept", tmp_path / "ready")


def kokoro_files(folder, stated):
    for number, part in ((1, b"one "), (2, b"two")):
        (folder / str(number)).mkdir(parents=True)
        (folder / str(number) / "part.bin").write_bytes(part)
    (folder / "model.sha256").write_text(stated + "\n")
    for name in ("vocab.json", "voices_ja.npz"):
        (folder / name).write_text(name)


def test_the_parts_of_kokoro_become_one_model_beside_its_tables(tmp_path):
    kokoro_files(tmp_path / "kept", hashlib.sha256(b"one two").hexdigest())
    convert.convert("kokoro", tmp_path / "kept", tmp_path / "ready")
    assert (tmp_path / "ready" / "model.onnx").read_bytes() == b"one two"
    assert sorted(file.name for file in (tmp_path / "ready").iterdir()) == ["model.onnx", "vocab.json", "voices_ja.npz"]


def test_parts_of_kokoro_that_do_not_join_to_its_model_are_refused(tmp_path):
    kokoro_files(tmp_path / "kept", hashlib.sha256(b"two one").hexdigest())
    with pytest.raises(AssetError, match="its 2 parts do not join to the model of sha256"):
        convert.convert("kokoro", tmp_path / "kept", tmp_path / "ready")
