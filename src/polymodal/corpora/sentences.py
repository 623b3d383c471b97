"""The corpus `sentences`: short English sentences and their recordings. Decides which sentences, and what is novel.

Sentences are drawn from patterns with decks of words that are dealt out before they are shuffled again, so every word
is about equally frequent. Two claims can be tested apart:

    val, test, tag known-words     every word occurs at least three times in training, and no training sentence becomes
                                   this one by changing, adding or dropping one word
    test, tag unseen-words         at least one word occurs in no training sentence

The voice is one and synthetic, so the corpus says nothing about other speakers or noise.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from polymodal.corpora.building import Job
from polymodal.corpora.concepts import concept
from polymodal.corpora.items import Item
from polymodal.corpora.sentence_words import PATTERNS, PLURALS, SLOTS, UNSEEN
from polymodal.corpora.voices.piper import Piper
from polymodal.errors import DataError

VERSION = 1
SEED = 17
TRAIN, VAL, TEST, UNSEEN_TEST = 2400, 100, 200, 100
KNOWN = 3  # times a word of a known-words sentence occurs in training, at least
CHUNK = 50  # sentences spoken by one session of the voice
SHORTEST, LONGEST = 5, 9  # words
_SLOT = re.compile(r"\{([a-z]+)(\d?)\}")


@dataclass(frozen=True)
class Sentence:
    """A sentence with the part it plays."""

    text: str
    split: Literal["train", "val", "test"]
    tag: Literal["known-words", "unseen-words"]


def jobs(folders: Mapping[str, Path]) -> list[Job]:
    """Jobs of CHUNK recordings each. `folders`: of the assets `espeak-ng` and `piper-joe`."""
    voice = Piper.find(folders["piper-joe"], folders["espeak-ng"])
    items = [_item(number, sentence, voice.name) for number, sentence in enumerate(generate())]
    chunks = [items[start : start + CHUNK] for start in range(0, len(items), CHUNK)]
    return [
        Job(chunk, partial(voice.record, [item.caption for item in chunk], seed=SEED + number))
        for number, chunk in enumerate(chunks)
    ]


def generate(
    train: int = TRAIN, val: int = VAL, test: int = TEST, unseen: int = UNSEEN_TEST, seed: int = SEED
) -> list[Sentence]:
    """The sentences of the corpus, always the same for the same arguments. Raises DataError if the patterns do not
    yield as many different ones."""
    dealer = _Dealer(seed)
    texts: dict[str, None] = {}
    for text in _attempts(dealer.sentence, train):
        texts[text] = None
        if len(texts) == train:
            break
    uses = Counter(word for text in texts for word in words(text))
    known = {word for word, times in uses.items() if times >= KNOWN}
    taken = {near for text in texts for near in neighbours(text)}
    novel: dict[str, None] = {}
    for text in _attempts(dealer.sentence, val + test):
        if known.issuperset(words(text)) and taken.isdisjoint(neighbours(text)):
            novel[text] = None
            if len(novel) == val + test:
                break
    strange: dict[str, None] = {}
    for text in _attempts(partial(dealer.sentence, unseen=True), unseen):
        if not uses.keys() >= set(words(text)):
            strange[text] = None
            if len(strange) == unseen:
                break
    if (len(texts), len(novel), len(strange)) != (train, val + test, unseen):
        raise DataError(f"corpus sentences: only {len(texts)} + {len(novel)} + {len(strange)} different sentences")
    held = list(novel)
    return [
        *(Sentence(text, "train", "known-words") for text in texts),
        *(Sentence(text, "val", "known-words") for text in held[:val]),
        *(Sentence(text, "test", "known-words") for text in held[val:]),
        *(Sentence(text, "test", "unseen-words") for text in strange),
    ]


def words(text: str) -> list[str]:
    """The words of a sentence, lower case, without punctuation."""
    return re.findall(r"[a-z]+", text.lower())


class _Dealer:
    """Fills patterns with words, each list dealt out in random order before it is shuffled again."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._decks: dict[str, list[str]] = {}

    def sentence(self, unseen: bool = False) -> str:
        """One sentence; with `unseen`, one of its slots takes a word that training never uses."""
        pattern = self._deal("pattern", PATTERNS)
        slots = [match.group() for match in _SLOT.finditer(pattern)]
        open_slots = [slot for slot in slots if self._list(slot) in UNSEEN]
        strange = self._random.choice(open_slots) if unseen and open_slots else None
        used: set[str] = set()
        for slot in slots:
            pattern = pattern.replace(slot, self._word(slot, slot == strange, used), 1)
        pattern = re.sub(r"\b([Aa]) (?=[aeiou])", r"\1n ", pattern)
        return pattern[0].upper() + pattern[1:]

    def _word(self, slot: str, strange: bool, used: set[str]) -> str:
        name = self._list(slot)
        source, deck = (UNSEEN, f"unseen {name}") if strange else (SLOTS, name)
        word = self._deal(deck, source[name])
        while word in used:
            word = self._deal(deck, source[name])
        used.add(word)
        return PLURALS.get(word, word + "s") if name != _SLOT.fullmatch(slot)[1] else word  # type: ignore[index]

    def _deal(self, deck: str, words: tuple[str, ...] | list[str]) -> str:
        if not self._decks.get(deck):
            self._decks[deck] = self._random.sample(list(words), len(words))
        return self._decks[deck].pop()

    @staticmethod
    def _list(slot: str) -> str:
        """`{animals}` and `{animal2}` are filled from the list `animal`."""
        name = slot.strip("{}").rstrip("0123456789")
        return name if name in SLOTS else name.removesuffix("s")


def _attempts(draw: Callable[[], str], wanted: int) -> Iterator[str]:
    """Sentences of a permitted length, at most fifty times as many as wanted."""
    for _ in range(50 * wanted):
        text = draw()
        if SHORTEST <= len(words(text)) <= LONGEST:
            yield text


def neighbours(text: str) -> Iterator[tuple[str, ...]]:
    """Keys of a sentence: two share one exactly if they are equal, or one word changed, added or dropped makes them so."""
    parts = words(text)
    yield (*parts, "=")
    for index in range(len(parts)):
        yield (*parts[:index], "*", *parts[index + 1 :])  # equal for a changed word
        yield (*parts[:index], *parts[index + 1 :], "=")  # equal to the whole of a sentence with one word less


def _item(number: int, sentence: Sentence, voice: str) -> Item:
    name = f"{sentence.split}-{number:04d}"
    return Item(
        id=name,
        modality="audio",
        file=f"{sentence.split}/{name}.flac",
        caption=sentence.text,
        concept=concept(sentence.text),
        tags=[sentence.tag],
        source="sentences",
        vendor="piper",
        licence="CC0-1.0",
        split=sentence.split,
        concept_split=sentence.split,
        text=sentence.text,
        voice=voice,
    )
