from __future__ import annotations

import io
import random

import numpy as np
import pytest
import soundfile

from polymodal import assets
from polymodal.corpora import voices
from polymodal.corpora.voices import kokoro
from polymodal.corpora.voices.flite import Flite
from polymodal.errors import DataError, MediaError


def program(path, script):
    path.parent.mkdir(parents=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_a_voice_is_for_training_or_held_out_and_never_both():
    assert voices.HELD_OUT == ("awb", "jm_kumo")
    assert not set(voices.HELD_OUT) & set(voices.TRAINING)
    assert set(voices.HELD_OUT) | set(voices.TRAINING) == {"joe", *voices.FLITE, *voices.KOKORO}


def test_an_unknown_voice_is_refused_with_the_nearest():
    with pytest.raises(DataError, match="no voice 'jm_kum'.*did you mean 'jm_kumo'"):
        voices.voice("jm_kum", {})


@pytest.mark.parametrize(
    ("espeak", "spelt"),
    [
        ("ðə fˈɑːðɚ ɹˈoʊd", "ðə fˈɑðəɹ ɹˈOd"),
        ("tʃˈaɪld", "ʧˈIld"),
        ("dʒˈɔɪ nˈaʊ", "ʤˈY nˈW"),
        ("bˈɜːd", "bˈɜɹd"),
        ("wˈɔːɾɚ", "wˈɔTəɹ"),
        ("dˈeɪ", "dˈA"),
    ],
)
def test_kokoro_is_spelt_for_with_one_symbol_per_diphthong_and_affricate(espeak, spelt):
    table = {symbol: index for index, symbol in enumerate(sorted(set(spelt + ".")))}
    assert kokoro.ids(espeak, ".", table) == [table[symbol] for symbol in spelt + "."]


def test_a_phoneme_that_kokoro_does_not_know_is_refused():
    with pytest.raises(MediaError, match="does not know the phoneme 'q'"):
        kokoro.ids("aq", ".", {"a": 1, ".": 2})


def test_flite_speaks_each_text_at_a_tempo_of_its_own(tmp_path):
    sound = tmp_path / "sound.wav"
    soundfile.write(sound, np.sin(np.arange(8000) / 9) / 2, 8000)
    program(
        tmp_path / "bin" / "flite", f'echo "$4 $6" >> {tmp_path}/said; while [ $# -gt 1 ]; do shift; done; cp {sound} $1'
    )
    texts = ["One.", "Two.", "One."]
    made = list(Flite("slt", tmp_path).record(texts, seed=1))
    said = (tmp_path / "said").read_text().splitlines()
    assert said == [f"duration_stretch={random.Random(text).uniform(0.85, 1.15):.3f} {text}" for text in texts]
    assert said[0] != said[1]
    samples, rate = soundfile.read(io.BytesIO(made[0]))
    assert (rate, samples.shape) == (16_000, (16_000,))


def test_a_flite_that_fails_is_refused_in_its_own_words(tmp_path):
    program(tmp_path / "bin" / "flite", "echo no such voice >&2; exit 2")
    with pytest.raises(DataError, match="flite failed: no such voice"):
        list(Flite("slt", tmp_path).record(["One."], seed=1))


@pytest.mark.weights
@pytest.mark.parametrize("name", ["joe", "slt", "jf_gongitsune", *voices.HELD_OUT])
def test_a_chunk_of_speech_is_the_same_each_time_and_16_khz(name):
    voice = voices.voice(name, {asset: assets.path(asset) for asset in voices.ASSETS})
    said = ["The red bird sat on the hill.", "Where is my blue hat?"]
    first, second = (list(voice.record(said, seed=3)) for _ in range(2))
    assert first == second
    samples, rate = soundfile.read(io.BytesIO(first[0]))
    assert rate == 16_000
    assert samples.ndim == 1
    assert 1.0 < len(samples) / rate < 5.0
    assert 0.1 < abs(samples).max() <= 1.0
