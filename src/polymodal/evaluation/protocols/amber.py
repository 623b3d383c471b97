"""AMBER (arXiv 2311.07397), its questions: is this there, is it so? Decides nothing of its own: the positive class is No,
because what the authors detect is hallucination.

Not here: its descriptions, which are scored with a tagger and word vectors of other packages.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from polymodal.errors import EvaluationError
from polymodal.evaluation.files import Files, field, read_json, rows
from polymodal.evaluation.protocol import Numbers, Protocol, Question, Record, asked, mean
from polymodal.evaluation.protocols.yes_no import Reading, detection, scored, word


def exactly(text: str) -> str | None:
    """AMBER: the answer is `Yes` or `No`, to the letter."""
    return {"Yes": "yes", "No": "no"}.get(text)


AMBER = {
    "discriminative-attribute-state": "state",
    "discriminative-attribute-number": "number",
    "discriminative-attribute-action": "action",
    "discriminative-hallucination": "existence",
}


def read_amber(files: Files) -> Iterator[Question]:
    """`query_discriminative.json` and `annotations.json`, whose entry of an id stands at the place id - 1. `metrics.txt`,
    which the authors' script runs as Python, is not read."""
    queries = files.find("query_discriminative.json", "query/query_discriminative.json")
    truths = files.find("annotations.json", "data/annotations.json")
    known = read_json(truths)
    if not isinstance(known, list):
        raise EvaluationError(f"{truths}: {type(known).__name__}, not the list of annotations")
    for at, row in rows(queries):
        where = f"{queries.parent}/{at}"
        number = field(row, "id", int, where)
        if not 0 < number <= len(known):
            raise EvaluationError(f"{where}: field 'id' is {number}, and {truths.name} has {len(known)} entries")
        entry = known[number - 1]
        truth = field(entry, "truth", str, f"{truths}[{number - 1}]")
        if truth not in ("yes", "no"):
            raise EvaluationError(f"{truths}[{number - 1}]: field 'truth' is {truth!r}, not yes or no")
        name = field(row, "image", str, where)
        picture = files.picture(name, f"{where}: image", "image", "images")
        part = AMBER.get(field(entry, "type", str, f"{truths}[{number - 1}]"), "relation")
        yield Question(str(number), field(row, "query", str, where), (picture,), truth, {"part": part})


def amber_totals(records: Sequence[Record]) -> Numbers:
    """The positive class is No, and the denominator of F1 has 0.0001 more than it should (existence 0.001). The script
    rounds precision and recall to a tenth of a percent before it takes their F1."""

    def numbers(own: Sequence[Record], more: float) -> Numbers:
        found = detection(own, "no")
        precision, recall = (round(found[name] * 100, 1) / 100 for name in ("precision", "recall"))
        f1 = 2 * precision * recall / (precision + recall + more)
        return {"accuracy": found["accuracy"], "precision": found["precision"], "recall": found["recall"], "f1": f1}

    groups: dict[str, list[Record]] = {}
    for record in records:
        part = record.extra["part"]
        groups.setdefault(part, []).append(record)
        if part in ("state", "number", "action"):
            groups.setdefault("attribute", []).append(record)
    out = numbers(records, 0.0001)
    for part, own in sorted(groups.items()):
        more = 0.001 if part == "existence" else 0.0001
        out |= {f"{part} {name}": value for name, value in numbers(own, more).items()}
    return out


def accuracy_of_parts(records: Sequence[Record]) -> Numbers:
    """VLMEvalKit's AMBER: the mean accuracy of existence, attribute and relation, under the same name."""
    kinds: dict[str, list[float]] = {}
    for record in records:
        part = record.extra["part"]
        kinds.setdefault("attribute" if part in ("state", "number", "action") else part, []).append(record.score)
    each = {kind: mean(scores) for kind, scores in sorted(kinds.items())}
    return {"accuracy": mean(each.values()), **each}


def _amber(name: str, about: str, reading: Reading, total: Any, main: str) -> Protocol:
    return Protocol("amber", name, about, read_amber, asked, total, scored(reading), main, 8)


PROTOCOLS = [
    _amber("official", "F1 of No; only `Yes` and `No` to the letter count", exactly, amber_totals, "f1"),
    _amber(
        "vlmevalkit", "mean accuracy of the three kinds; one of the two words is there", word, accuracy_of_parts, "accuracy"
    ),
]
