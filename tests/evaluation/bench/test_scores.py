"""Scores of polymodal-bench, by hand."""

from __future__ import annotations

from typing import Any

import pytest

from polymodal.evaluation.bench.scores import floor, pick, rows, score, totals
from polymodal.evaluation.protocol import Answer, Question, Record

OPTIONS = ("Yes, there is an axe.", "No, there is not an axe.")


def question(form: str = "choice", reference: str = OPTIONS[0], **extra: Any) -> Question:
    about = {"task": "t", "modality": "image", "skill": "perception", "form": form, "ceiling": 1.0, "chance": 0.5}
    return Question("1", "?", (), reference, {**about, "options": list(OPTIONS), **extra})


@pytest.mark.parametrize(
    ("text", "options", "read"),
    [
        ("Yes, there is an axe", OPTIONS, OPTIONS[0]),
        ("no.", OPTIONS, OPTIONS[1]),
        ("I think so", OPTIONS, None),
        ("It is red.", ("It is red.", "It is dark red."), "It is red."),
        ("It is dark red.", ("It is red.", "It is dark red."), "It is dark red."),
        ("red", ("It is red.", "It is blue."), "It is red."),
        ("It is red. It is blue.", ("It is red.", "It is blue."), None),
        ("", OPTIONS, None),
    ],
)
def test_a_written_answer_is_read_as_one_option_or_none(text, options, read):
    assert pick(text, options) == read


def test_the_likeliest_option_counts_and_behind_a_thought_only_the_answer():
    assert score(question(), Answer(likelihoods=(-1.0, -2.0))).score == 1
    assert score(question(), Answer(likelihoods=(-2.0, -1.0))).score == 0
    thought = score(question(), Answer("No, there is not an axe, at first. Answer: Yes"))
    assert (thought.score, thought.unparsed) == (1, False)
    assert score(question(), Answer("maybe")).unparsed


def test_words_heard_score_what_is_not_wrong_of_them_and_never_less_than_nothing():
    heard = question("heard", "a red cat sleeps")
    assert score(heard, Answer("A red cat sleeps.")).score == 1
    assert score(heard, Answer("a red dog sleeps")).score == 0.75
    assert score(heard, Answer("so it goes on and on and on and on")).score == 0


@pytest.mark.parametrize(
    ("wanted", "made", "value"),
    [
        ({"makes": "image", "says": "x", "by": "nearest", "among": ["cat", "dog"]}, [{"type": "image", "seen": "cat"}], 1),
        ({"makes": "image", "says": "x", "by": "nearest", "among": ["cat", "dog"]}, [{"type": "image", "seen": "dog"}], 0),
        ({"makes": "audio", "says": "a red cat", "by": "words"}, [{"type": "audio", "heard": "A red hat."}], 2 / 3),
        ({"makes": "audio", "says": "pan flute", "by": "caption"}, [{"type": "audio", "caption": "pan flute: fast"}], 1),
        ({"makes": "video", "says": "grows", "by": "motion"}, [{"type": "video", "seen": "grows"}], 1),
        ({"makes": "video", "says": "grows", "by": "motion"}, [{"type": "image", "seen": "grows"}], 0),
        ({"makes": "video", "says": "grows", "by": "motion"}, [{"type": "video", "failed": "no weights"}], 0),
        ({"makes": "video", "says": "grows", "by": "motion"}, [{"type": "video", "seen": "grows"}] * 2, 0),
        ({"makes": "", "says": ""}, [], 1),
        ({"makes": "", "says": ""}, [{"type": "image"}], 0),
    ],
)
def test_what_is_made_is_right_alone_and_of_its_kind(wanted, made, value):
    asked = question("made", "", wanted=wanted)
    assert score(asked, Answer("here", made=tuple(made))).score == pytest.approx(value)


def records(task: str, own: list[float], blind: list[float], ceiling: float = 1.0) -> list[Record]:
    about = {"task": task, "modality": "image", "skill": "perception", "chance": 0.25, "majority": 0.3, "ceiling": ceiling}
    found = [Record(f"{task}{i}", value, extra=about) for i, value in enumerate(own)]
    return found + [Record(f"{task}{i}#b", v, extra={**about, "control": "blind"}) for i, v in enumerate(blind)]


def test_tasks_count_alike_and_controls_never_enter_the_number():
    told = totals([*records("a", [1, 1, 1, 1], [0, 1]), *records("b", [0], [1])])
    assert told["score"] == 0.5
    assert told["blind"] == 0.75
    assert (told["a"], told["b"], told["modality image"]) == (1, 0, 0.5)


def test_what_is_above_is_counted_from_the_best_of_those_that_do_not_look_to_the_ceiling():
    (row,) = rows(records("a", [1, 1, 0, 1], [1, 0], 0.9))
    assert floor(row) == 0.5
    assert totals(records("a", [1, 1, 0, 1], [1, 0], 0.9))["above"] == pytest.approx(0.25 / 0.4)
    assert totals(records("a", [0, 0], [0]))["above"] < 0
