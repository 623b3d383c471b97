"""Texts to say aloud, and what is nearly a request: a fake backbone writes, so that only the plan is tested."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from polymodal.corpora import replies, requests
from polymodal.corpora.emoji import HELD_OUT, STYLES
from polymodal.errors import DataError


class Writer:
    def __init__(self, backbone):
        pass

    def __call__(self, prompts, manner):
        return [f"{len(prompt)} letters." for prompt in prompts]

    def make_up(self, seed):
        return [f"Question {seed}?", f"Draw number {seed}.", "The same?"]


@pytest.fixture
def items(tmp_path, monkeypatch):
    monkeypatch.setattr(replies, "_Writer", Writer)
    return [item for job in requests.jobs(tmp_path, tmp_path / "drafts") for item in job.items]


def test_what_is_nearly_a_request_is_answered_in_words(items):
    words = [item for item in items if item.group in ("answers", "words")]
    assert len(words) > 1000
    assert all(item.questions[0].ask == item.caption and item.questions[0].answer == item.text for item in words)
    assert any(item.caption.startswith("How do I draw") for item in words)


def test_the_test_asks_in_wordings_and_about_things_that_no_training_has(items):
    words = [item for item in items if item.group in ("answers", "words")]
    asked = {split: [item.caption for item in words if item.split == split] for split in ("train", "test")}
    assert len(asked["test"]) == requests.TIMES * len(requests.HELD_OUT)
    openings = {caption.split("{")[0] for caption in requests.NEARLY}
    assert not any(caption.startswith(opening) for caption in asked["test"] for opening in openings if len(opening) > 5)
    assert not set(asked["train"]) & set(asked["test"])


def test_what_is_made_up_is_asked_once_and_never_wishes_for_a_picture(items):
    asked = [item.caption for item in items if item.group == "words"]
    assert {"Question 0?", "Question 16?"} <= set(asked)
    assert asked.count("The same?") == 1
    assert not any(caption.startswith("Draw number") for caption in asked)


def test_a_wish_says_what_is_to_be_drawn_or_said(items):
    wishes = {group: [item for item in items if item.group == group] for group in ("draw", "speak")}
    assert all(len(of) > 100 for of in wishes.values())
    assert all(item.split == "train" and item.text and not item.questions for of in wishes.values() for item in of)
    styles = {item.text.rpartition(", ")[2] for item in wishes["draw"]}
    assert styles == {f"{style} style" for vendor, style in STYLES.items() if vendor != HELD_OUT}


@pytest.mark.parametrize("measured", ["requests", "requests-dev", "requests-more", "requests-more-dev"])
def test_no_written_row_is_among_those_that_are_measured_by(measured):
    def said(text):
        return " ".join(re.findall(r"\w+", text.lower()))

    lines = (Path(__file__).parents[2] / "benchmarks" / f"{measured}.jsonl").read_text("utf-8").splitlines()
    written = requests.WRITTEN.read_text("utf-8").splitlines()
    assert not {said(json.loads(line)["ask"]) for line in lines} & {said(json.loads(line)["ask"]) for line in written}


def test_what_is_said_aloud_has_no_question(items):
    aloud = [item for item in items if item.group == "aloud"]
    assert {item.split for item in aloud} == {"train", "val", "test"}
    assert not any(item.questions for item in aloud)
    assert all(item.text for item in aloud)


def test_a_backbone_that_answers_nothing_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(replies, "_Writer", type("Mute", (Writer,), {"__call__": lambda s, p, m: [""] * len(p)}))
    with pytest.raises(DataError, match="answered no prompt"):
        requests.jobs(tmp_path, tmp_path / "drafts")
