"""GQA (arXiv 1902.09506): one word or phrase, right if it is the authors'. Decides what is done to a model's answer before
it is compared: nothing in their script, which was written for classifiers.

Not here: consistency, validity, plausibility and distribution, which need answers to all questions and files of other
releases than those of the questions.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Iterator, Sequence

from polymodal.evaluation.files import Files, entries, field
from polymodal.evaluation.protocol import Answer, Numbers, Protocol, Question, Record, asked, mean
from polymodal.evaluation.protocols.vqa import SHORT

_PUNCTUATION = str.maketrans("", "", string.punctuation)


def read(files: Files) -> Iterator[Question]:
    """`testdev_balanced_questions.json`: questions by their id."""
    path = files.find(f"{files.split or 'testdev_balanced'}_questions.json")
    for number, row in entries(path):
        where = f"{path}: {number}"
        picture = files.picture(
            f"{field(row, 'imageId', str, where)}.jpg", f"{where}: imageId", "images", "allImages/images"
        )
        types = row.get("types") or {}
        extra = {"part": "open" if types.get("structural") == "query" else "binary"}
        yield Question(str(number), field(row, "question", str, where), (picture,), row.get("answer"), extra)


def official(text: str) -> str:
    return text


def llava(text: str) -> str:
    return text.rstrip(".").lower()


def lmms_eval(text: str) -> str:
    """Case and punctuation do not count; on both sides."""
    return text.lower().translate(_PUNCTUATION)


def scored(reading: Callable[[str], str], both: bool = False) -> Callable[[Question, Answer], Record]:
    def score(question: Question, answer: Answer) -> Record:
        read = reading(answer.text)
        wanted = reading(question.reference) if both else question.reference
        return Record(question.id, float(read == wanted), read, extra={"part": question.extra["part"]})

    return score


def totals(records: Sequence[Record]) -> Numbers:
    kinds = {kind: [r.score for r in records if r.extra["part"] == kind] for kind in ("binary", "open")}
    return {
        "accuracy": mean(record.score for record in records),
        **{k: mean(scores) for k, scores in kinds.items() if scores},
    }


def _protocol(name: str, about: str, score: Callable[[Question, Answer], Record]) -> Protocol:
    def prompt(question: Question):
        return asked(question, question.text + SHORT)

    return Protocol("gqa", name, about, read, prompt, totals, score, splits=("testdev_balanced", "val_balanced"))


PROTOCOLS = [
    _protocol("official", "exactly the authors' string", scored(official)),
    _protocol("llava", "lower case, without points at the end", scored(llava)),
    _protocol("lmms-eval", "case and punctuation do not count", scored(lmms_eval, both=True)),
]
