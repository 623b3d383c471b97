from __future__ import annotations

from collections import Counter

import pytest

from polymodal.corpora import exclusions, sentences
from polymodal.corpora.concepts import concept
from polymodal.corpora.sentence_words import PLURALS, SLOTS, UNSEEN
from polymodal.errors import DataError


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


def distance(one, two):
    """Levenshtein distance of two lists of words."""
    row = list(range(len(two) + 1))
    for i, left in enumerate(one, 1):
        row, last = [i], row
        for j, right in enumerate(two, 1):
            row.append(min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (left != right)))
    return row[-1]
