"""The scorers of lmms-eval and of VLMEvalKit on answers that were saved here. Decides what a check is: their own function
scores each answer, from a document or a line of a table as they write these, and the questions are named on which it and a
protocol of ours differ. They are optional: what is not installed is an error that says so.
"""

from __future__ import annotations

import importlib
import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from polymodal.errors import EvaluationError, nearest
from polymodal.evaluation.predictions import Saved, rescore
from polymodal.evaluation.protocol import Protocol, Question, mean

Scorer = Callable[[Question, str], float]


@dataclass(frozen=True)
class Check:
    """`ours`, `theirs`: mean scores of the `n` answers that are no errors. `differ`: the ids of questions on which the two
    do, with both scores."""

    n: int
    ours: float
    theirs: float
    differ: Mapping[str, tuple[float, float]]


def check(saved: Saved, protocol: Protocol, harness: str) -> Check:
    """Raises `EvaluationError` for a harness that is not known or not installed, or that scores no such benchmark alone."""
    if harness not in HARNESSES:
        raise EvaluationError(f"harness '{harness}' is not known{nearest(harness, list(HARNESSES))}")
    made = HARNESSES[harness].get(protocol.benchmark)
    if made is None:
        known = ", ".join(HARNESSES[harness])
        raise EvaluationError(f"{harness}'s scores of {protocol.benchmark} are not read here; those of {known} are")
    theirs, pairs = made(), {}
    for record in rescore(saved, protocol):
        if not record.error:
            one = saved.predictions[record.id]
            pairs[record.id] = (record.score, theirs(one.question, one.answer.text))
    differ = {name: both for name, both in pairs.items() if abs(both[0] - both[1]) > 1e-9}
    return Check(len(pairs), mean(a for a, _ in pairs.values()), mean(b for _, b in pairs.values()), differ)


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = name.partition(".")[0]
        raise EvaluationError(f"{package} is not installed whole, its scores cannot be had ({error})") from error


def _task(name: str) -> Any:
    return _module(f"lmms_eval.tasks.{name}.utils")


def _lmms_pope() -> Scorer:
    utils = _task("pope")

    def score(question: Question, said: str) -> float:
        document = {"question_id": question.id, "answer": question.reference}
        return utils.pope_process_results(document, [said.strip()])["pope_accuracy"]["score"]

    return score


def _lmms_mme() -> Scorer:
    utils = _task("mme")

    def score(question: Question, said: str) -> float:
        document = {"question_id": question.group, "answer": question.reference, "category": question.extra["part"]}
        (row,) = utils.mme_process_results(document, [said.strip()]).values()
        return row["score"]

    return score


def _lmms_vqa(task: str, function: str, bare: bool = False) -> Callable[[], Scorer]:
    """`bare`: documents hold the answers themselves, and not objects of them."""

    def made() -> Scorer:
        process = getattr(_task(task), function)

        def score(question: Question, said: str) -> float:
            people = [one["answer"] if bare else dict(one) for one in question.reference]
            return process({"question_id": question.id, "answers": people}, [said.strip()])["exact_match"]

        return score

    return made


def _lmms_scienceqa() -> Scorer:
    utils = _task("scienceqa")

    def score(question: Question, said: str) -> float:
        choices = question.extra["options"]
        document = {"choices": choices, "answer": string.ascii_uppercase.index(question.reference)}
        return utils.sqa_process_results(document, [said.strip()])["exact_match"]

    return score


def _kit_vqa() -> Scorer:
    line = _module("vlmeval.dataset.utils.vqa_eval").process_line

    def score(question: Question, said: str) -> float:
        people = [one["answer"] for one in question.reference]
        return mean(line({"answer": repr(people), "prediction": said}, method="vqa_score")["match"])

    return score


def _kit_yes_no() -> Scorer:
    read = _module("vlmeval.dataset.utils.yorn").YOrN_Extraction
    return lambda question, said: float(read(said) == question.reference.capitalize())


HARNESSES: dict[str, dict[str, Callable[[], Scorer]]] = {
    "lmms-eval": {
        "pope": _lmms_pope,
        "mme-perception": _lmms_mme,
        "mme-cognition": _lmms_mme,
        "vqav2": _lmms_vqa("vqav2", "vqav2_process_results"),
        "okvqa": _lmms_vqa("ok_vqa", "ok_vqa_process_results", bare=True),
        "textvqa": _lmms_vqa("textvqa", "textvqa_process_results", bare=True),
        "vizwiz": _lmms_vqa("vizwiz_vqa", "vizwiz_vqa_process_results", bare=True),
        "scienceqa-img": _lmms_scienceqa,
    },
    "vlmevalkit": {
        "pope": _kit_yes_no,
        "mme-perception": _kit_yes_no,
        "mme-cognition": _kit_yes_no,
        "amber": _kit_yes_no,
        "vqav2": _kit_vqa,
        "okvqa": _kit_vqa,
    },
}


def table(saved: Saved, protocol: Protocol) -> list[dict[str, str]]:
    """The rows of the table that VLMEvalKit's data sets evaluate: `{MODEL}_{DATASET}.tsv`, with `index`, `question`,
    `answer`, `category` and `prediction`. Answers that are no text are left out."""
    rows: Sequence[tuple[str, Any]] = sorted(saved.predictions.items())
    out = []
    for name, one in rows:
        if one.answer.error is None and isinstance(one.question.reference, str):
            kept = {"index": name, "question": one.question.text, "answer": one.question.reference}
            out.append({**kept, "category": str(one.question.extra.get("part", "")), "prediction": one.answer.text})
    return out
