"""What is drawn from the corpora. Decides that only items that no training sees are asked about, that answers are balanced,
and that a draw depends on nothing but the version, the task and the item: an order by hash, not by the place in a file.
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from polymodal import corpora
from polymodal.corpora import TESTED, Item
from polymodal.corpora.emoji import STYLES
from polymodal.corpora.grammar import with_article
from polymodal.evaluation.bench import VERSION
from polymodal.training.sources.mixed import about

OFFERED = 8  # names, of what has no options of its own
WISHES = 200  # concepts that drawings are asked of
NAMES = 10  # offered in the task of styles, as benchmarks/names.py does
THINGS = ("one", "pair", "several", "crowd")  # the scenes that show stickers
Where = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class Drawn:
    """A question that may be asked. `items`: what is shown. `options`: what an answer is chosen from; none where it is
    free. `key`: what answers are balanced by. `part`: a style or a way of sampling, which is scored apart."""

    id: str
    items: tuple[Item, ...]
    ask: str
    answer: str
    options: tuple[str, ...] = ()
    key: str = ""
    part: str = ""
    wanted: Mapping[str, Any] = field(default_factory=dict)


Pool = Callable[[Path | None], list[Drawn]]  # of the folder of the cache


def order(task: str, name: str) -> str:
    """What a draw is sorted by."""
    return hashlib.sha256(f"{VERSION} {task} {name}".encode()).hexdigest()


def balanced(task: str, pool: Iterable[Drawn], size: int, more: int = 0) -> tuple[list[Drawn], list[Drawn]]:
    """(`size` questions, `more` others to show as examples): a turn for each part, and in each part for each key, again and
    again; one question of each item. Fewer questions where there are no more, so that every setting has its examples."""
    parts: dict[str, dict[str, list[Drawn]]] = defaultdict(lambda: defaultdict(list))
    for one in sorted(pool, key=lambda one: order(task, one.id), reverse=True):
        parts[one.part][one.key].append(one)
    turns = {part: deque(sorted(parts[part], key=lambda key: order(task, key))) for part in sorted(parts)}
    used: set[str] = set()
    chosen: list[Drawn] = []
    while len(chosen) < size + more and any(turns.values()):
        for part, keys in turns.items():
            found = _next(parts[part], keys, used)
            if found is not None and len(chosen) < size + more:
                used |= {item.id for item in found.items}
                chosen.append(found)
    asked = min(size, max(1, len(chosen) - more))
    return chosen[:asked], chosen[asked:]


def _next(found: dict[str, list[Drawn]], keys: deque[str], used: set[str]) -> Drawn | None:
    """The next question of the key whose turn it is, of items not asked about; a key that has none is left out."""
    while keys:
        key = keys.popleft()
        while found[key]:
            one = found[key].pop()
            if used.isdisjoint(item.id for item in one.items):
                keys.append(key)
                return one
    return None


@cache
def _read(name: str, root: Path | None) -> tuple[Item, ...]:
    return tuple(corpora.read(name, root))


def unseen(name: str, root: Path | None, modality: str | None = None, where: Where | None = None) -> list[Item]:
    """The items of a corpus that no training sees."""
    return [
        item
        for item in _read(name, root)
        if item.split in TESTED
        and modality in (None, item.modality)
        and all(getattr(item, key) in allowed for key, allowed in (where or {}).items())
    ]


def own(root: Path | None, corpus: str, types: Collection[str], modality: str | None = None) -> list[Drawn]:
    """The questions with options that items bring along. Balanced by the answer; by its place among the options where
    answers are of many words, such as whether there is an axe. Parts: new, and looking like nothing in training."""
    found = [
        (item, question)
        for item in unseen(corpus, root, modality)
        for question in item.questions
        if question.type in types and question.options
    ]
    many = len({question.answer for _, question in found}) > OFFERED + 4
    drawn = []
    for item, question in found:
        options = tuple(question.options or ())
        key = str(options.index(question.answer)) if many else question.answer
        part = item.split if corpus in ("scenes", "moving-stickers", "solids") else ""
        drawn.append(Drawn(f"{item.id}:{question.type}", (item,), question.ask, question.answer, options, key, part))
    return drawn


def named(
    root: Path | None,
    corpus: str,
    ask: str,
    answer: Callable[[Item], str],
    modality: str | None = None,
    where: Where | None = None,
) -> list[Drawn]:
    """Which of OFFERED names is it? Others are drawn from the same set."""
    items = [item for item in unseen(corpus, root, modality, where) if answer(item)]
    known = sorted({answer(item) for item in items})
    return [offered(item, ask, answer(item), known) for item in items]


def offered(item: Item, ask: str, right: str, known: Sequence[str], most: int = OFFERED, part: str = "") -> Drawn:
    """A question with the right answer among `most`, the others drawn from `known`, which is sorted."""
    rng = random.Random(order("offered", item.id))
    others = [name for name in rng.sample(known, min(most, len(known))) if name != right][: most - 1]
    options = tuple(rng.sample([right, *others], len(others) + 1))
    return Drawn(f"{item.id}:name", (item,), ask, right, options, right, part)


def calls_it(item: Item) -> str:
    return f"This is {with_article(item.concept)}."


def looks_like(item: Item) -> str:
    return f"It looks like: {item.subgroup}." if item.subgroup else ""


def exercise(item: Item) -> str:
    return f"This is: {item.concept}."


def styles(root: Path | None) -> list[Drawn]:
    """The same concepts, of which training has none, as five vendors draw them (as BenchLMM's styles, 2312.02896)."""
    items = [item for name in ("emoji", "emoji-3d") for item in _read(name, root)]
    items = [item for item in items if item.concept_split == "test" and item.split in TESTED and item.vendor in STYLES]
    drawn_by: dict[str, set[str]] = defaultdict(set)
    for item in items:
        drawn_by[item.concept].add(item.vendor)
    vendors = set().union(*drawn_by.values()) if drawn_by else set()
    every = {concept for concept, by in drawn_by.items() if by == vendors}
    answers = sorted(f"This is {with_article(concept)}." for concept in every)
    chosen = [item for item in items if item.concept in every]
    out = []
    for item in chosen:
        one = offered(item, "What is this?", calls_it(item), answers, NAMES, STYLES[item.vendor])
        out.append(Drawn(one.id, one.items, one.ask, one.answer, one.options, "", one.part))
    return out


def presence(root: Path | None) -> list[Drawn]:
    """Is there a thing in the picture? As POPE (2305.10355): what is there; and of what is not, a thing at random, one of
    the most frequent ones, and the one that most often stands beside what is there."""
    items = [item for item in unseen("scenes", root, where={"group": THINGS}) if item.boxes]
    there = {item.id: {box.name for box in item.boxes} for item in items}
    often = Counter(name for names in there.values() for name in names)
    beside: dict[str, Counter[str]] = defaultdict(Counter)
    for names in there.values():
        for name in names:
            beside[name].update(names - {name})
    out = []
    for item in items:
        names, rng = there[item.id], random.Random(order("presence", item.id))
        absent = sorted(set(often) - names)
        if not absent:
            continue
        # The picture's own neighbours do not count: they are there
        near = sum((beside[name] for name in sorted(names)), Counter[str]())
        drawn = {
            "random": rng.choice(absent),
            "popular": max(absent, key=lambda name: (often[name], order(item.id, name))),
            "adversarial": max(absent, key=lambda name: (near[name], often[name], order(item.id, name))),
        }
        for part, wrong in drawn.items():
            for thing, says in ((rng.choice(sorted(names)), "yes"), (wrong, "no")):
                a = with_article(thing)
                options = (f"Yes, there is {a}.", f"No, there is not {a}.")
                answer = options[says == "no"]
                out.append(Drawn(f"{item.id}:{part}:{says}", (item,), f"Is there {a}?", answer, options, says, part))
    return out


def motions(root: Path | None) -> list[Drawn]:
    """Which of the motions of emoji-motions is it?"""
    return named(root, "emoji-motions", "What does it do?", lambda item: f"It {item.subgroup}.")


def mixed(root: Path | None, of: Mapping[str, Callable[[Path | None], list[Drawn]]]) -> list[Drawn]:
    """Several media in one prompt, and a question about one of them by what it is called."""
    pools = {modality: sorted(pool(root), key=lambda one: order("mixed", one.id)) for modality, pool in of.items()}
    out = []
    for i in range(min(map(len, pools.values()), default=0)):
        for modality, pool in pools.items():
            one = pool[i]
            shown = tuple(
                item for name in sorted(pools, key=lambda name: order(str(i), name)) for item in pools[name][i].items
            )
            ask = about(modality, one.ask)
            out.append(Drawn(f"{i}:{modality}", shown, ask, one.answer, one.options, one.answer, modality))
    return out


def spoken(root: Path | None, corpus: str) -> list[Drawn]:
    """Recordings to be written down, of known and of unseen words."""
    out = []
    for item in unseen(corpus, root, "audio"):
        part = next((tag for tag in item.tags if tag in ("known-words", "unseen-words")), "")
        out.append(Drawn(item.id, (item,), "Repeat what you hear.", item.text or item.caption, (), "", part))
    return out


def replies(root: Path | None) -> list[Drawn]:
    """Which of four openings is the backbone's own to this prompt? What it said before any training."""
    items = [item for item in unseen("requests", root) if item.group == "words"]
    pairs = [(item, question) for item in items for question in item.questions]
    said = sorted({question.answer for _, question in pairs})
    out = []
    for item, question in pairs:
        one = offered(item, question.ask, question.answer, said, 4)
        out.append(Drawn(one.id, (), one.ask, one.answer, one.options, str(one.options.index(one.answer))))
    return out


def drawings(root: Path | None) -> list[Drawn]:
    """Wishes for a picture, of concepts in the styles that generators learn."""
    wishes = {
        (item.concept, STYLES[item.vendor]): item
        for name in ("emoji", "emoji-3d")
        for item in _read(name, root)
        if item.split == "train" and STYLES.get(item.vendor) in ("noto", "twemoji", "flat", "3d")
    }
    often = Counter(name for name, _ in wishes)  # in one style alone there is nothing to compare with
    several = [name for name, count in often.items() if count > 1]
    concepts = sorted(several, key=lambda name: order("drawings", name))[:WISHES]
    out = []
    for (name, style), item in wishes.items():
        if name in concepts:
            others = random.Random(order("drawings", name)).sample([c for c in concepts if c != name], OFFERED - 1)
            wanted = {"makes": "image", "says": item.caption, "by": "nearest", "among": [name, *others]}
            ask = f"Draw {item.caption}, {style} style."
            out.append(Drawn(f"{name}:{style}", (), ask, item.caption, (), style, style, wanted))
    return out


def sentences(root: Path | None) -> list[Drawn]:
    """Wishes to hear a sentence."""
    items = [item for item in unseen("requests", root) if item.group == "aloud"]
    return [
        Drawn(item.id, (), f'Say "{said}"', said, (), "", "", {"makes": "audio", "says": said, "by": "words"})
        for item in items
        if (said := item.text or item.caption)
    ]


def melodies(root: Path | None) -> list[Drawn]:
    """Wishes to hear an instrument."""
    names = sorted({item.concept for item in unseen("instruments", root)})
    return [
        Drawn(name, (), f"Play {with_article(name)}.", name, (), "", "", {"makes": "audio", "says": name, "by": "caption"})
        for name in names
    ]


def clips(root: Path | None) -> list[Drawn]:
    """Wishes for a clip, of pairs of a thing and a motion that training does not have."""
    found = {item.caption: item for item in unseen("emoji-motions", root)}
    out = []
    for caption, item in found.items():
        wanted = {"makes": "video", "says": item.subgroup, "by": "motion"}
        out.append(Drawn(item.id, (), f"Make a clip: {caption}.", caption, (), item.subgroup or "", "", wanted))
    return out


def nothing(root: Path | None) -> list[Drawn]:
    """Questions that wish for words, of which nothing is to be made."""
    items = [item for item in unseen("requests", root) if item.group == "words"]
    return [Drawn(item.id, (), item.caption, "", (), "", "", {"makes": "", "says": ""}) for item in items]
