"""Training data built from ordinary packages. Decides which corpora there are and which assets each is built from.

    corpora.build("emoji")       make it, or do nothing if it is there
    corpora.read("emoji")        its items; `item.read()` gives the bytes of a picture or recording
    corpora.exclusions()         concepts that only the test photographs may show

The art and voices have licences of their own (CC-BY-SA, GPL, ...), so builders are shipped and not their results. Tiers
say what a corpus costs to fetch: S is about 80 MB in all, M 600 MB more, L the rest; each includes the one before.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from polymodal import assets
from polymodal.corpora import (
    babyai,
    building,
    charts,
    class_features,
    dialogue,
    easy_vqa,
    emoji,
    furniture,
    gcompris,
    instruments,
    knowledge,
    maps,
    motion,
    moving_emoji,
    openclipart,
    parts3d,
    replies,
    scenes,
    sentences,
    spoken_questions,
    stamp_recordings,
    stamps,
    text_images,
    utterances,
)
from polymodal.corpora.building import Job, Recipe, Report
from polymodal.corpora.concepts import concept, exclusions, photo_table, split_of
from polymodal.corpora.items import CATEGORIES, QA, Box, Item, folder, is_built, manifest, read
from polymodal.errors import DataError, nearest

__all__ = [
    "CATEGORIES",
    "CORPORA",
    "DERIVED",
    "EVERY",
    "QA",
    "SETS",
    "TIERS",
    "Box",
    "Item",
    "Tier",
    "build",
    "concept",
    "exclusions",
    "expand",
    "folder",
    "is_built",
    "manifest",
    "read",
    "split_of",
]


Tier = Literal["S", "M", "L"]
TIERS: tuple[Tier, ...] = ("S", "M", "L")


@dataclass(frozen=True)
class Corpus:
    """A corpus that can be built: `jobs` gets the folders of `assets` by name. `share`: of its items may be refused."""

    about: str
    assets: tuple[str, ...]
    jobs: Callable[[Mapping[str, Path]], Sequence[Job]]
    version: int
    seed: int = 0
    tier: Tier = "M"
    share: float = building.MAX_QUARANTINED


@dataclass(frozen=True)
class Derived:
    """A corpus that weights make: `build` gets the cache folder and where to report progress."""

    about: str
    assets: tuple[str, ...]
    build: Callable[[Path | None, Report | None], Path]
    tier: Tier = "M"


CORPORA = {
    "emoji": Corpus(
        "Emoji in four art styles with names, tags and groups; OpenMoji held out",
        emoji.packages("emoji"),
        partial(emoji.jobs, "emoji"),
        emoji.VERSION,
        tier="S",
    ),
    "emoji-3d": Corpus(
        "Emoji rendered in 3D by the vendor of Fluent, alike in design",
        emoji.packages("emoji-3d"),
        partial(emoji.jobs, "emoji-3d"),
        emoji.VERSION,
    ),
    "stamps": Corpus(
        "Tux Paint stamps (drawings and photographs) with English captions",
        ("tuxpaint-stamps",),
        lambda folders: stamps.jobs(folders["tuxpaint-stamps"] / "stamps"),
        stamps.VERSION,
    ),
    "photos12": Corpus(
        "206 photographs of things in 12 classes; only ever tested on",
        ("tuxpaint-stamps",),
        lambda folders: stamps.photo_jobs(folders["tuxpaint-stamps"] / "stamps"),
        stamps.VERSION,
    ),
    "sentences": Corpus(
        "Short English sentences of some 430 common words, spoken by the voice joe",
        ("espeak-ng", "piper-joe"),
        sentences.jobs,
        sentences.VERSION,
        sentences.SEED,
    ),
    "utterances": Corpus(
        "English sentences of some 6,000 words in eight voices; two voices that are only ever tested on",
        utterances.ASSETS,
        utterances.jobs,
        utterances.VERSION,
        utterances.SEED,
    ),
    "spoken-questions": Corpus(
        "Questions about pictures, spoken; the same in two voices that are only ever tested on",
        spoken_questions.ASSETS,
        spoken_questions.jobs,
        spoken_questions.VERSION,
        spoken_questions.SEED,
    ),
    "scenes": Corpus(
        "Stickers, shapes and words on plain pages, with boxes and three to five questions each; OpenMoji held out",
        ("emojibase", *(emoji.VENDORS[vendor].asset for vendor in (*scenes.VENDORS, emoji.HELD_OUT))),
        scenes.jobs,
        scenes.VERSION,
        scenes.SEED,
        tier="S",
    ),
    "openclipart": Corpus(
        "Drawings by hundreds of people, with titles and keywords in English",
        openclipart.ASSETS,
        openclipart.jobs,
        openclipart.VERSION,
        tier="S",
    ),
    "maps": Corpus(
        "Maps with the boxes of named regions: where is it, what is there, what is its capital",
        maps.ASSETS,
        maps.jobs,
        maps.VERSION,
        tier="S",
    ),
    "easy-vqa": Corpus(
        "One coloured shape of 64 pixels, and simple questions about it",
        easy_vqa.ASSETS,
        easy_vqa.jobs,
        easy_vqa.VERSION,
        tier="S",
    ),
    "motion": Corpus(
        "Two seconds of a smart watch during an exercise, by person; and clips of four activities",
        motion.ASSETS,
        motion.jobs,
        motion.VERSION,
        tier="S",
    ),
    "babyai": Corpus(
        "What an expert does next in a grid world, as it was told; one task is only ever tested on",
        (),
        babyai.jobs,
        babyai.VERSION,
        tier="S",
    ),
    "text-images": Corpus(
        "One to three printed words to read, with questions; words that are only ever tested on",
        (),
        text_images.jobs,
        text_images.VERSION,
        text_images.SEED,
        tier="S",
    ),
    "charts": Corpus(
        "Small bar, pie and line charts of invented numbers, with questions",
        (),
        charts.jobs,
        charts.VERSION,
        charts.SEED,
    ),
    "stamp-speech": Corpus(
        "Tux Paint's captions read aloud in nine languages, with their text and English; Greek held out",
        ("tuxpaint-stamps",),
        lambda folders: stamp_recordings.speech_jobs(folders["tuxpaint-stamps"] / "stamps"),
        stamp_recordings.VERSION,
    ),
    "stamp-sounds": Corpus(
        "What some stamps' things sound like; few may be trained on",
        ("tuxpaint-stamps",),
        lambda folders: stamp_recordings.sound_jobs(folders["tuxpaint-stamps"] / "stamps"),
        stamp_recordings.VERSION,
        share=0.05,  # a few are as silent as the animal
    ),
    "instruments": Corpus(
        "A few notes on 44 instruments: which, how it is played, what it plays; new instruments in the test",
        instruments.ASSETS,
        instruments.jobs,
        instruments.VERSION,
        instruments.SEED,
    ),
    "dialogue": Corpus(
        "Acted speech of a game in Czech and Dutch, with its text and English; split by room",
        dialogue.ASSETS,
        dialogue.jobs,
        dialogue.VERSION,
        tier="L",
    ),
    "moving-emoji": Corpus(
        "Three-second videos of emoji that move, and again standing still",
        moving_emoji.ASSETS,
        moving_emoji.jobs,
        moving_emoji.VERSION,
        tier="L",
    ),
    "gcompris": Corpus(
        "Drawings, photographs and recordings of a school game, with names; paragraphs about animals and monuments",
        gcompris.ASSETS,
        gcompris.jobs,
        gcompris.VERSION,
    ),
    "furniture": Corpus(
        "820 named models of furniture and other things as 1,024 coloured points each, in metres",
        furniture.ASSETS,
        partial(furniture.jobs, "furniture"),
        furniture.VERSION,
    ),
    "furniture-icons": Corpus(
        "Small renders of the same 820 models",
        furniture.ASSETS,
        partial(furniture.jobs, "furniture-icons"),
        furniture.VERSION,
    ),
    "parts3d": Corpus(
        "973 electronic parts as points, with what their names say: how many pins, which pitch; split by family",
        parts3d.ASSETS,
        parts3d.jobs,
        parts3d.VERSION,
        tier="L",
    ),
    "knowledge": Corpus(
        "What a giraffe is and where Kenya lies: meanings of words that the emoji draw, and facts about countries",
        knowledge.ASSETS,
        knowledge.jobs,
        knowledge.VERSION,
    ),
}
DERIVED = {
    class_features.NAME: Derived(
        "Features that the image encoder's own classifier calls by name; after emoji and stamps",
        (class_features.ASSET,),
        class_features.build,
    ),
    replies.NAME: Derived(
        "What the backbone itself answers to short prompts, as text to keep; writing it takes minutes",
        (replies.ASSET,),
        replies.build,
    ),
}
EVERY: dict[str, Corpus | Derived] = {**CORPORA, **DERIVED}
_PICTURES = ("emoji", "emoji-3d", "stamps", "photos12")
SETS = {
    "nano": (*_PICTURES, "sentences", class_features.NAME),
    "nano-v1": (
        *(*_PICTURES, class_features.NAME, "scenes", "text-images", "charts"),
        *("sentences", "utterances", "spoken-questions", replies.NAME),
    ),
}


def build(name: str, root: Path | None = None, report: Report | None = None) -> Path:
    """Build a corpus from its fetched assets and return its folder; at once if it is there, built from the same.

    A killed build continues where it stopped. Raises AssetError if an asset is not fetched, and DataError for an
    unknown name or if more of its items cannot be made than its share.
    """
    (name,) = expand([name])
    if name in DERIVED:
        return DERIVED[name].build(root, report)
    corpus = CORPORA[name]
    folders = {asset: assets.path(asset, root=root) for asset in corpus.assets}
    digests = {asset: _digest(assets.digests(asset, root=root)) for asset in corpus.assets}
    digests["photos12.csv"] = hashlib.sha256(photo_table().encode()).hexdigest()  # decides who is excluded
    recipe = Recipe(name, corpus.version, digests, corpus.seed)
    return building.run(recipe, lambda: corpus.jobs(folders), root or assets.root(), report, corpus.share)


def expand(names: Sequence[str], tier: Tier | None = None) -> list[str]:
    """Names of corpora, those of the tier and of the tiers below first, with sets replaced by their members, each once.

    Raises DataError for an unknown name.
    """
    below = TIERS[: TIERS.index(tier) + 1] if tier else ()
    found = dict.fromkeys(name for name, corpus in EVERY.items() if corpus.tier in below)
    for name in names:
        if name not in EVERY and name not in SETS:
            raise DataError(f"no corpus '{name}'{nearest(name, [*EVERY, *SETS])}")
        found |= dict.fromkeys(SETS.get(name, (name,)))
    return list(found)


def _digest(files: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps(sorted(files.items())).encode()).hexdigest()
