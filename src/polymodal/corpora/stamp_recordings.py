"""The corpora `stamp-speech` and `stamp-sounds`: what is recorded beside Tux Paint's stamps. Decides which text is spoken.

Volunteers read the captions of the stamps aloud, each of nine languages in what is likely one voice. In seven of them
the length of a recording follows the length of its text (correlation .74 to .99). In Catalan and Belarusian it does not
(.2): there the long captions were shortened when they were read, so only captions of at most SHORT characters are taken.
Of Lithuanian, Dutch and English there is little besides letters, and they are left out. Greek is held out of all training:
a language, and a voice, that a model has never heard with its text.

A sound is taken if it is that of the thing its stamp shows, so no spoken digits, bells for gifts or roll calls. Of the
sounds three quarters are excluded, being those of what the test photographs show: the rest is enough to try a sound
encoder, not to train one.

Both are split by concept as the pictures are, so a stamp is in one split with its picture, its sound and its captions.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from polymodal.corpora import recordings, stamps
from polymodal.corpora.building import Job
from polymodal.corpora.categories import of_stamp
from polymodal.corpora.concepts import concept, split_of
from polymodal.corpora.items import QA, Item
from polymodal.errors import DataError

VERSION = 1
LANGUAGES = {
    "bg": "Bulgarian",
    "be": "Belarusian",
    "ca": "Catalan",
    "da": "Danish",
    "el": "Greek",
    "es": "Spanish",
    "fr": "French",
    "ro": "Romanian",
    "ru": "Russian",
}
HELD_OUT = "el"
SHORTENED, SHORT = ("be", "ca"), 20  # characters of a caption
KINDS = {
    "bird": "a bird",
    "mammal": "a mammal",
    "insect": "an insect",
    "vehicle": "a vehicle",
    "tool": "a tool",
    "music": "a musical instrument",
}
_SILENT = ("symbols/", "seasonal/christmas/", "seasonal/hanukkah/", "town/", "military/")  # folders of no things that sound
LONGEST = 5  # words of a caption that names a thing
_SUFFIX = "_desc_??.ogg"  # of a spoken caption


def speech_jobs(home: Path) -> list[Job]:
    """One job per spoken caption whose text is known. `home`: the folder of Tux Paint's categories.

    Raises DataError if there is none.
    """
    found = [job for file in sorted(home.rglob(f"*{_SUFFIX}")) if (job := _speech(home, file))]
    if not found:
        raise DataError(f"corpus stamp-speech: no spoken caption in {home}")
    return found


def sound_jobs(home: Path) -> list[Job]:
    """One job per stamp that has the sound of what it shows. `home`: as above. Raises DataError if there is none."""
    found = [job for file in sorted(home.rglob("*.ogg")) if (job := _sound(home, file))]
    if not found:
        raise DataError(f"corpus stamp-sounds: no sound of a stamp in {home}")
    return found


def _speech(home: Path, file: Path) -> Job | None:
    stamp, language = file.stem[: -len("_desc_xx")], file.stem[-2:]
    said, caption = _captions(file.with_name(f"{stamp}.txt"), language)
    if language not in LANGUAGES or not said or not caption or (language in SHORTENED and len(said) > SHORT):
        return None
    name = LANGUAGES[language]
    questions = [
        QA(ask="Which language is this?", answer=name, type="language", options=list(LANGUAGES.values())),
        QA(ask="What does this mean in English?", answer=caption, type="translation"),
    ]
    stem = file.with_name(stamp).relative_to(home).as_posix()
    item = _item("stamp-speech", f"{language}/{stem}", caption, stem, questions)
    heard = {"text": said, "group": name, "voice": f"{stamps.VENDOR}-{language}"}
    if language == HELD_OUT:
        heard["split"] = "held-out"
    return Job([item.model_copy(update=heard)], partial(_one, file))


def _sound(home: Path, file: Path) -> Job | None:
    stem = file.relative_to(home).with_suffix("").as_posix()
    _, caption = _captions(file.with_suffix(".txt"))
    if not caption or len(caption.split()) > LONGEST or stem.startswith(_SILENT):
        return None
    thing = re.sub(r"\s*\([^)]*\)", "", caption).rstrip(".!")
    questions = [QA(ask="What is this the sound of?", answer=thing[:1].lower() + thing[1:], type="sound")]
    if kind := KINDS.get(of_stamp(stem) or ""):
        kinds = list(KINDS.values())
        questions.append(QA(ask="What kind of thing sounds like this?", answer=kind, type="kind", options=kinds))
    return Job([_item("stamp-sounds", stem, caption, stem, questions)], partial(_one, file))


def _item(source: str, name: str, caption: str, stem: str, questions: list[QA]) -> Item:
    key = concept(caption)
    split = split_of(key)
    return Item(
        id=name,
        modality="audio",
        file=f"{name.replace('.', '-')}.flac",
        caption=caption,
        concept=key,
        category=of_stamp(stem),
        group=stem.partition("/")[0],
        subgroup=stem.rpartition("/")[0],
        source=source,
        vendor=stamps.VENDOR,
        licence=stamps.LICENCE,
        split=split,
        concept_split=split,
        questions=questions,
    )


def _captions(text: Path, language: str = "en") -> tuple[str | None, str | None]:
    """The caption in `language` and in English, as far as the file has them."""
    if not text.is_file():
        return None, None
    marked = re.search(rf"^{language}\.utf8=(.+)$", text.read_text("utf-8", errors="replace"), re.MULTILINE)
    return " ".join(marked[1].split()) if marked else None, stamps.caption_of(text)


def _one(file: Path) -> Iterator[bytes]:
    yield recordings.from_file(file)
