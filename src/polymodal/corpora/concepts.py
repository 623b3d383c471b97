"""Concepts: which pictures and captions show the same thing. Decides the split of every item, once for all corpora.

A caption is reduced to a key ("A pair of cherries." and "cherries" -> "cherry"), and the key alone decides the split, so
a concept that is tested is trained on in no corpus, no art style and no modality. Three consequences are wanted: the key
need not be good English (it is never shown to a model), it may be too coarse (two things then share a split, which
harms nobody), and it must not be too fine (one thing would straddle two splits).

The 206 photographs of `photos12` are the test of what was learned from drawings, so what they show is excluded from
training altogether: by their captions and by the other names of the same thing that `photos12.csv` lists.
"""

from __future__ import annotations

import csv
import hashlib
import re
import unicodedata
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from typing import Literal, NamedTuple

ConceptSplit = Literal["train", "val", "test", "excluded"]

_BRACKETS = re.compile(r"\([^)]*\)")
_APOSTROPHES = re.compile(r"['\u2019\u2018`]")
_SKIN_TONE = re.compile(r"[,:]?\s*(medium-light|medium-dark|light|medium|dark) skin tone\b")
_DIRECTION = re.compile(r"\bfacing (right|left)\b")
_WHO = re.compile(
    r"^(wo)?m[ae]n:\s*|^(person|people|boy|girl|flag|keycap):\s*|^(woman|man|women|men|person|people)\s+(?!and\b)"
)
_NUMBER = re.compile(r"\b\d+(st|nd|rd|th)?\b")
_VENDOR = re.compile(r"\b(emoji|openmoji|noto|twemoji|fluent)\b")
_AMOUNT = re.compile(r"^(an?|the|some|our|your|(pair|bunch|cluster|head|couple|piece) of)\s+(?=\S)")
_FACE = re.compile(r"(?<=\S) face$")  # `dog face` is a dog
_IRREGULAR = {
    "leaves": "leaf",
    "wolves": "wolf",
    "knives": "knife",
    "feet": "foot",
    "teeth": "tooth",
    "mice": "mouse",
    "geese": "goose",
    "children": "child",
    "potatoes": "potato",
    "tomatoes": "tomato",
    "mangoes": "mango",
    "christmas": "christmas",
    "gas": "gas",
    "lens": "lens",
    "chess": "chess",
}


def concept(caption: str) -> str:
    """The key of a caption: lower case, one line, no article, amount, skin tone, gender, digits or punctuation; the
    last word in the singular. Never empty for a caption that has a letter or digit.

    >>> concept("A pair of cherries."), concept("woman running facing right"), concept("dog face")
    ('cherry', 'running', 'dog')
    """
    text = unicodedata.normalize("NFKC", caption).lower()
    text = _BRACKETS.sub(" ", text)
    text = _APOSTROPHES.sub("", text)
    text = _SKIN_TONE.sub("", text)
    text = _DIRECTION.sub("", text).strip()
    text = _unless_empty(_WHO, text)
    text = re.sub(r"[\W_]+", " ", text).strip()
    text = _unless_empty(_NUMBER, text)
    text = _unless_empty(_VENDOR, text)
    while (shorter := _AMOUNT.sub("", text)) != text:
        text = shorter
    text = _FACE.sub("", text)
    words = text.split()
    return " ".join([*words[:-1], singular(words[-1])]) if words else caption.strip().lower()


def singular(word: str) -> str:
    """`word` without the ending of a plural; unchanged where the ending is part of the word."""
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    if re.search(r"(ss|sh|ch|x|z)es$", word):
        return word[:-2]
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return word[:-1]
    return word


def phrases(text: str) -> Iterator[str]:
    """The key of a text, and of each run of its words: what a title that names more than one thing may show.

    >>> sorted(set(phrases("Red dogs")))
    ['dog', 'red', 'red dog']
    """
    yield concept(text)
    words = [singular(word) for word in re.findall(r"[a-z]+", text.lower())]
    for first in range(len(words)):
        for last in range(first, len(words)):
            yield " ".join(words[first : last + 1])


def split_of(key: str) -> ConceptSplit:
    """`excluded` for what the photographs show; else by hash: 85 % train, 5 % val, 10 % test of all concepts."""
    if key in exclusions():
        return "excluded"
    place = int(hashlib.sha1(key.encode()).hexdigest(), 16) % 100
    return "test" if place < 10 else "val" if place < 15 else "train"


def withheld(key: str, percent: int = 25) -> bool:
    """Whether something that no name tells apart (one model among many of a family) is kept out of training, by hash."""
    return int(hashlib.sha1(f"withheld {key}".encode()).hexdigest(), 16) % 100 < percent


class Photo(NamedTuple):
    """A row of `photos12.csv`: a stamp that is a photograph, relative to the folder `stamps`."""

    file: str
    category: str
    concept: str
    also: tuple[str, ...]


def photo_table() -> str:
    """`photos12.csv`, the fixed list of test photographs. It was made once: the stamps of 12 classes of at least 250
    colours out of 32,768, and by hand, for what a caption calls otherwise, the column `also`."""
    return (files(__package__) / "photos12.csv").read_text("utf-8")


@cache
def photos() -> tuple[Photo, ...]:
    """The rows of `photo_table`."""
    return tuple(
        Photo(row["file"], row["category"], row["concept"], tuple(filter(None, map(str.strip, row["also"].split(";")))))
        for row in csv.DictReader(photo_table().splitlines())
    )


@cache
def exclusions() -> frozenset[str]:
    """The concepts that no item of any corpus may be trained or validated on: those of the photographs."""
    return frozenset(name for photo in photos() for name in (photo.concept, *map(concept, photo.also)))


def _unless_empty(pattern: re.Pattern[str], text: str) -> str:
    shorter = " ".join(pattern.sub("", text).split())
    return shorter or text
