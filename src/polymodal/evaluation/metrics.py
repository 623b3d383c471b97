"""Numbers with their intervals. Each function is the definition, and nothing else."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from math import sqrt


def wilson(successes: int, trials: int, z: float = 1.96) -> tuple[float, float]:
    """The Wilson score interval of a proportion (Wilson 1927); `z` = 1.96 is 95 %."""
    if trials == 0:
        return 0.0, 1.0
    p, n = successes / trials, trials
    centre, spread = p + z * z / (2 * n), z * sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return max(0.0, (centre - spread) / (1 + z * z / n)), min(1.0, (centre + spread) / (1 + z * z / n))


def accuracy(truth: Sequence[str], guesses: Sequence[str]) -> float:
    return sum(t == g for t, g in zip(truth, guesses, strict=True)) / len(truth)


def balanced_accuracy(truth: Sequence[str], guesses: Sequence[str]) -> float:
    """Mean over classes of the share recognised: a majority guesser gets 1 / classes."""
    right: dict[str, list[bool]] = defaultdict(list)
    for t, g in zip(truth, guesses, strict=True):
        right[t].append(t == g)
    return sum(sum(hits) / len(hits) for hits in right.values()) / len(right)


def words(text: str) -> list[str]:
    """Lower-case words without punctuation; apostrophes inside words stay."""
    return re.findall(r"[a-z0-9]+(?:'[a-z]+)?", text.lower())


def word_errors(truth: str, heard: str) -> tuple[int, int]:
    """(substitutions + insertions + deletions, words in the truth): the word error rate is their ratio of sums."""
    a, b = words(truth), words(heard)
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        previous, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, previous + (x != y))
    return row[-1], len(a)
