"""Wishes to hear a sentence: each says to the letter what is to be said, and nothing that is held out is in training."""

from __future__ import annotations

import pytest

from polymodal.corpora import quotations, utterances
from polymodal.corpora.utterances import Utterance
from polymodal.errors import DataError


def test_a_sentence_takes_the_capitals_and_the_stop_of_the_one_it_replaces():
    assert quotations.written_as("Get up!", "the dog barked") == "The dog barked!"
    assert quotations.written_as("good night", "The dog barked.") == "The dog barked"
    assert quotations.written_as("Where is it?", "the dog barked") == "The dog barked."


def test_every_wording_holds_its_sentence_once():
    told = quotations.wordings()
    assert len(told) > 150
    assert all(ask.count(say) == 1 and " " in say and ask != say for ask, say in told)


@pytest.fixture
def chosen(monkeypatch):
    said = [Utterance(f"sentence number {n}", "train", utterances.KNOWN_EXAMPLE, "joe") for n in range(5)]
    said += [Utterance(f"sentence held {n}", "val", utterances.KNOWN_EXAMPLE, "joe") for n in range(2)]
    said += [Utterance("a tested sentence", "test", utterances.KNOWN_EXAMPLE, "joe")]
    monkeypatch.setattr(utterances, "choose", lambda folder: said)
    monkeypatch.setattr(quotations, "TRAIN", 5)
    monkeypatch.setattr(quotations, "VAL", 2)
    return said


def test_a_wish_holds_what_is_to_be_said_to_the_letter(chosen, tmp_path):
    items = [item for job in quotations.jobs({"wordnet": tmp_path}) for item in job.items]
    assert [item.split for item in items] == ["train"] * 5 + ["val"] * 2
    assert all(item.text in item.caption and item.text != item.caption for item in items)
    assert not any("tested" in item.caption for item in items)
    assert items == [item for job in quotations.jobs({"wordnet": tmp_path}) for item in job.items]


def test_too_few_sentences_are_refused(chosen, tmp_path):
    chosen.pop(0)
    with pytest.raises(DataError, match="only 4 sentences of 'train'"):
        quotations.jobs({"wordnet": tmp_path})
