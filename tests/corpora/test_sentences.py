from __future__ import annotations

import io
from collections import Counter

import pytest
import soundfile

from polymodal import assets
from polymodal.corpora import exclusions, sentences, speech
from polymodal.corpora.concepts import concept
from polymodal.corpora.sentence_words import PLURALS, SLOTS, UNSEEN
from polymodal.errors import AssetError, DataError, MediaError


@pytest.fixture(scope="module")
def corpus():
    return sentences.generate()


def texts(corpus, split, tag="known-words"):
    return [sentence.text for sentence in corpus if (sentence.split, sentence.tag) == (split, tag)]


def test_there_are_as_many_as_promised_and_no_two_alike(corpus):
    assert Counter((sentence.split, sentence.tag) for sentence in corpus) == {
        ("train", "known-words"): 2400,
        ("val", "known-words"): 100,
        ("test", "known-words"): 200,
        ("test", "unseen-words"): 100,
    }
    assert len({sentence.text for sentence in corpus}) == len(corpus)


def test_the_same_seed_gives_the_same_sentences_and_another_gives_others(corpus):
    assert sentences.generate() == corpus
    assert sentences.generate(seed=18) != corpus


def test_every_word_of_a_known_words_sentence_occurs_three_times_in_training(corpus):
    uses = Counter(word for text in texts(corpus, "train") for word in sentences.words(text))
    tested = {word for split in ("val", "test") for text in texts(corpus, split) for word in sentences.words(text)}
    assert len(tested) > 300
    assert min(uses[word] for word in tested) >= 3


def test_a_known_words_sentence_differs_from_training_by_two_words(corpus):
    train = [sentences.words(text) for text in texts(corpus, "train")]
    for text in texts(corpus, "val")[:10] + texts(corpus, "test")[:20]:
        parts = sentences.words(text)
        near = [other for other in train if abs(len(other) - len(parts)) <= 1]
        assert min(distance(parts, other) for other in near) >= 2


def test_an_unseen_words_sentence_has_a_word_that_training_lacks(corpus):
    known = {word for text in texts(corpus, "train") for word in sentences.words(text)}
    strange = {word for words in UNSEEN.values() for entry in words for word in entry.split()}
    assert not (strange - {"in", "at", "on", "by", "near", "the"}) & known
    assert all(set(sentences.words(text)) - known for text in texts(corpus, "test", "unseen-words"))


def test_sentences_have_five_to_nine_words_and_an_end(corpus):
    assert {len(sentences.words(sentence.text)) for sentence in corpus} == set(range(5, 10))
    assert all(sentence.text[-1] in ".?" and sentence.text[0].isupper() for sentence in corpus)
    assert not [s.text for s in corpus if "{" in s.text or " a a" in s.text.lower() or " a e" in s.text.lower()]


def test_every_word_that_adding_s_would_spoil_has_its_plural():
    nouns = {word for slot in ("animal", "person", "thing", "food") for word in SLOTS[slot] + UNSEEN[slot]}
    spoilt = {noun for noun in nouns if noun.endswith(("s", "x", "ch", "sh", "ife", "ly", "ry", "by"))}
    assert spoilt <= PLURALS.keys()


def test_no_sentence_is_the_caption_of_a_test_photograph(corpus):
    assert not {concept(sentence.text) for sentence in corpus} & exclusions()


def test_too_few_patterns_for_the_wanted_number_are_reported(monkeypatch):
    monkeypatch.setattr(sentences, "PATTERNS", ["The {animal} is very {mood}."])
    with pytest.raises(DataError, match=r"only \d+ \+ \d+ \+ \d+ different sentences"):
        sentences.generate(train=300)


def test_phonemes_become_ids_with_pads_between():
    table = {"^": [1], "$": [2], "_": [0], ".": [9], "a": [5], "b": [6, 7]}
    assert speech.ids("ab", ".", table) == [1, 0, 5, 0, 6, 7, 0, 9, 0, 2]
    with pytest.raises(MediaError, match="does not know the phoneme 'x'"):
        speech.ids("ax", ".", table)


@pytest.mark.parametrize(
    ("script", "reason"), [("echo one", "answered 1 lines for 2"), ("echo no voice >&2; exit 3", "failed: no voice")]
)
def test_a_speller_that_fails_is_refused(tmp_path, script, reason):
    program = tmp_path / "bin" / "espeak-ng"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    with pytest.raises(DataError, match=reason):
        speech.phonemes(["One.", "Two."], tmp_path, "en-us")


def test_a_folder_without_a_voice_is_refused(tmp_path):
    with pytest.raises(AssetError, match="expected one voice"):
        speech.Voice.find(tmp_path, tmp_path)


@pytest.mark.weights
def test_a_chunk_of_speech_is_the_same_each_time_and_16_khz():
    voice = speech.Voice.find(assets.path("piper-joe"), assets.path("espeak-ng"))
    said = ["The red bird sat on the hill.", "Where is my blue hat?"]
    first, second = (list(speech.record(voice, said, seed=3)) for _ in range(2))
    assert first == second
    samples, rate = soundfile.read(io.BytesIO(first[0]))
    assert rate == 16_000
    assert samples.ndim == 1
    assert 1.0 < len(samples) / rate < 5.0
    assert 0.1 < abs(samples).max() <= 1.0


def distance(one, two):
    """Levenshtein distance of two lists of words."""
    row = list(range(len(two) + 1))
    for i, left in enumerate(one, 1):
        row, last = [i], row
        for j, right in enumerate(two, 1):
            row.append(min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (left != right)))
    return row[-1]
