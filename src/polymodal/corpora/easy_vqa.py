"""The corpus `easy-vqa`: one coloured shape on a plain page and questions, as shipped. Decides what is validated on.

A benchmark for continuous integration: tiny, exact, and three quarters of its questions are answered by yes or no. The
test is the package's own; every twentieth picture of its training part is for validation. Questions and answers are as
their author wrote them (V. Zhou, 2019).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from polymodal.corpora.building import Job
from polymodal.corpora.concepts import concept
from polymodal.corpora.grammar import with_article
from polymodal.corpora.items import QA, Item
from polymodal.errors import DataError

VERSION = 1
ASSETS = ("easy-vqa",)
SHAPES = ("circle", "rectangle", "triangle")
COLORS = ("green", "red", "gray", "teal", "black", "yellow", "brown", "blue")
VAL = 20  # one training picture in so many


def jobs(folders: Mapping[str, Path]) -> list[Job]:
    """One job per picture. `folders`: of ASSETS. Raises DataError if the package is laid out otherwise."""
    return [job for part in ("train", "test") for job in _part_jobs(folders["easy-vqa"] / part, part)]


def _part_jobs(home: Path, part: str) -> Iterator[Job]:
    asked: dict[int, list[tuple[str, str]]] = {}
    try:
        for question, answer, number in json.loads((home / "questions.json").read_text("utf-8")):
            asked.setdefault(number, []).append((question, answer))
    except (FileNotFoundError, ValueError, TypeError) as error:
        raise DataError(f"corpus easy-vqa: {home / 'questions.json'} is no list of questions ({error})") from error
    for number in sorted(asked):
        yield Job([_item(part, number, asked[number])], partial(_one, home / "images" / f"{number}.png"))


def _item(part: str, number: int, asked: Sequence[tuple[str, str]]) -> Item:
    caption = describe(asked)
    split = "val" if part == "train" and number % VAL == 0 else part
    return Item(
        id=f"{part}-{number:04d}",
        modality="image",
        file=f"{part}/{number:04d}.png",
        caption=caption,
        concept=concept(caption),
        source="easy-vqa",
        vendor="easy-vqa",
        licence="MIT",
        split=split,
        concept_split="train",
        questions=[QA(ask=question, answer=answer, type=_type(answer)) for question, answer in asked],
    )


def describe(asked: Sequence[tuple[str, str]]) -> str:
    """What the picture shows, as far as its questions and their answers tell: "a blue circle", "a red shape".

    >>> describe([("what color is the shape?", "blue"), ("is there not a circle?", "no")])
    'a blue circle'
    """
    true: set[str] = set()
    for question, answer in asked:
        if answer in SHAPES or answer in COLORS:
            true.add(answer)
        if answer == "yes" and "not" not in question or answer == "no" and "not" in question or answer in true:
            true |= {word for word in re.findall("[a-z]+", question) if word in SHAPES or word in COLORS}
    color = next((f"{name} " for name in COLORS if name in true), "")
    return with_article(color + next((name for name in SHAPES if name in true), "shape"))


def _type(answer: str) -> str:
    return "shape" if answer in SHAPES else "color" if answer in COLORS else "exists"


def _one(file: Path) -> Iterator[bytes]:
    yield file.read_bytes()
