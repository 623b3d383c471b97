"""Short English sentences and phrases: WordNet's examples of use. Decides which can be spoken, and when two words are
forms of one.

Kept are examples of 4 to 10 words in plain lower case, without commas (a pause splits what eSpeak NG spells), proper
names, and words that occur in fewer than COMMON examples (misprints, scientific names, dialect). An example of a synset
whose gloss speaks of sex, slurs or abuse is left out, and so is one that uses a word of a slur anywhere.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from polymodal.errors import DataError

SHORTEST, LONGEST = 4, 10  # words
COMMON = 2  # examples in which every word of an example occurs, at least
PARTS = ("noun", "verb", "adj", "adv")
_PLAIN = re.compile(r"[A-Z]?[a-z']+(?: (?:[a-z']+|I|I'[a-z]+))*[.?!]?")
_ENDINGS = ("ings", "ing", "iest", "ier", "ies", "ied", "ily", "ed", "es", "ers", "er", "est", "ly", "s", "y", "e")
_QUOTED = re.compile(r'"([^"]+)"')
TOPICS = re.compile(r"\b(obscen|slur|offensive|disparag|derogat|vulgar|sex|genital|prostitut|intercourse|rape)", re.I)
_SLURS = re.compile(r"ethnic slur|obscene (?:term|word)|(?:offensive|disparaging) (?:term|name|word)", re.I)
_ABUSE = frozenset(("rape", "raped", "whore", "slut", "nazi", "suicide", "porn", "naked", "nude", "breasts", "penis"))


class Synset(NamedTuple):
    """What one line of a data file says that is of use here."""

    words: tuple[str, ...]  # its lemmas that are single words, lower case
    gloss: str  # with the examples
    domain: int  # number of the lexicographer's file: 5 animals, 6 artefacts, ... (lexnames(5WN))
    senses: tuple[tuple[str, int], ...]  # each lemma, in its own case, with its number among the senses of the domain


def synsets(folder: Path) -> Iterator[Synset]:
    """Every synset of the asset `wordnet`, nouns first. Raises DataError if a file is missing or is none of WordNet's.

    Format: wndb(5WN). A line is "offset file type count lemma id lemma id ... | gloss; "example"".
    """
    for part in PARTS:
        file = folder / f"data.{part}"
        try:
            lines = file.read_text("latin-1").splitlines()
        except FileNotFoundError:
            raise DataError(f"{file}: no such file of WordNet") from None
        for number, line in enumerate(lines, 1):
            if line.startswith("  "):
                continue  # the licence
            head, bar, gloss = line.partition(" | ")
            fields = head.split(" ")
            if not bar or len(fields) < 6:
                raise DataError(f"{file}:{number}: not a synset of WordNet")
            end = 4 + 2 * int(fields[3], 16)
            lemmas = fields[4:end:2]
            numbers = (int(number, 16) for number in fields[5 : end + 1 : 2])
            senses = tuple(zip((lemma.replace("_", " ") for lemma in lemmas), numbers, strict=False))
            yield Synset(tuple(lemma.lower() for lemma in lemmas if lemma.isalpha()), gloss, int(fields[1]), senses)


def examples(folder: Path) -> list[str]:
    """The speakable examples, each once, as sentences: a capital letter, and a full stop or question mark; in
    WordNet's order."""
    everything = list(synsets(folder))
    slurs = {word for synset in everything if _SLURS.search(synset.gloss) for word in synset.words} | _ABUSE
    found: dict[str, None] = {}
    inside: set[str] = set()  # words seen in lower case, or in the middle of an example: no proper names
    for synset in everything:
        if not TOPICS.search(synset.gloss):
            for quoted in _QUOTED.findall(synset.gloss):
                text = " ".join(quoted.split())
                if _PLAIN.fullmatch(text) and SHORTEST <= len(text.split()) <= LONGEST:
                    found[text] = None
                    inside |= {word for word in text.split() if not word[0].isupper()} | {"I"}
    inside |= {word.capitalize() for word in inside}
    plain = {_sentence(text): None for text in found if text.rstrip(".?!").split()[0] in inside}
    spoken = {text: words(text) for text in plain}
    uses = Counter(word for parts in spoken.values() for word in set(parts))
    common = {word for word, times in uses.items() if times >= COMMON} - slurs
    return [text for text, parts in spoken.items() if common.issuperset(parts)]


def words(text: str) -> list[str]:
    """The words of a sentence, lower case; `don't` is one."""
    return re.findall(r"[a-z']+", text.lower())


class Families:
    """Tells forms of one word, such as `go`, `goes`, `going`, `gone`, from other words.

    Irregular forms are WordNet's (*.exc); regular endings are cut off, so two unrelated words may share a family
    (`bus`, `bused`, `busy`), but hardly ever do two forms of one word not.
    """

    def __init__(self, folder: Path) -> None:
        self._irregular: dict[str, str] = {}
        for part in PARTS[:3]:
            for line in (folder / f"{part}.exc").read_text("latin-1").splitlines():
                form, base, *_ = line.split()
                self._irregular.setdefault(form, base)

    def of(self, word: str) -> str:
        """The key of the word's family. `word`: lower case."""
        word = word.removesuffix("'s").replace("'", "")
        word = self._irregular.get(word, word)
        for ending in _ENDINGS:
            stem = word.removesuffix(ending)
            if stem != word and len(stem) > 1 and set(stem) & set("aeiouy"):
                word = stem
                break
        if len(word) > 3:
            word = word.removesuffix("e")
        if len(word) > 3 and word[-1] == word[-2]:
            word = word[:-1]
        return word[:-1] + "i" if word.endswith("y") else word


def _sentence(text: str) -> str:
    plain = text.rstrip(".?!")
    return plain[0].upper() + plain[1:] + ("?" if text[-1] == "?" else ".")
