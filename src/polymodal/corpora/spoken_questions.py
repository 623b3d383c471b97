"""The corpus `spoken-questions`: questions about pictures, read aloud. Decides which, and by whom.

    train    every wording by five training voices: Piper's, Flite's three, and one of Kokoro's in turn
    test     every wording by both held-out voices

A recording is paired with whatever picture a typed question of the same words is asked about, so a test item is the
spoken twin of questions that are typed elsewhere: same words, a voice never heard. Wordings are GENERAL, which any picture
can be asked, and those that `scenes` asks. One with a word that `utterances` holds out is not spoken at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from itertools import count
from pathlib import Path
from typing import Literal

from polymodal.corpora import scene_questions, utterances, voices
from polymodal.corpora.building import Job
from polymodal.corpora.concepts import concept
from polymodal.corpora.items import Item

VERSION = 1  # raise it when the wordings change
SEED = 31
ASSETS = utterances.ASSETS
CHUNK = 50  # questions spoken by one session of a voice
GENERAL = (
    "What is this?",
    "What is it?",
    "What kind of thing is this?",
    "What type of thing is this?",
    "What is in the picture?",
    "What is shown here?",
    "What do you see?",
    "What can you see in the picture?",
    "What does the picture show?",
    "What animal is this?",
    "What color is this?",
    "What color is it?",
    "Where is it?",
    "How many are there?",
    "How many things are there?",
    "How many pictures are there?",
    "How many pictures do you see?",
    "What is in the first picture?",
    "What is in the second picture?",
    "Is it an animal?",
    "What is the word?",
    "What do you hear?",
)


def wordings() -> list[str]:
    """Every question, each once: GENERAL first, then those of other corpora."""
    return list(dict.fromkeys((*GENERAL, *scene_questions.spoken_questions())))


def jobs(folders: Mapping[str, Path]) -> list[Job]:
    """Jobs of at most CHUNK recordings of one voice and split. `folders`: of ASSETS."""
    held = utterances.Held(folders["wordnet"])
    asked = [text for text in wordings() if not held.any(text)]
    seeds = count(SEED)
    found = []
    parts: dict[Literal["train", "test"], dict[str, list[str]]] = {
        "train": _trained(asked),
        "test": dict.fromkeys(voices.HELD_OUT, asked),
    }
    for split, said_by in parts.items():
        for name, said in said_by.items():
            voice = voices.voice(name, folders)
            items = [_item(split, number, text, voice, name) for number, text in enumerate(said)]
            for start in range(0, len(items), CHUNK):
                chunk = items[start : start + CHUNK]
                found.append(Job(chunk, partial(voice.record, [item.caption for item in chunk], next(seeds))))
    return found


def _trained(asked: list[str]) -> dict[str, list[str]]:
    """What each training voice says: everything, but the voices of Kokoro, which is slow, share it."""
    slow = [name for name in voices.TRAINING if name in voices.KOKORO]
    return {name: asked[slow.index(name) :: len(slow)] if name in slow else asked for name in voices.TRAINING}


def _item(split: Literal["train", "test"], number: int, text: str, voice: voices.Voice, name: str) -> Item:
    id = f"{split}-{name}-{number:03d}"
    return Item(
        id=id,
        modality="audio",
        file=f"{split}/{id}.flac",
        caption=text,
        concept=concept(text),
        source="spoken-questions",
        vendor=voice.vendor,
        licence=voice.licence,
        split=split,
        concept_split=split,
        text=text,
        voice=name,
    )
