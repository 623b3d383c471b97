"""Metrics against cases worked by hand."""

from __future__ import annotations

import pytest

from polymodal.evaluation.metrics import accuracy, balanced_accuracy, wilson, word_errors, words


def test_wilson_interval_matches_the_published_example():
    low, high = wilson(81, 263)  # Newcombe, Statistics in Medicine 17 (1998), table I, method 3
    assert (round(low, 4), round(high, 4)) == (0.2553, 0.3662)


def test_wilson_stays_inside_zero_and_one():
    assert wilson(0, 20)[0] == 0.0
    assert wilson(20, 20)[1] == pytest.approx(1.0)
    assert wilson(0, 0) == (0.0, 1.0)


def test_a_majority_guesser_has_balanced_accuracy_of_one_class():
    truth = ["a"] * 8 + ["b"] * 1 + ["c"] * 1
    assert accuracy(truth, ["a"] * 10) == 0.8
    assert balanced_accuracy(truth, ["a"] * 10) == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("truth", "heard", "errors"),
    [
        ("a red cat", "a red cat", 0),
        ("A red cat.", "a RED cat", 0),
        ("a red cat", "a cat", 1),
        ("a red cat", "a big red cat", 1),
        ("a red cat", "the red dog", 2),
        ("a red cat", "", 3),
        ("", "noise", 1),
    ],
)
def test_word_errors_are_edits(truth, heard, errors):
    assert word_errors(truth, heard) == (errors, len(words(truth)))
