"""The real assets do what they are for. Needs `polymodal assets fetch nano nano-corpus`."""

from __future__ import annotations

import json
import os
import subprocess

import pytest
import torch

from polymodal import assets

pytestmark = pytest.mark.weights


def test_smollm2_knows_the_capital_of_france():
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = assets.path("smollm2-135m-instruct")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    question = [{"role": "user", "content": "What is the capital of France?"}]
    inputs = tokenizer.apply_chat_template(question, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    answer = model.generate(**inputs, max_new_tokens=20, do_sample=False)[0, inputs["input_ids"].shape[1] :]
    assert tokenizer.decode(answer, skip_special_tokens=True) == "The capital of France is Paris."
    text = "Ünïcödé 🙂 <|im_end|> def f(x):\n    return x"
    assert tokenizer.decode(tokenizer(text).input_ids) == text


@pytest.mark.parametrize("settings", [{}, {"language": "en", "task": "transcribe"}])
def test_whisper_hears_beckett(settings):
    import soundfile
    from transformers import AutoProcessor, WhisperForConditionalGeneration

    folder = assets.path("whisper-base")
    processor = AutoProcessor.from_pretrained(folder)
    model = WhisperForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
    wave, rate = soundfile.read(assets.path("beckett-wav") / "beckett.wav", dtype="float32")
    features = processor(wave, sampling_rate=rate, return_tensors="pt").input_features
    heard = processor.batch_decode(model.generate(features, **settings), skip_special_tokens=True)[0]
    words = "".join(c for c in heard.lower() if c.isalpha() or c == " ").split()
    expected = ["ever", "tried", "ever", "failed", "no", "matter", "try", "again", "fail", "again", "fail", "better"]
    assert len(words) == len(expected)
    assert sum(a != b for a, b in zip(words, expected, strict=True)) <= 1  # it hears "Never tried"


def test_efficientnet_has_one_label_per_class():
    from safetensors.torch import load_file

    folder = assets.path("efficientnet-lite0")
    labels = json.loads((folder / "labels.json").read_text())
    assert load_file(folder / "model.safetensors")["_fc.weight"].shape == (len(labels), 1280) == (1000, 1280)
    assert (labels[967], labels[285], labels[985]) == ("espresso", "Egyptian Mau", "daisy")
    assert json.loads((assets.path("imagenet-classes") / "labels.json").read_text()) == labels


def test_espeak_turns_words_into_phonemes_and_a_wave(tmp_path):
    folder = assets.path("espeak-ng")
    command = [folder / "bin" / "espeak-ng", f"--path={folder / 'lib'}", "-v", "en-us"]
    environment = {**os.environ, "LD_LIBRARY_PATH": str(folder / "lib")}
    spoken = subprocess.run([*command, "-q", "--ipa", "hello world"], env=environment, capture_output=True, text=True)
    assert spoken.stdout.strip() == "həlˈoʊ wˈɜːld"
    subprocess.run([*command, "-w", tmp_path / "hello.wav", "hello world"], env=environment, check=True)
    assert (tmp_path / "hello.wav").stat().st_size > 20_000


def test_minilm_puts_a_paraphrase_nearer_than_another_topic():
    from transformers import AutoModel, AutoTokenizer

    folder = assets.path("minilm-l6-v2")
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder)
    inputs = tokenizer(["A cat sleeps.", "A kitten is asleep.", "Stocks fell."], padding=True, return_tensors="pt")
    with torch.no_grad():
        states = model(**inputs).last_hidden_state * inputs["attention_mask"][..., None]
    vectors = torch.nn.functional.normalize(states.sum(1), dim=-1)
    assert vectors[0] @ vectors[1] > 0.6 > 0.3 > vectors[0] @ vectors[2]


def test_the_corpora_hold_what_the_catalogue_says():
    count = {
        name: len(list(assets.path(name).rglob(pattern)))
        for name, pattern in (
            ("openmoji", "*.svg"),
            ("fluent-emoji-3d", "*.webp"),
            ("tuxpaint-stamps", "*.png"),
            ("emojibase", "*/data.json"),
        )
    }
    assert count == {"openmoji": 4495, "fluent-emoji-3d": 3391, "tuxpaint-stamps": 796, "emojibase": 28}
    for name, icons in (("noto-emoji", 3819), ("twemoji", 4169), ("fluent-emoji-flat", 3174)):
        data = json.loads((assets.path(name) / "icons.json").read_text())
        assert len(data["icons"]) == icons


@pytest.mark.parametrize("name", ["smollm2-135m-instruct", "efficientnet-lite0", "whisper-base"])
def test_what_lies_in_the_cache_is_what_was_fetched(name):
    assets.verify(name)


def test_flite_speaks_in_four_voices(tmp_path):
    import soundfile

    folder = assets.path("flite")
    for voice in ("slt", "rms", "kal16", "awb"):
        file = tmp_path / f"{voice}.wav"
        command = [folder / "bin" / "flite", "-voice", voice, "-t", "hello world", "-o", file]
        subprocess.run(command, env={**os.environ, "LD_LIBRARY_PATH": str(folder / "lib")}, check=True)
        wave, rate = soundfile.read(file)
        assert rate == 16_000
        assert 0.5 < len(wave) / rate < 2.0
