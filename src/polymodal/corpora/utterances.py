"""The corpus `utterances`: English sentences of thousands of words in many voices. Decides who says what, and what is
tested.

The sentences are WordNet's examples of use, each said once, by one voice. Test sentences are spoken by the held-out
voices alone, so a test is always of an unknown voice; validation is of known voices, and new sentences. Two claims can
be tested apart:

    tag known-words     every word occurs at least three times in the training sentences
    tag unseen-words    at least one content word occurs in none of them, in no form (see `wordnet.Families`)

Training sentences are those of this corpus and of `sentences`, on both of which one speech model is trained. No held-out
sentence becomes one of them by changing, adding or dropping one word. Which words are never trained on is decided by
hash, among the moderately frequent. Half of the known-words test (tag `pattern`) are test sentences of `sentences`,
heard there in the voice of its training; all else has the tag `example`.
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Literal

from polymodal.corpora import sentences, voices, wordnet
from polymodal.corpora.building import Job
from polymodal.corpora.concepts import concept, exclusions
from polymodal.corpora.items import Item
from polymodal.errors import DataError

VERSION = 2
SEED = 29
ASSETS = ("wordnet", *voices.ASSETS)
SHARES = {  # of the training sentences; Kokoro is forty times slower than Flite
    **{"joe": 1500, "slt": 900, "rms": 900, "kal16": 900},
    **{"jf_alpha": 150, "jf_gongitsune": 150, "jf_nezumi": 150, "jf_tebukuro": 150},
}
MORE = {"joe": 1500, "slt": 1800, "rms": 1800, "kal16": 1800}  # training sentences chosen after what is tested
VAL, TEST = 60, 240  # of known words, and again of unseen words
PATTERNS = 120  # of the TEST of known words
KNOWN = 3  # times a word of a known-words sentence occurs in training, at least
HELD = 12  # one family of words in so many is never trained on
MODERATE = (3, 40)  # examples that use a form of a held-out word, at least and at most
ASKED = (  # words of spoken questions, never held out
    "what kind type thing picture photo left right top bottom middle corner shape color background letter word say "
    "circle square triangle star heart bigger smaller above below many where animal hear"
)
CHUNK = 50  # sentences spoken by one session of a voice


Split = Literal["train", "val", "test"]
Tags = tuple[Literal["known-words", "unseen-words"], Literal["example", "pattern"]]
KNOWN_EXAMPLE: Tags = ("known-words", "example")
UNSEEN_EXAMPLE: Tags = ("unseen-words", "example")


@dataclass(frozen=True)
class Utterance:
    """A sentence with the part it plays."""

    text: str
    split: Split
    tags: Tags
    voice: str


def jobs(folders: Mapping[str, Path]) -> list[Job]:
    """Jobs of at most CHUNK recordings of one voice and split. `folders`: of ASSETS."""
    speakers = {name: voices.voice(name, folders) for name in (*SHARES, *voices.HELD_OUT)}
    first = sum(SHARES.values()) + 2 * (VAL + TEST)
    grouped: dict[tuple[str, str, bool], list[Item]] = {}
    for number, utterance in enumerate(choose(folders["wordnet"])):
        key = (utterance.split, utterance.voice, number >= first)  # a seed belongs to a chunk: later ones leave it alone
        grouped.setdefault(key, []).append(_item(number, utterance, speakers[utterance.voice]))
    found: list[Job] = []
    for (_, name, _), items in grouped.items():
        for start in range(0, len(items), CHUNK):
            chunk = items[start : start + CHUNK]
            seed = SEED + len(found)
            found.append(Job(chunk, partial(speakers[name].record, [item.caption for item in chunk], seed)))
    return found


def choose(folder: Path) -> list[Utterance]:
    """The utterances of the corpus, always the same. `folder`: of the asset `wordnet`. Raises DataError if it holds too
    few examples."""
    held = Held(folder)
    texts = _examples(folder)
    random.Random(SEED).shuffle(texts)
    strange = [text for text in texts if held.any(text)]
    familiar = [text for text in texts if not held.any(text)]
    patterns = sentences.generate()
    learned = [sentence.text for sentence in patterns if sentence.split == "train"]
    train, rest = familiar[: sum(SHARES.values())], familiar[sum(SHARES.values()) :]

    uses = Counter(word for text in (*train, *learned) for word in wordnet.words(text))
    known = {word for word, times in uses.items() if times >= KNOWN}
    taken = {near for text in (*train, *learned) for near in sentences.neighbours(text)}
    said = _novel((text for text in rest if known.issuperset(wordnet.words(text))), taken)[: VAL + TEST - PATTERNS]
    unseen = _novel(strange, taken)[: VAL + TEST]
    pattern = [s.text for s in patterns if s.split == "test" and s.tag == "known-words"][:PATTERNS]
    held_out = {near for text in (*said, *unseen, *pattern) for near in sentences.neighbours(text)}
    more = [text for text in rest if held_out.isdisjoint(sentences.neighbours(text))][: sum(MORE.values())]
    found = (len(train), len(said), len(unseen), len(pattern), len(more))
    if found != (sum(SHARES.values()), VAL + TEST - PATTERNS, VAL + TEST, PATTERNS, sum(MORE.values())):
        raise DataError(f"corpus utterances: only {' + '.join(map(str, found))} sentences in {folder}")
    return [
        *_shared(train, SHARES),
        *_dealt(said[:VAL], "val", KNOWN_EXAMPLE, tuple(SHARES)),
        *_dealt(unseen[:VAL], "val", UNSEEN_EXAMPLE, tuple(SHARES)),
        *_dealt(pattern, "test", ("known-words", "pattern"), voices.HELD_OUT),
        *_dealt(said[VAL:], "test", KNOWN_EXAMPLE, voices.HELD_OUT),
        *_dealt(unseen[VAL:], "test", UNSEEN_EXAMPLE, voices.HELD_OUT),
        *_shared(more, MORE),
    ]


class Held:
    """The words that training never uses, in any form, chosen from the asset `wordnet` in `folder`.

    A family of words may be held out if MODERATE of the examples use it, WordNet lists one of its words, and neither a
    training sentence of the corpus `sentences` nor ASKED uses it; a hash decides, so that few change when examples do.
    What is held out in `sentences` is so here too.
    """

    def __init__(self, folder: Path) -> None:
        self._families = wordnet.Families(folder)
        patterns = sentences.generate()
        needed = self._of(" ".join((ASKED, *(s.text for s in patterns if s.split == "train"))))
        content = {self._families.of(word) for synset in wordnet.synsets(folder) for word in synset.words if len(word) > 3}
        uses = Counter(family for text in _examples(folder) for family in self._of(text))
        least, most = MODERATE
        held = {family for family in content if least <= uses[family] <= most and _place(family) == 0}
        unseen = self._of(" ".join(s.text for s in patterns if s.tag == "unseen-words"))
        self._held = (held | unseen) - needed

    def any(self, text: str) -> bool:
        """Whether the text uses a held-out word."""
        return not self._held.isdisjoint(self._of(text))

    def _of(self, text: str) -> set[str]:
        return {self._families.of(word) for word in wordnet.words(text)}


def _examples(folder: Path) -> list[str]:
    return [text for text in wordnet.examples(folder) if concept(text) not in exclusions()]


def _place(family: str) -> int:
    return int(hashlib.sha1(family.encode()).hexdigest(), 16) % HELD


def _novel(texts: Iterable[str], taken: Collection[tuple[str, ...]]) -> list[str]:
    """Those that are neighbours neither of what is taken nor of one another."""
    known = set(taken)
    found = []
    for text in texts:
        near = set(sentences.neighbours(text))
        if known.isdisjoint(near):
            known |= near
            found.append(text)
    return found


def _shared(texts: Sequence[str], shares: Mapping[str, int]) -> list[Utterance]:
    """Training sentences: so many of the texts by each voice, one after the other."""
    speakers = [name for name, share in shares.items() for _ in range(share)]
    return [Utterance(text, "train", KNOWN_EXAMPLE, name) for text, name in zip(texts, speakers, strict=True)]


def _dealt(texts: Sequence[str], split: Split, tags: Tags, speakers: Sequence[str]) -> list[Utterance]:
    """Each text with the next of the speakers."""
    return [Utterance(text, split, tags, name) for text, name in zip(texts, cycle(speakers))]


def _item(number: int, utterance: Utterance, voice: voices.Voice) -> Item:
    name = f"{utterance.split}-{number:04d}"
    return Item(
        id=name,
        modality="audio",
        file=f"{utterance.split}/{name}.flac",
        caption=utterance.text,
        concept=concept(utterance.text),
        tags=list(utterance.tags),
        source="utterances",
        vendor=voice.vendor,
        licence=f"{voice.licence}; text WordNet-3.0",
        split=utterance.split,
        concept_split=utterance.split,
        text=utterance.text,
        voice=utterance.voice,
    )
