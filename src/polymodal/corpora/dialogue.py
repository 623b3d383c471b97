"""The corpus `dialogue`: what two fish and others say in the game Fish Fillets, acted in Czech and Dutch. Decides what a
line of the game is in a split with.

The lines of a room answer each other and are about the same things, so rooms are split and not lines, each with both of
its languages. What is said in more than one room ("Good idea.") could straddle the splits and is left out. The scripts
give each line in its own language (`text`) and in English (`caption`). `voice` is the language and the colour in which the
game prints the line: `small` and `big` are the two fish, one actor in each language, who speak nearly everywhere; no
speaker is new in the test.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from polymodal.corpora import recordings
from polymodal.corpora.building import Job
from polymodal.corpora.concepts import split_of
from polymodal.corpora.items import QA, Item
from polymodal.errors import DataError

VERSION = 1
ASSETS = ("fish-fillets",)
LICENCE = "GPL-2.0"
LANGUAGES = {"cs": "Czech", "nl": "Dutch"}
_STRING = r'"((?:[^"\\]|\\.)*)"'  # of Lua
_LINE = re.compile(rf"dialogId\({_STRING},\s*{_STRING},\s*{_STRING}\)\s*dialogStr\({_STRING}\)")


@dataclass(frozen=True)
class Line:
    """What is said in a room. `name`: of its recording; `font`: the colour that the game gives its speaker."""

    room: str
    name: str
    font: str
    english: str
    text: str


def jobs(folders: Mapping[str, Path]) -> list[Job]:
    """One job per recorded line. `folders`: of ASSETS. Raises DataError if a language has none."""
    home = folders["fish-fillets"]
    found = []
    for language in LANGUAGES:
        said = [(line, file) for line in lines(home / "script", language) if (file := _recording(home, language, line))]
        if not said:
            raise DataError(f"corpus dialogue: no recorded line in {LANGUAGES[language]} in {home}")
        rooms = defaultdict(set)
        for line, _ in said:
            rooms[_plain(line.text)].add(line.room)
        once = [(line, file) for line, file in said if len(rooms[_plain(line.text)]) == 1]
        found += [Job([_item(language, line)], partial(_one, file)) for line, file in once]
    return found


def lines(script: Path, language: str) -> Iterator[Line]:
    """The lines of all rooms in `language`, by room; of a name that a room has twice, the last, as in the game."""
    for file in sorted(script.rglob(f"dialogs_{language}.lua")):
        room = file.parent.relative_to(script).as_posix()
        told: dict[str, Line] = {}
        for match in _LINE.finditer(file.read_text("utf-8", errors="replace")):
            name, font, english, text = (" ".join(re.sub(r"\\(.)", r"\1", part).split()) for part in match.groups())
            if re.search(r"\w", english) and re.search(r"\w", text):  # and not "..." alone
                told[name] = Line(room, name, font.removeprefix("font_"), english, text)
        yield from told.values()


def _recording(home: Path, language: str, line: Line) -> Path | None:
    file = home / "sound" / line.room / language / f"{line.name}.ogg"
    return file if file.is_file() else None


def _plain(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.lower()))


def _item(language: str, line: Line) -> Item:
    name, room = f"{language}/{line.room}/{line.name}", f"room {line.room}"
    split = split_of(room)
    options = list(LANGUAGES.values())
    return Item(
        id=name,
        modality="audio",
        file=f"{name.replace('.', '-')}.flac",
        caption=line.english,
        concept=room,
        group=LANGUAGES[language],
        subgroup=line.room,
        source="dialogue",
        vendor="fish-fillets",
        licence=LICENCE,
        split=split,
        concept_split=split,
        text=line.text,
        voice=f"{language}-{line.font}",
        questions=[
            QA(ask="Which language is this?", answer=LANGUAGES[language], type="language", options=options),
            QA(ask="What does this mean in English?", answer=line.english, type="translation"),
        ],
    )


def _one(file: Path) -> Iterator[bytes]:
    yield recordings.from_file(file)
