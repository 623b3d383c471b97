"""The corpus `knowledge`: what the things of the other corpora are, and where countries lie, as text. Decides which sense
of a word a picture shows.

A thing is an emoji's label that WordNet has as a noun. Words have many senses, and the one that is used most is not the one
that is drawn (a seal is first of all a fastener), so a sense must come from the lexicographers' domain of the emoji's
group; of several, the one whose synset names the word first is taken. Glosses on sex, slurs and abuse are left out.
Countries are those of the World Factbook of 2015: only what hardly changes is asked for, so no rulers and no numbers of
people. Splits are by concept, as everywhere: a flag that is tested belongs to a country that is tested.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial, reduce
from pathlib import Path
from typing import Any, NamedTuple

from polymodal.corpora import emoji, wordnet
from polymodal.corpora.building import Job
from polymodal.corpora.concepts import concept, singular, split_of
from polymodal.corpora.grammar import with_article
from polymodal.corpora.items import QA, Item
from polymodal.errors import DataError

VERSION = 1
ASSETS = ("emojibase", "wordnet", "factbook")
DOMAINS = {  # of a noun's senses, by group of the emoji, the likelier first; lexnames(5WN)
    "people-body": (18, 8, 4),
    "animals-nature": (5, 20, 17),
    "food-drink": (13, 20, 6),
    "travel-places": (6, 15, 17, 19),
    "activities": (6, 4),
    "objects": (6, 13, 10),
}
_ABOUT = re.compile(r"^\([^)]*\)\s*")  # the field a gloss belongs to
_SHORTEST = 12  # characters of a gloss that says something
_LONGEST = 60  # of a capital or symbol
_UNCOUNTED = ("food-drink", "activities")  # "a bread", "a bowling"
_NO_NAMES = (None, "", "none")


class Sense(NamedTuple):
    """What a word may mean. `place` of the word in its synset, `number` of the synset among the word's of the domain."""

    domain: int
    place: int
    number: int
    gloss: str


def jobs(folders: Mapping[str, Path]) -> list[Job]:
    """One job per thing and per country. `folders`: of ASSETS. Raises DataError if one holds something else."""
    try:
        things = list(_things(folders["emojibase"], folders["wordnet"]))
        countries = list(_countries(folders["factbook"]))
    except (FileNotFoundError, KeyError, ValueError) as error:
        raise DataError(f"corpus knowledge: an asset lacks {error}") from error
    if not countries:
        raise DataError(f"corpus knowledge: no country in {folders['factbook']}")
    return things + countries


def _things(emojibase: Path, home: Path) -> Iterator[Job]:
    senses = senses_of(home)
    seen = set()
    for entry in emoji.labels(emojibase):
        domains = DOMAINS.get(entry["group"], ())
        name = entry["label"] if entry["label"] in senses else concept(entry["label"])
        meant = drawn(senses.get(name, ()), domains)
        if meant and concept(name) not in seen:
            seen.add(concept(name))
            counted = entry["group"] not in _UNCOUNTED and singular(name) == name and name[0].islower()
            ask = f"What is {with_article(name)}?" if counted else f'What does "{name}" mean?'
            asked = QA(ask=ask, answer=_sentence(meant.gloss), type="gloss")
            about = {"group": "things", "source": "knowledge", "vendor": "wordnet", "licence": "WordNet-3.0"}
            yield passage("things", name, f"{name}: {meant.gloss}.", [asked], **about)


def senses_of(home: Path) -> dict[str, list[Sense]]:
    """What each noun of WordNet may mean, by the word. `home`: the asset `wordnet`. Raises DataError as `synsets` does."""
    found: dict[str, list[Sense]] = {}
    for synset in wordnet.synsets(home):
        if not wordnet.TOPICS.search(synset.gloss):
            for place, (lemma, number) in enumerate(synset.senses):
                found.setdefault(lemma, []).append(Sense(synset.domain, place, number, plain(synset.gloss)))
    return found


def drawn(senses: Sequence[Sense], domains: Sequence[int]) -> Sense | None:
    """The sense that a picture shows: the first of `domains` in which there is one decides."""
    known = [sense for sense in senses if sense.domain in domains and len(sense.gloss) >= _SHORTEST]
    return min(known, key=lambda sense: (domains.index(sense.domain), *sense[1:3])) if known else None


def plain(gloss: str) -> str:
    """The meaning in a gloss, without its field and the examples of use.

    >>> plain('(zoology) tallest living quadruped; "a giraffe ran"')
    'tallest living quadruped'
    """
    return _ABOUT.sub("", gloss.partition('"')[0]).strip(" ;:")


def _countries(home: Path) -> Iterator[Job]:
    for file in sorted(home.rglob("*.json")):
        page = json.loads(file.read_text("utf-8"))
        fact = partial(_fact, page)
        name = fact("Government", "Country name", "conventional short form")
        if name in _NO_NAMES:
            name = fact("Government", "Country name", "conventional long form")
        where = fact("Geography", "Location")
        if name in _NO_NAMES or not where:
            continue  # an ocean, or the world
        assert name is not None
        asked = [QA(ask=f"Where is {name}?", answer=_sentence(where), type="location")]
        told = [f"{name}: {where}."]
        for ask, answer, type in (
            (f"What is the capital of {name}?", _first(fact("Government", "Capital", "name")), "capital"),
            (
                f"Which countries border {name}?",
                _names(fact("Geography", "Land boundaries", "border countries")),
                "borders",
            ),
            (f"What languages are spoken in {name}?", _names(fact("People and Society", "Languages")), "languages"),
            (f"What is the national symbol of {name}?", _first(fact("Government", "National symbol(s)")), "symbol"),
        ):
            if answer:
                asked.append(QA(ask=ask, answer=_sentence(answer), type=type))
                told.append(f"{type.capitalize()}: {answer}.")
        about = {"group": "countries", "source": "knowledge", "vendor": "factbook", "licence": "public domain"}
        yield passage("countries", name, " ".join(told), asked, **about)


def _fact(page: dict[str, Any], *path: str) -> str | None:
    """The text of a heading of a country's page, if it has that."""
    found = reduce(lambda node, key: node.get(key, {}) if isinstance(node, dict) else {}, (*path, "text"), page)
    return found.strip() if isinstance(found, str) else None


def _first(text: str | None) -> str | None:
    """What stands before notes, alternatives and colours."""
    short = re.split(r";|\+\+|\(", text or "")[0].strip(" ,.")
    return None if short in _NO_NAMES or len(short) > _LONGEST or short.startswith("national colors") else short


def _names(text: str | None) -> str | None:
    """The names in a list, without shares, lengths and remarks: "English 76.8%, other 3%" is English."""
    bare = re.sub(r"\([^()]*\)|<?\s*[\d,.]+\s*(%|km)", "", re.sub(r"\([^()]*\)", "", text or ""))
    listed = [name.strip(" .") for name in re.split(r"[,;]|\+\+", bare)]
    kept = [name for name in listed if name and all(word[0].isupper() or word == "and" for word in name.split())]
    return ", ".join(kept) or None


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def passage(folder: str, name: str, text: str, questions: list[QA], **about: str) -> Job:
    """A text about one thing, split by the thing. `about`: the item's `source`, `vendor`, `licence` and so on."""
    key = concept(name)
    split = split_of(key)
    place = f"{folder}/{re.sub(r'[^a-z0-9]+', '-', name.lower()).strip('-')}"
    fields: dict[str, Any] = {**about, "split": split, "concept_split": split, "text": text, "questions": questions}
    item = Item(id=place, modality="text", file=f"{place}.txt", caption=name, concept=key, **fields)
    return Job([item], partial(_one, text))


def _one(text: str) -> Iterator[bytes]:
    yield text.encode()
