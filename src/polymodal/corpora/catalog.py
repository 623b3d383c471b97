"""Which corpora there are. Decides what each is built from, in which tier, and which sets of them nano learns from.

Tiers say what a corpus costs to fetch: S is about 80 MB in all, M 670 MB more, L the rest; each includes the one before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from polymodal.corpora import (
    appliances,
    babyai,
    building,
    charts,
    class_features,
    definitions,
    dialogue,
    easy_vqa,
    emoji,
    emoji_motions,
    emoji_names,
    furniture,
    gcompris,
    heat_maps,
    instruments,
    knowledge,
    maps,
    motion,
    moving_emoji,
    moving_stickers,
    openclipart,
    parts3d,
    quotations,
    replies,
    requests,
    scenes,
    sentences,
    solids,
    spoken_questions,
    stamp_recordings,
    stamps,
    text_images,
    utterances,
    web_pages,
)
from polymodal.corpora.building import Job, Report

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
    quotations.NAME: Corpus(
        "Wishes to hear a sentence, each with another of WordNet's examples in it",
        quotations.ASSETS,
        quotations.jobs,
        quotations.VERSION,
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
    "heat-maps": Corpus(
        "Smooth fields and small tables as heat maps with a scale, with questions; colour maps and fonts held out",
        (),
        heat_maps.jobs,
        heat_maps.VERSION,
        heat_maps.SEED,
    ),
    "web-pages": Corpus(
        "Small web pages of real HTML with boxes and questions; words, fonts and layouts held out",
        (),
        web_pages.jobs,
        web_pages.VERSION,
        web_pages.SEED,
    ),
    "solids": Corpus(
        "Two to five solids as a picture, as depth in metres and as SYNTHETIC temperatures, each with questions",
        (),
        partial(solids.jobs, "solids"),
        solids.VERSION,
        solids.SEED,
    ),
    "solids-control": Corpus(
        "The pictures of solids, asked what only their depth and temperature tell",
        (),
        partial(solids.jobs, "solids-control"),
        solids.VERSION,
        solids.SEED,
        tier="L",
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
    "moving-stickers": Corpus(
        "Two seconds of a sticker that moves, grows, turns, comes or goes, each clip also in reverse; OpenMoji held out",
        ("emojibase", *(emoji.VENDORS[vendor].asset for vendor in (*scenes.VENDORS, emoji.HELD_OUT))),
        moving_stickers.jobs,
        moving_stickers.VERSION,
        moving_stickers.SEED,
        tier="M",
    ),
    "emoji-motions": Corpus(
        "Two seconds of an emoji on white that moves, grows, turns, comes or goes, to learn to make clips from",
        emoji_motions.ASSETS,
        emoji_motions.jobs,
        emoji_motions.VERSION,
        emoji_motions.SEED,
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
    "definitions": Corpus(
        "What a dictionary of 1913 says of things that other corpora show",
        definitions.ASSETS,
        definitions.jobs,
        definitions.VERSION,
    ),
    "emoji-names": Corpus(
        "The same emoji with their names in sixteen languages; OpenMoji held out",
        emoji_names.ASSETS,
        emoji_names.jobs,
        emoji_names.VERSION,
    ),
    "appliances": Corpus(
        "The current that eleven kinds of appliances draw when they are switched on",
        appliances.ASSETS,
        appliances.jobs,
        appliances.VERSION,
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
    requests.NAME: Derived(
        "Sentences to say aloud, and questions that are nearly a wish for a picture, with the backbone's own answers",
        (requests.ASSET,),
        requests.build,
    ),
}
EVERY: dict[str, Corpus | Derived] = {**CORPORA, **DERIVED}
_PICTURES = ("emoji", "emoji-3d", "stamps", "photos12")
_FIRST = (
    *(*_PICTURES, class_features.NAME, "scenes", "text-images", "charts"),
    *("sentences", "utterances", "spoken-questions", replies.NAME),
)
_SENSES = ("heat-maps", "web-pages", "moving-stickers", "solids", "motion", "furniture", "parts3d", "instruments")
_MAKING = (requests.NAME, quotations.NAME)
_BENCH = (  # what polymodal-bench asks about
    *("emoji", "emoji-3d", "emoji-motions", "scenes", "text-images", "charts", "heat-maps", "moving-stickers", "solids"),
    *("sentences", "utterances", "instruments", "furniture", "motion", requests.NAME),
)
SETS = {"nano": (*_FIRST, *_SENSES, *_MAKING), "nano-v1": _FIRST, "bench": _BENCH}
