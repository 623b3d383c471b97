from __future__ import annotations

import sys

import pytest

from polymodal.errors import AssetError, DataError, MediaError
from polymodal.parts.voices.phonemes import phonemes, sentences
from polymodal.parts.voices.piper import PiperVoice, ids
from polymodal.parts.voices.session import session


def speller(folder, script):
    program = folder / "bin" / "espeak-ng"
    program.parent.mkdir(parents=True)
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return folder


def test_phonemes_become_ids_with_pads_between():
    table = {"^": [1], "$": [2], "_": [0], ".": [9], "a": [5], "b": [6, 7]}
    assert ids("ab", ".", table) == [1, 0, 5, 0, 6, 7, 0, 9, 0, 2]
    with pytest.raises(MediaError, match="does not know the phoneme 'x'"):
        ids("ax", ".", table)


@pytest.mark.parametrize(
    ("script", "reason"), [("echo one", "answered 1 lines for 2"), ("echo no voice >&2; exit 3", "failed: no voice")]
)
def test_a_speller_that_fails_is_refused(tmp_path, script, reason):
    with pytest.raises(DataError, match=reason):
        phonemes(["One.", "Two."], speller(tmp_path, script), "en-us")


@pytest.mark.parametrize(
    ("text", "spelt"),
    [
        ("One, two: three! Four?", ["one, two: three!", "four?"]),
        ("Title\nand (once) more", ["title.", "and once more."]),
        ("well - yes, 3.5 or", ["well yes, 3.5 or."]),
        ("Bonjour, (fr)toi(en).", ["bonjour, toi."]),
        ("... !", []),
        ("", []),
    ],
)
def test_a_text_is_spelt_by_sentences_that_keep_their_marks(tmp_path, text, spelt):
    """A speller that says letters as they stand, drops marks at the end, and breaks lines at a dash, as eSpeak NG does."""
    lower = """tr 'A-Z' 'a-z' | sed -e 's/[.,:;!?]*$//' -e 's/[(]once[)]/once/' -e 's/ - /\\n/g'"""
    assert sentences(text, speller(tmp_path, lower), "en-us") == spelt


def test_a_folder_without_a_voice_is_refused(tmp_path):
    with pytest.raises(AssetError, match="expected one voice"):
        PiperVoice.find(tmp_path, tmp_path)


def test_without_onnx_runtime_the_command_that_installs_it_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(DataError, match="pip install onnxruntime"):
        session(tmp_path / "joe.onnx", 0)
