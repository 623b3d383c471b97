from __future__ import annotations

import random
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

from polymodal import assets
from polymodal.corpora import exclusions, sentences, utterances, voices, wordnet
from polymodal.corpora.concepts import concept
from polymodal.errors import DataError
from tests.corpora.test_wordnet import written

WHO = ["teacher", "neighbour", "captain", "farmer", "painter", "sailor", "waiter", "hunter"]
DID = ["mended", "found", "carried", "dropped", "wanted", "washed", "praised", "hid"]
WHAT = ["kettle", "lamp", "basket", "bucket", "carpet", "drum", "hammer", "needle", "pencil", "pipe", "rope", "saddle"]


@pytest.fixture
def tiny(tmp_path, monkeypatch) -> Path:
    """A WordNet of 300 examples; some of its words are held out."""
    draw = random.Random(1).choice
    lines = [" ".join((*WHO, *DID, *WHAT)) + " | words"]
    for _ in range(300):
        example = f"{draw(WHO)} {draw(DID)} the {draw(WHAT)} while {draw(WHO)} {draw(DID)} the {draw(WHAT)}"
        lines.append(f'a | "the {example}"')
    monkeypatch.setattr(utterances, "MODERATE", (3, 300))
    monkeypatch.setattr(utterances, "HELD", 4)
    monkeypatch.setattr(utterances, "SHARES", {"joe": 20, "slt": 15, "jf_alpha": 5})
    monkeypatch.setattr(utterances, "MORE", {"slt": 9, "joe": 6})
    monkeypatch.setattr(utterances, "VAL", 4)
    monkeypatch.setattr(utterances, "TEST", 8)
    monkeypatch.setattr(utterances, "PATTERNS", 4)
    monkeypatch.setattr(utterances, "CHUNK", 6)
    return written(tmp_path, lines)


once = cache(utterances.choose)  # the real one takes seconds


def real() -> Path:
    return assets.path("wordnet")


@pytest.fixture(params=["tiny", pytest.param("real", marks=pytest.mark.weights)])
def folder(request) -> Path:
    return real() if request.param == "real" else request.getfixturevalue("tiny")


@pytest.fixture
def chosen(folder) -> list[utterances.Utterance]:
    return once(folder)


def texts(chosen, *splits, tag="known-words"):
    return [u.text for u in chosen if u.split in splits and tag in u.tags]


def trained(chosen):
    return [*texts(chosen, "train"), *(s.text for s in sentences.generate() if s.split == "train")]


def test_there_are_as_many_as_promised_and_none_is_said_twice(chosen):
    promised = utterances
    assert Counter((u.split, u.tags) for u in chosen) == {
        ("train", ("known-words", "example")): sum(promised.SHARES.values()) + sum(promised.MORE.values()),
        ("val", ("known-words", "example")): promised.VAL,
        ("val", ("unseen-words", "example")): promised.VAL,
        ("test", ("known-words", "pattern")): promised.PATTERNS,
        ("test", ("known-words", "example")): promised.TEST - promised.PATTERNS,
        ("test", ("unseen-words", "example")): promised.TEST,
    }
    assert len({u.text for u in chosen}) == len(chosen)


def test_a_held_out_voice_speaks_in_the_test_alone_and_no_other_does(chosen):
    said = Counter((u.split, u.voice) for u in chosen)
    assert {voice for split, voice in said if split == "test"} == set(voices.HELD_OUT)
    assert not {voice for split, voice in said if split != "test"} & set(voices.HELD_OUT)
    promised = Counter(utterances.SHARES) + Counter(utterances.MORE)
    assert {voice: n for (split, voice), n in said.items() if split == "train"} == promised
    assert said["test", "awb"] == said["test", "jm_kumo"]


def test_every_word_of_a_known_words_sentence_occurs_three_times_in_training(chosen):
    uses = Counter(word for text in trained(chosen) for word in wordnet.words(text))
    tested = {word for text in texts(chosen, "val", "test") for word in wordnet.words(text)}
    assert tested
    assert min(uses[word] for word in tested) >= 3


def test_an_unseen_words_sentence_has_a_word_that_training_has_in_no_form(chosen, folder):
    families = wordnet.Families(folder)
    known = {families.of(word) for text in trained(chosen) for word in wordnet.words(text)}
    for text in texts(chosen, "val", "test", tag="unseen-words"):
        assert {families.of(word) for word in wordnet.words(text)} - known, text


def test_a_word_held_out_in_sentences_is_in_no_training_utterance(chosen):
    patterns = sentences.generate()
    known = {word for s in patterns if s.split == "train" for word in wordnet.words(s.text)}
    strange = {word for s in patterns if s.tag == "unseen-words" for word in wordnet.words(s.text)} - known
    assert len(strange) > 40
    assert not strange & {word for text in texts(chosen, "train") for word in wordnet.words(text)}


def test_no_held_out_sentence_becomes_a_training_sentence_by_one_word(chosen):
    taken = {near for text in trained(chosen) for near in sentences.neighbours(text)}
    for utterance in chosen:
        if utterance.split != "train" and "example" in utterance.tags:
            assert taken.isdisjoint(sentences.neighbours(utterance.text)), utterance.text


def test_no_utterance_is_the_caption_of_a_test_photograph(chosen):
    assert not {concept(u.text) for u in chosen} & exclusions()


def test_the_choice_is_always_the_same(folder, chosen):
    assert utterances.choose(folder) == chosen


def test_too_small_a_wordnet_is_reported(tiny, monkeypatch):
    monkeypatch.setattr(utterances, "SHARES", {"joe": 5000})
    with pytest.raises(DataError, match=r"only \d+( \+ \d+)+ sentences"):
        utterances.choose(tiny)


def test_a_job_is_of_one_voice_and_split_and_names_both(tiny, monkeypatch):
    monkeypatch.setattr(voices, "voice", lambda name, folders: voices.Flite(name, tiny))
    jobs = utterances.jobs({"wordnet": tiny})
    items = [item for job in jobs for item in job.items]
    assert len({item.id for item in items}) == len({item.file for item in items}) == len(items) == 60 + 4 + 15
    assert all(len({(item.split, item.voice) for item in job.items}) == 1 for job in jobs)
    assert max(len(job.items) for job in jobs) == utterances.CHUNK
    assert {item.licence for item in items} == {f"{voices.Flite.licence}; text WordNet-3.0"}


@pytest.mark.weights
def test_training_has_thousands_of_words():
    assert len({word for text in texts(utterances.choose(real()), "train") for word in wordnet.words(text)}) > 5000
