"""The corpus `definitions`: what GCIDE says of things that the other corpora show, as text. Decides which sense that is.

A thing is an emoji's label, a stamp's caption or the name of a model of furniture, and WordNet says which sense of the word
is shown (see `knowledge`). Of GCIDE's senses only those of its field (zoology, botany, astronomy) are looked at, if there
are any. That sense is taken whose definition is most like WordNet's gloss; the later it stands in the entry, the more it
has to be. Without a field to tell, a word of which no definition is like enough is left out. Of 134 definitions that were
read, 8 are of another sense than the picture's (baseball, the ball; orange, the tree).

People are left out: most definitions are of 1913, and so is what they say of people. So is what `wordnet.TOPICS` names.
Splits are by concept, as everywhere.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from polymodal.corpora import emoji, furniture, gcide, knowledge, stamps, wordnet
from polymodal.corpora.building import Job
from polymodal.corpora.concepts import concept
from polymodal.corpora.items import QA
from polymodal.errors import DataError

VERSION = 1
ASSETS = ("gcide", "wordnet", "emojibase", "tuxpaint-stamps", "sweethome3d")
LICENCE = "GPL-2.0-or-later"
EMOJI = {group: domains for group, domains in knowledge.DOMAINS.items() if group != "people-body"}
STAMPS = {  # domains by folder, as in `knowledge.DOMAINS`
    "animals": (5,),
    "clothes": (6,),
    "food": (13, 20),
    "hobbies": (6,),
    "household": (6,),
    "medical": (6,),
    "plants": (20,),
    "seasonal": (6, 5, 20),
    "space": (17,),
    "sports": (6,),
    "town": (6, 15, 17),
    "vehicles": (6,),
}
FURNITURE = (6, 13)
FIELDS = {5: "zool", 13: "bot", 17: "astron", 20: "bot"}  # GCIDE's, by domain of WordNet
LATER = 0.85  # what its likeness counts for each sense that stands before it
ENOUGH = 0.17  # likeness that tells a sense without a field
_DATED = re.compile(  # words for people in whose definitions the year is heard
    r"\b(negro|savage|barbar|heathen|indians?\b|eskimo|hottentot|gyps[iy]|natives\b|tribe|mohammedan|mussulman)", re.I
)
_SENTENCE = re.compile(r".*?(?<![ .(][A-Z])[.](?= [A-Z]|$)")


def jobs(folders: Mapping[str, Path]) -> list[Job]:
    """One job per thing that both dictionaries know. `folders`: of ASSETS. Raises DataError if one holds something else."""
    try:
        senses = knowledge.senses_of(folders["wordnet"])
        shown = {name.lower(): (name, sense) for name, sense in _named(folders, senses)}
        alike = Likeness(
            wordnet.Families(folders["wordnet"]), [sense.gloss for known in senses.values() for sense in known]
        )
    except (FileNotFoundError, KeyError, ValueError) as error:
        raise DataError(f"corpus definitions: an asset lacks {error}") from error
    known = gcide.nouns(folders["gcide"], shown)
    found = []
    for word, (name, sense) in shown.items():
        definition = chosen(known.get(word, ()), sense, alike)
        if definition and not wordnet.TOPICS.search(definition) and not _DATED.search(definition):
            found.append(_job(name, definition))
    if not found:
        raise DataError(f"corpus definitions: no word of {folders['gcide']} is one of the other corpora")
    return found


def chosen(known: Sequence[gcide.Sense], meant: knowledge.Sense, alike: Likeness) -> str | None:
    """The definition of what is meant, or None if none of those that are known can be told to be it."""
    field = FIELDS.get(meant.domain)
    fitting = [(place, sense.definition) for place, sense in enumerate(known) if sense.field == field]
    least = 0.0 if fitting else ENOUGH
    if not fitting:
        fitting = [(place, s.definition) for place, s in enumerate(known) if s.field not in FIELDS.values()]
    rated = [(alike(meant.gloss, definition) * LATER**place, definition) for place, definition in fitting]
    likeness, definition = max(rated, key=lambda pair: pair[0], default=(-1.0, None))
    return definition if likeness >= least else None


class Likeness:
    """How much two texts say the same, 0 to 1: the cosine of their words, of which each counts log(texts / texts that have
    it), so that no list of empty words is needed (Salton & Buckley, 1988; for senses, Lesk, 1986). Forms are one word."""

    def __init__(self, families: wordnet.Families, texts: Sequence[str]) -> None:
        self._families = families
        self._uses = Counter(word for text in texts for word in self._words(text))
        self._texts = len(texts)

    def __call__(self, one: str, other: str) -> float:
        first, second = self._words(one), self._words(other)
        return self._weight(first & second) / math.sqrt(self._weight(first) * self._weight(second) or 1)

    def _weight(self, words: set[str]) -> float:
        return sum(math.log(self._texts / max(1, self._uses[word])) ** 2 for word in sorted(words))

    def _words(self, text: str) -> set[str]:
        return {self._families.of(word) for word in wordnet.words(text)}


def _named(
    folders: Mapping[str, Path], senses: Mapping[str, Sequence[knowledge.Sense]]
) -> Iterator[tuple[str, knowledge.Sense]]:
    """(name, what is meant) of every thing; of several with one concept the first."""
    seen = set()
    for label, domains in _shown(folders):
        name = label if label in senses else concept(label)
        meant = knowledge.drawn(senses.get(name, ()), domains)
        if meant and concept(name) not in seen:
            seen.add(concept(name))
            yield name, meant


def _shown(folders: Mapping[str, Path]) -> Iterator[tuple[str, Sequence[int]]]:
    """(label, domains of WordNet) of what the other corpora show."""
    for entry in emoji.labels(folders["emojibase"]):
        yield entry["label"], EMOJI.get(entry["group"], ())
    home = folders["tuxpaint-stamps"] / "stamps"
    for file, caption in stamps.captioned(home):
        yield caption, STAMPS.get(file.relative_to(home).parts[0], ())
    for _, model in furniture.models("definitions", folders["sweethome3d"]):
        yield model.name, FURNITURE


def _job(name: str, definition: str) -> Job:
    first = _SENTENCE.match(definition)
    asked = QA(ask=f'Define "{name}".', answer=first[0] if first else definition, type="definition")
    about = {"source": "definitions", "vendor": "gcide", "licence": LICENCE}
    return knowledge.passage("gcide", name, f"{name}: {definition}", [asked], **about)
