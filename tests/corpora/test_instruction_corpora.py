"""Charts, printed words and the backbone's own replies: answers are true, and what is held out stays out."""

from __future__ import annotations

import json
import random
import re

import pytest

from polymodal.corpora import charts, replies, reply_prompts, text_images
from polymodal.corpora.grammar import NUMBERS
from polymodal.corpora.scene_things import UNSEEN_WORDS


def items(jobs):
    return [item for job in jobs for item in job.items]


def test_printed_words_are_what_is_asked_and_new_ones_are_only_tested():
    for item in items(text_images.jobs({})):
        words = item.text.split()
        (count,) = [qa for qa in item.questions if qa.type == "count"]
        assert f" {NUMBERS[len(words)]} word" in count.answer
        read = [qa for qa in item.questions if qa.type.startswith("text")]
        assert [qa.answer for qa in read] == [f"It says {word}." for word in words]
        unseen = bool(set(words) & set(UNSEEN_WORDS))
        assert {qa.type for qa in read} == {"text-unseen" if unseen else "text"}
        assert not unseen or item.split == "test"


def test_a_chart_is_asked_what_its_values_say():
    kinds = set()
    for n in range(200):
        rng = random.Random(n)
        chart = charts.plan(charts.KINDS[n % 3], rng)
        kinds.add(chart.kind)
        assert len(set(chart.values)) == len(chart.values)
        for qa in charts.ask(chart, rng):
            if qa.type.startswith("extreme"):
                names = chart.colors if qa.type == "extreme-color" else chart.labels
                best = max if re.search("highest|tallest|biggest", qa.ask) else min
                assert qa.answer == f"It is {names[chart.values.index(best(chart.values))]}."
            elif qa.type == "compare":
                one, other = re.fullmatch(r"Is the (\w+) \w+ \w+ than the (\w+) \w+\?", qa.ask).groups()
                bigger = chart.values[chart.colors.index(one)] > chart.values[chart.colors.index(other)]
                assert qa.answer.startswith("Yes" if bigger else "No")
            elif qa.type == "trend":
                assert qa.answer.endswith("up." if chart.values[0] < chart.values[-1] else "down.")
            elif qa.type == "count":
                assert f" {NUMBERS[len(chart.values)]} " in qa.answer
    assert kinds == set(charts.KINDS)


def test_pictures_are_the_same_bytes_every_time():
    for module in (charts, text_images):
        one, two = (b"".join(b for job in module.jobs({})[:6] for b in job.make()) for _ in range(2))
        assert one == two


def test_prompts_of_the_test_are_not_trained_on():
    train, writing, test = reply_prompts.train(), reply_prompts.writing(), reply_prompts.test()
    assert len(train) >= 350
    assert len(writing) >= 190
    assert len(test) >= 55
    assert not {*train, *writing} & {*test, *reply_prompts.PASSAGES}


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("It is big. It is", "It is big."),
        ('She said "no." Then', 'She said "no."'),
        ("Steps:\n\n1. Boil it.\n2.", "Steps:\n\n1. Boil it."),
        ("It is 3.5 meters", ""),
        ("Really?! Yes", "Really?!"),
    ],
)
def test_a_reply_ends_with_a_whole_sentence(text, kept):
    assert replies.whole(text) == kept


class Writer:
    """Answers with the prompt's length, and counts how often it was asked."""

    calls = 0

    def __init__(self, backbone):
        pass

    def __call__(self, prompts, manner):
        Writer.calls += 1
        return ["no end" if prompt.startswith("Hello") else f"{len(prompt)} letters." for prompt in prompts]


def test_writing_goes_on_where_it_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(replies, "_Writer", Writer)
    monkeypatch.setattr(reply_prompts, "train", lambda: ["Hello!", *(f"prompt {n}?" for n in range(40))])
    first = items(replies.jobs(tmp_path, tmp_path / "drafts"))
    calls = Writer.calls
    (tmp_path / "drafts" / "0016.json").unlink()
    seen = []
    again = items(replies.jobs(tmp_path, tmp_path / "drafts", lambda done, total: seen.append((done, total))))
    assert Writer.calls == calls + 1
    assert again == first
    assert seen[-1][0] == seen[-1][1] == len(first) + 1  # the reply to "Hello!" never ended
    assert json.loads((tmp_path / "drafts" / "0000.json").read_text())[0] == "no end"


def test_passages_are_set_apart_for_perplexity(tmp_path, monkeypatch):
    monkeypatch.setattr(replies, "_Writer", Writer)
    made = items(replies.jobs(tmp_path, tmp_path))
    passages = [item for item in made if item.concept == replies.PERPLEXITY]
    assert [item.caption for item in passages] == list(reply_prompts.PASSAGES)
    assert {item.split for item in passages} == {"test"}
    assert {item.split for item in made if item.group == "passage" and item not in passages} == {"train"}
    assert {item.modality for item in made} == {"text"}
    assert all(item.questions[0].ask == item.caption for item in made)
