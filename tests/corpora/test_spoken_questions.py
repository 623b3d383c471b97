from __future__ import annotations

from collections import Counter

import pytest

from polymodal.corpora import scene_questions, spoken_questions, voices
from tests.corpora.test_wordnet import written


@pytest.fixture
def items(tmp_path, monkeypatch):
    monkeypatch.setattr(voices, "voice", lambda name, folders: voices.Flite(name, tmp_path))
    jobs = spoken_questions.jobs({"wordnet": written(tmp_path, [])})
    assert all(len({(item.split, item.voice) for item in job.items}) == 1 for job in jobs)
    return [item for job in jobs for item in job.items]


def test_every_question_of_the_test_is_a_trained_wording_in_both_held_out_voices(items):
    trained = {item.text for item in items if item.split == "train"}
    tested = Counter(item.text for item in items if item.split == "test")
    assert tested.keys() == trained
    assert set(tested.values()) == {len(voices.HELD_OUT)}
    assert {item.voice for item in items if item.split == "test"} == set(voices.HELD_OUT)
    assert {item.voice for item in items if item.split == "train"} == set(voices.TRAINING)


def test_every_wording_is_trained_in_five_voices(items):
    assert set(Counter(item.text for item in items if item.split == "train").values()) == {5}


def test_the_wordings_are_the_general_ones_and_those_of_scenes_each_once():
    asked = spoken_questions.wordings()
    assert len(set(asked)) == len(asked)
    assert set(asked) == {*spoken_questions.GENERAL, *scene_questions.spoken_questions()}
    assert all(text[-1] == "?" and "," not in text for text in asked)  # a comma would be spelt as two lines


def test_a_wording_with_a_word_that_utterances_hold_out_is_not_spoken(items):
    said = {item.text for item in items}
    assert "Is there a kangaroo?" not in said  # a word that `sentences` holds out
    assert len(said) > 150


def test_ids_and_files_are_unique(items):
    assert len({item.id for item in items}) == len({item.file for item in items}) == len(items)
