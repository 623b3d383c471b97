"""What an answer of the benchmark scores, and how scores become numbers. Decides that the number that is quoted is a mean
over tasks, each of which counts alike, and that controls never enter it.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from polymodal.evaluation.metrics import contains, wilson, word_errors, words
from polymodal.evaluation.protocol import Answer, Numbers, Question, Record, mean

KEPT = ("task", "modality", "skill", "form", "part", "chance", "majority", "ceiling", "control")


def score(question: Question, answer: Answer) -> Record:
    extra = {name: question.extra[name] for name in KEPT if question.extra.get(name) not in (None, "")}
    form = question.extra["form"]
    if form == "made":
        return made(question, answer, extra)
    text = re.split(r"\banswer:", answer.text, flags=re.IGNORECASE)[-1].strip()
    if form == "heard":
        errors, total = word_errors(question.reference, text)
        return Record(question.id, max(0.0, 1 - errors / max(1, total)), text, extra=extra)
    options = question.extra["options"]
    if answer.likelihoods:
        read = options[max(range(len(options)), key=answer.likelihoods.__getitem__)]
    else:
        read = pick(text, options)
    return Record(question.id, float(read == question.reference), read, unparsed=read is None, extra=extra)


def pick(text: str, options: Sequence[str]) -> str | None:
    """The one option that stands in an answer; else the one whose first word the answer begins with, where that is yes or
    no; else the one that has the answer's last words in it. None where there is none, or more than one."""
    found = [option for option in options if contains(option.rstrip("."), text)]
    found = [one for one in found if not any(one != other and contains(one.rstrip("."), other) for other in found)]
    said = words(text)
    if not found and said and said[0] in ("yes", "no"):
        found = [option for option in options if words(option)[:1] == said[:1]]
    if not found and said:
        found = [option for option in options if words(option)[-len(said) :] == said]
    return found[0] if len(found) == 1 else None


def made(question: Question, answer: Answer, extra: dict) -> Record:
    """Whether the right thing was made and nothing else, and shows or says what was asked. Of speech, 1 - the word error
    rate of what Whisper-base hears; of a drawing, whether it is nearest to real ones of its concept; of a clip, whether it
    moves as it should; of a sound, whether its caption names the instrument."""
    wanted, found = question.extra["wanted"], answer.made
    kinds = [one["type"] for one in found]
    read = ", ".join(f"{one['type']}: {one.get('seen') or one.get('heard') or one.get('caption') or ''}" for one in found)
    if not wanted["makes"]:
        return Record(question.id, float(not found), read or "words", extra=extra)
    if kinds != [wanted["makes"]] or found[0].get("failed"):
        return Record(question.id, 0.0, read or "words", unparsed=not found, extra=extra)
    one = found[0]
    if wanted["by"] == "words":
        errors, total = word_errors(wanted["says"], one.get("heard", ""))
        value = max(0.0, 1 - errors / max(1, total))
    elif wanted["by"] == "caption":
        value = float(set(words(wanted["says"])) <= set(words(one.get("caption") or "")))
    else:
        value = float(one.get("seen") == (wanted["among"][0] if "among" in wanted else wanted["says"]))
    return Record(question.id, value, read, extra=extra)


@dataclass(frozen=True)
class Row:
    """A task, or several. `score`: with its 95 % interval. `blind`, `shuffled`: None where nothing is shown."""

    name: str
    modality: str
    skill: str
    n: int
    score: float
    low: float
    high: float
    chance: float
    majority: float
    blind: float | None
    shuffled: float | None
    ceiling: float
    errors: int
    unparsed: int
    parts: dict[str, float]


def rows(records: Sequence[Record]) -> list[Row]:
    """One row for each task, in the order of the records' first."""
    tasks: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        tasks[record.extra["task"]].append(record)
    return [_row(name, found) for name, found in tasks.items()]


def _row(name: str, records: Sequence[Record]) -> Row:
    own = [record for record in records if "control" not in record.extra]
    control = {
        kind: [record.score for record in records if record.extra.get("control") == kind] for kind in ("blind", "shuffled")
    }
    parts: dict[str, list[float]] = defaultdict(list)
    for record in own:
        if record.extra.get("part"):
            parts[record.extra["part"]].append(record.score)
    first = (own or records)[0].extra
    value = mean(record.score for record in own)
    low, high = wilson(round(value * len(own)), len(own))  # of word error rates an approximation
    return Row(
        name,
        first["modality"],
        first["skill"],
        len(own),
        value,
        low,
        high,
        mean(record.extra.get("chance", 0.0) for record in own),
        first.get("majority", 0.0),
        mean(control["blind"]) if control["blind"] else None,
        mean(control["shuffled"]) if control["shuffled"] else None,
        first["ceiling"],
        sum(record.error for record in records),
        sum(record.unparsed for record in own),
        {part: mean(scores) for part, scores in sorted(parts.items())},
    )


def totals(records: Sequence[Record]) -> Numbers:
    """`score`: the mean over tasks. `above`: the mean over tasks of how far the score is from what is had without looking
    (the best of chance, one constant answer, blind and shuffled) to the ceiling; it may be below 0. Then the means of
    modalities and of skills, of the controls, and each task."""
    found = rows(records)
    out = {"score": mean(row.score for row in found), "above": mean(map(_above, found))}
    out |= {"chance": mean(row.chance for row in found)}
    for control in ("blind", "shuffled"):
        values = [value for row in found if (value := getattr(row, control)) is not None]
        if values:
            out[control] = mean(values)
    for kind in ("modality", "skill"):
        for name in dict.fromkeys(getattr(row, kind) for row in found):
            out[f"{kind} {name}"] = mean(row.score for row in found if getattr(row, kind) == name)
    return out | {row.name: row.score for row in found}


def floor(row: Row) -> float:
    return max(row.chance, row.majority, row.blind or 0.0, row.shuffled or 0.0)


def _above(row: Row) -> float:
    room = row.ceiling - floor(row)
    return (row.score - floor(row)) / room if room > 1e-9 else 0.0
