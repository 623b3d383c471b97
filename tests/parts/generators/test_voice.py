from __future__ import annotations

import copy
import json

import numpy as np
import pytest
import torch

from polymodal import content, media
from polymodal.errors import ContentError, MediaError, RecipeError
from polymodal.parts.base import build
from polymodal.parts.generators import GENERATORS, voice

NOTHING = torch.Generator()


class Graph:
    """Says as many samples of 0.5 as it is given ids, times the factor of the durations."""

    def run(self, _, feed):
        assert feed["scales"][0] == feed["scales"][2] == 0, "no noise"
        return [np.full((1, 1, 1, int(feed["input"].shape[1] * feed["scales"][1])), 0.5, np.float32)]


@pytest.fixture
def folders(tmp_path, monkeypatch):
    config = {"audio": {"sample_rate": 100}, "espeak": {"voice": "en-us"}}
    config["phoneme_id_map"] = {c: [n] for n, c in enumerate("_^$ .?!,abcdefghijklmnopqrstuvwxyz")}
    (tmp_path / "joe.onnx").touch()
    (tmp_path / "joe.onnx.json").write_text(json.dumps(config))
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "espeak-ng"
    program.write_text("#!/bin/sh\ntr 'A-Z' 'a-z' | sed -e 's/[^a-z ]//g'\n")
    program.chmod(0o755)
    monkeypatch.setattr(voice, "_graph", lambda model: Graph())
    return {"path": str(tmp_path), "speller": str(tmp_path)}


def test_each_text_becomes_a_recording_with_pauses_between_its_sentences(folders):
    steps = []
    reader = build("generator", GENERATORS, {"kind": "voice", **folders})
    (one, rate), (two, _) = reader.make(["Hello you.", "Hello you. Yes?"], NOTHING, lambda *step: steps.append(step))
    assert rate == 100
    assert one.dtype == np.float32
    assert (one == 0.5).all()
    pause = int(voice.PAUSE * rate)
    assert (two[len(one) : len(one) + pause] == 0).all()
    assert (two[len(one) + pause :] == 0.5).all()
    assert steps == [(1, 2), (2, 2)]


def test_what_is_said_is_the_same_for_any_seed_and_a_copy_says_it_too(folders):
    reader = voice.Voice(**folders)
    first, second = (reader.make(["Yes."], torch.Generator().manual_seed(seed)) for seed in (0, 1))
    assert np.array_equal(first[0][0], second[0][0])
    assert np.array_equal(copy.deepcopy(reader).make(["Yes."], NOTHING)[0][0], first[0][0])


def test_a_slower_pace_takes_longer(folders):
    usual, slow = (voice.Voice(**folders, pace=pace).make(["A word."], NOTHING)[0][0] for pace in (1, 2))
    assert len(slow) == 2 * len(usual)


@pytest.mark.parametrize("text", ["", " \n", "..."])
def test_a_text_without_a_word_is_refused_by_its_place(folders, text):
    with pytest.raises(ContentError, match="text 2 for the voice.*no word to say"):
        voice.Voice(**folders).make(["Yes.", text], NOTHING)


def test_it_is_a_tool_and_learns_from_no_recording(folders):
    reader = voice.Voice(**folders)
    assert (reader.takes, reader.modality, list(reader.parameters())) == ("text", "audio", [])
    with pytest.raises(MediaError, match="learns from no recording"):
        reader.prepare(np.zeros(16000, np.float32))


def test_options_rebuild_it(folders):
    reader = voice.Voice(**folders, pace=1.5)
    assert voice.Voice(**reader.options).options == reader.options
    with pytest.raises(RecipeError, match="pace"):
        build("generator", GENERATORS, {"kind": "voice", **folders, "pace": 9})


@pytest.mark.weights
def test_whisper_writes_down_what_joe_says():
    from transformers import AutoProcessor, WhisperForConditionalGeneration

    from polymodal import assets

    spoken = voice.Voice().make(["The quick brown fox jumps over the lazy dog."], NOTHING)[0]
    folder = assets.path("whisper-base")
    processor = AutoProcessor.from_pretrained(folder)
    model = WhisperForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
    features = processor(
        media.load(content.Part("audio", media=spoken)), sampling_rate=16000, return_tensors="pt"
    ).input_features
    heard = processor.batch_decode(model.generate(features, language="en", task="transcribe"), skip_special_tokens=True)[0]
    assert heard.strip().lower().rstrip(".") == "the quick brown fox jumps over the lazy dog"
