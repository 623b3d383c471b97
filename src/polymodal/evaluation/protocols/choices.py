"""ScienceQA-IMG, SEED-Bench (pictures), Q-Bench and IconQA: several options, one of them right. Decides how an answer
becomes a letter; by likelihood there is nothing to read, the likeliest option is the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from string import ascii_uppercase
from typing import Any

from polymodal.errors import EvaluationError
from polymodal.evaluation.files import Files, field, read_json, rows
from polymodal.evaluation.protocol import Answer, Prompt, Protocol, Question, Record, accuracy, asked
from polymodal.evaluation.protocols import letters
from polymodal.evaluation.protocols.letters import LETTER, listed
from polymodal.evaluation.protocols.vqa import SHORT

Reading = Callable[[str, Sequence[str]], str | None]


def scored(reading: Reading) -> Callable[[Question, Answer], Record]:
    """`reading`: the letter that an answer means. `extra["options"]` of the question are its options."""

    def score(question: Question, answer: Answer) -> Record:
        own = tuple(ascii_uppercase[: len(question.extra["options"])])
        read = reading(answer.text, own)
        extra = {"part": question.extra.get("part", "")}
        return Record(question.id, float(read == question.reference), read, unparsed=read is None, extra=extra)

    return score


def ranked(question: Question, answer: Answer) -> Record:
    """The likeliest option; of equals the first. Raises `EvaluationError` for an answer that was written."""
    options, given = question.extra["options"], answer.likelihoods
    extra = {"part": question.extra.get("part", "")}
    if answer.error is not None:
        return Record(question.id, 0.0, extra=extra)
    if len(given) != len(options):
        raise EvaluationError(f"question {question.id}: {len(given)} likelihoods of {len(options)} options; ask it anew")
    read = ascii_uppercase[max(range(len(given)), key=given.__getitem__)]
    return Record(question.id, float(read == question.reference), read, extra=extra)


def read_scienceqa(files: Files) -> Iterator[Question]:
    """`problems.json` and `pid_splits.json`; of the questions with a picture, `{split}/{id}/image.png`."""
    split = files.split or "test"
    problems, splits = files.find("problems.json"), files.find("pid_splits.json")
    every = read_json(problems)
    for number in field(read_json(splits), split, list, str(splits)):
        where = f"{problems}: problem {number}"
        row = field(every, str(number), dict, str(problems))
        if row.get("image") is None:
            continue
        options = field(row, "choices", list, where)
        right = field(row, "answer", int, where)
        if not 0 <= right < len(options):
            raise EvaluationError(f"{where}: field 'answer' is {right}, and there are {len(options)} choices")
        folder = f"{split}/{number}"
        picture = files.picture(field(row, "image", str, where), f"{where}: image", folder, f"images/{folder}")
        extra = {"options": options, "hint": row.get("hint") or "", "part": row.get("subject", "")}
        yield Question(str(number), field(row, "question", str, where), (picture,), ascii_uppercase[right], extra)


def _scienceqa(question: Question) -> Prompt:
    hint, options = question.extra["hint"], question.extra["options"]
    context = f"Context: {hint}\n" if hint else ""
    return asked(question, f"{context}{question.text}\n{listed(options)}{LETTER}")


def _ranked_prompt(question: Question) -> Prompt:
    hint = question.extra.get("hint", "")
    return asked(question, f"{hint}\n{question.text}" if hint else question.text, question.extra["options"])


def read_seed(files: Files) -> Iterator[Question]:
    """`SEED-Bench.json`, whose questions about pictures have `data_type: image`."""
    path = files.find("SEED-Bench.json", "SEED-Bench*.json")
    data = read_json(path)
    kinds = {number: name for name, number in field(data, "question_type", dict, str(path)).items()}
    for i, row in enumerate(field(data, "questions", list, str(path))):
        where = f"{path}: questions[{i}]"
        if field(row, "data_type", str, where) != "image":
            continue
        options = [str(field(row, f"choice_{letter}", (str, int, float), where)) for letter in "abcd"]
        right = field(row, "answer", str, where)
        if right not in ("A", "B", "C", "D"):
            raise EvaluationError(f"{where}: field 'answer' is {right!r}, not A, B, C or D")
        picture = files.picture(field(row, "data_id", str, where), f"{where}: data_id", "SEED-Bench-image", "images")
        kind = field(row, "question_type_id", int, where)
        number = str(field(row, "question_id", (int, str), where))
        extra = {"options": options, "part": str(kinds.get(kind, kind))}
        yield Question(number, field(row, "question", str, where), (picture,), right, extra)


def _lettered(question: Question) -> Prompt:
    return asked(question, f"{question.text}\n{listed(question.extra['options'])}{LETTER}")


def read_qbench(files: Files) -> Iterator[Question]:
    """`llvisionqa_dev.json`: a list of `img_path`, `question`, `candidates` and `correct_ans`."""
    path = files.find(f"llvisionqa_{files.split or 'dev'}.json")
    for i, (at, row) in enumerate(rows(path)):
        where = f"{path.parent}/{at}"
        options = field(row, "candidates", list, where)
        right = row.get("correct_ans")
        if right is not None and right not in options:
            raise EvaluationError(f"{where}: field 'correct_ans' {right!r} is none of the candidates")
        truth = None if right is None else ascii_uppercase[options.index(right)]
        picture = files.picture(field(row, "img_path", str, where), f"{where}: img_path", "images", "images_llvisionqa")
        extra = {"options": options, "part": str(row.get("concern", ""))}
        yield Question(str(i + 1), field(row, "question", str, where), (picture,), truth, extra)


def _qbench(question: Question) -> Prompt:
    options = "".join(f"{line}\n" for line in listed(question.extra["options"]).split("\n"))
    return asked(question, f"{question.text}\nChoose between one of the options as follows:\n{options}")


def _qbench_score(question: Question, answer: Answer) -> Record:
    """The letter in front or in brackets, else the option whose text the answer holds."""
    options = letters.lettered(question.extra["options"])
    said = answer.text.strip()
    read = said[0] if said[:1] in options and (len(said) == 1 or not said[1].isalnum() and said[1] != " ") else None
    read = read or letters.alone(said, options)
    extra = {"part": question.extra.get("part", "")}
    return Record(question.id, float(read == question.reference), read, unparsed=read is None, extra=extra)


ICON = ("choose_txt", "choose_img", "fill_in_blank")


def read_iconqa(files: Files) -> Iterator[Question]:
    """The folder of a split: `{split}/{kind}/{id}/data.json` beside `image.png` and, for choices among pictures, theirs."""
    split = files.split or "test"
    root = next(
        (
            files.folder / inner / split
            for inner in ("", "iconqa_data/iconqa", "iconqa")
            if (files.folder / inner / split).is_dir()
        ),
        None,
    )
    if root is None:
        raise EvaluationError(f"{files.data}: no folder {split} there; --data is the folder of IconQA's splits")
    for kind in ICON:
        entries = sorted((root / kind).glob("*/data.json"), key=lambda path: (len(path.parent.name), path.parent.name))
        for path in entries:
            row, where = read_json(path), str(path)
            here = Files(path.parent)
            pictures = [here.picture("image.png", f"{where}: image")]
            choices = [] if kind == "fill_in_blank" else [str(choice) for choice in field(row, "choices", list, where)]
            if kind == "choose_img":
                pictures += [here.picture(name, f"{where}: choices") for name in choices]
                choices = [f"picture {i + 2}" for i in range(len(choices))]
            answer = field(row, "answer", (int, str), where)
            if kind != "fill_in_blank":
                if not isinstance(answer, int) or not 0 <= answer < len(choices):
                    raise EvaluationError(f"{where}: field 'answer' is {answer!r}, and there are {len(choices)} choices")
                answer = ascii_uppercase[answer]
            extra = {"options": choices, "part": kind}
            yield Question(
                f"{kind}/{path.parent.name}", field(row, "question", str, where), tuple(pictures), str(answer), extra
            )


def _icon(question: Question) -> Prompt:
    return _lettered(question) if question.extra["options"] else asked(question, question.text + SHORT)


def _icon_score(question: Question, answer: Answer) -> Record:
    """Choices by their letter; a blank is filled by exactly what the authors say, but for case and a point at the end."""
    options = letters.lettered(question.extra["options"])
    extra = {"part": question.extra["part"]}
    if options:
        read = letters.alone(answer.text, options)
        return Record(question.id, float(read == question.reference), read, unparsed=read is None, extra=extra)
    said = answer.text.strip().rstrip(".").lower()
    return Record(question.id, float(said == question.reference.strip().lower()), said, extra=extra)


def _protocol(benchmark: str, name: str, about: str, read: Any, prompt: Any, score: Any, splits: Any = ()) -> Protocol:
    return Protocol(benchmark, name, about, read, prompt, accuracy, score, splits=splits)


_SCIENCE = ("test", "val", "train")
PROTOCOLS = [
    _protocol(
        "scienceqa-img",
        "llava",
        "accuracy; a letter alone, in front, or behind 'The answer is'",
        read_scienceqa,
        _scienceqa,
        scored(letters.llava),
        _SCIENCE,
    ),
    _protocol(
        "scienceqa-img",
        "lmms-eval",
        "accuracy; a letter alone or in front",
        read_scienceqa,
        _scienceqa,
        scored(letters.lmms_eval),
        _SCIENCE,
    ),
    _protocol(
        "scienceqa-img", "likelihood", "accuracy of the likeliest option", read_scienceqa, _ranked_prompt, ranked, _SCIENCE
    ),
    _protocol(
        "seed-bench-img",
        "likelihood",
        "accuracy of the likeliest option, as in the paper",
        read_seed,
        _ranked_prompt,
        ranked,
    ),
    _protocol(
        "seed-bench-img",
        "letter",
        "accuracy of the first character, as most report",
        read_seed,
        _lettered,
        scored(letters.first),
    ),
    _protocol(
        "q-bench",
        "letter",
        "accuracy; a letter, else the text of an option",
        read_qbench,
        _qbench,
        _qbench_score,
        ("dev", "test"),
    ),
    _protocol(
        "iconqa",
        "letter",
        "accuracy over choices of text, choices of pictures and blanks",
        read_iconqa,
        _icon,
        _icon_score,
        ("test", "val", "train"),
    ),
]
