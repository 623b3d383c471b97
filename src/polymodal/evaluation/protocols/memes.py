"""Hateful Memes (arXiv 2005.04790): how well a model's probability of yes orders the memes. Decides that it is the
likelihood of Yes against No, because written answers are two values, of which the area under the curve says next to
nothing."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from polymodal.errors import EvaluationError
from polymodal.evaluation.files import Files, field, rows
from polymodal.evaluation.protocol import Answer, Numbers, Prompt, Protocol, Question, Record, asked, mean


def read(files: Files) -> Iterator[Question]:
    """`dev_seen.jsonl`: `id`, `img`, `label`, `text`."""
    path = files.find(f"{files.split or 'dev_seen'}.jsonl")
    for at, row in rows(path):
        where = f"{path.parent}/{at}"
        label = row.get("label")
        if label not in (0, 1, None):
            raise EvaluationError(f"{where}: field 'label' is {label!r}, not 0 or 1")
        picture = files.picture(field(row, "img", str, where), f"{where}: img")
        truth = None if label is None else ("no", "yes")[label]
        yield Question(str(field(row, "id", (int, str), where)), field(row, "text", str, where), (picture,), truth)


def prompt(question: Question) -> Prompt:
    return asked(question, f'Is this meme hateful? It says: "{question.text}". Answer yes or no.', ("Yes", "No"))


def score(question: Question, answer: Answer) -> Record:
    """1 where the likelier answer is right; `yes` is its probability among the two. Raises `EvaluationError` for an answer
    that was written."""
    extra = {"label": question.reference, "yes": 0.5}
    if answer.error is not None:
        return Record(question.id, 0.0, extra=extra)
    if len(answer.likelihoods) != 2:
        raise EvaluationError(
            f"question {question.id}: it is scored by the likelihoods of Yes and No, and this was written"
        )
    yes, no = answer.likelihoods
    share = 1 / (1 + math.exp(min(700.0, no - yes)))
    read = "yes" if yes > no else "no"
    return Record(question.id, float(read == question.reference), read, extra={**extra, "yes": share})


def auroc(positive: Sequence[float], negative: Sequence[float]) -> float:
    """The share of pairs in which the positive one is higher, ties counting half (Mann and Whitney 1947). 0.5 without
    pairs."""
    if not positive or not negative:
        return 0.5
    ranks: dict[float, list[int]] = {}
    for i, value in enumerate(sorted([*positive, *negative]), 1):
        ranks.setdefault(value, []).append(i)
    total = sum(mean(ranks[value]) for value in positive)
    n = len(positive)
    return (total - n * (n + 1) / 2) / (n * len(negative))


def totals(records: Sequence[Record]) -> Numbers:
    by = {label: [r.extra["yes"] for r in records if r.extra["label"] == label] for label in ("yes", "no")}
    return {"auroc": auroc(by["yes"], by["no"]), "accuracy": mean(record.score for record in records)}


PROTOCOLS = [
    Protocol(
        *(
            "hateful-memes",
            "likelihood",
            "area under the ROC curve of the probability of Yes against No",
            read,
            prompt,
            totals,
            score,
        ),
        main="auroc",
        splits=("dev_seen", "dev_unseen", "test_seen", "test_unseen"),
    )
]
