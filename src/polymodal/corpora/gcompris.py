"""The corpus `gcompris`: what a school game shows children to name. Decides what a file's name says that shows something.

Drawings of words, photographs of animals and monuments with a paragraph about each, photographs sorted into categories, and
instruments drawn and heard. A photograph is `excluded` if any words of its name in a row name what a test photograph shows;
those in the folder of fishes all are, because their names say "fish" and not which. Recordings of music say where it comes
from; nothing is heard of the silent boards. A recording longer than LONGEST is cut there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from polymodal.corpora import pictures
from polymodal.corpora.building import Job
from polymodal.corpora.concepts import concept, exclusions, phrases, split_of
from polymodal.corpora.grammar import with_article
from polymodal.corpora.items import QA, RATE, Item
from polymodal.errors import DataError

VERSION = 1
ASSETS = ("gcompris",)
LONGEST = 30  # seconds
BOARDS = {  # activity -> what its boards show
    "explore_farm_animals": "animal",
    "explore_world_animals": "animal",
    "explore_monuments": "monument",
    "explore_world_music": "music",
}
_CATEGORIES = {"fishes": "fish", "tools": "tool"}  # of CATEGORIES, by the folder of a photograph
_NAMES = {  # what a photograph shows, where its file says it otherwise
    "blackslate": "blackboard",
    "buffetset": "cup and saucer",
    "bulb": "light bulb",
    "burj": "Burj Khalifa",
    "cathedral": "cathedral of Santiago de Compostela",
    "cup": "cup and saucer",
    "cuttingTool": "side cutter pliers",
    "empireState": "Empire State Building",
    "erasers": "eraser",
    "geothermal": "geothermal power plant",
    "greatPyramid": "Great Pyramid of Giza",
    "greatWall": "Great Wall of China",
    "jucheTower": "Juche Tower",
    "knife": "knife, fork and spoon",
    "kutubMinar": "Qutub Minar",
    "leMusee": "Louvre",
    "monument1": "Dome of the Rock",
    "nailCutter": "nail clipper",
    "operaHouse": "Sydney Opera House",
    "plier": "pliers",
    "screwDriver": "screwdriver",
    "sideCutter1": "side cutter pliers",
    "solar1": "solar cooker",
    "solar2": "solar cooker",
    "solar3": "solar cooker",
    "solar": "solar panel",
    "spray": "spray bottle",
    "tweezer": "tweezers",
    "usCapitol": "United States Capitol",
    "weighingMachine": "weighing scale",
    "windmill6": "wind turbine",
    "zimniPalace": "Winter Palace",
}
_UNNAMED = ("monument2", "monument3", "victoriaMemorial")  # the last: London's, and another board has Kolkata's
_OWN = {"lang/resource/words_sample": "CC-BY-SA-3.0", "instruments/resource/drum_kit.ogg": "CC-Sampling-Plus-1.0"}
_LICENCE = "GPL-3.0-or-later"  # of what no file says otherwise about
_FIELD = r'"%s"\s*:[^"\n]*"((?:[^"\\]|\\.)*)"'


def jobs(folders: Mapping[str, Path]) -> list[Job]:
    """One job per picture or recording. `folders`: of ASSETS. Raises DataError if an activity is missing or empty."""
    home = folders["gcompris"] / "gcompris" / "src" / "activities"
    found = []
    for make in (_words, _boards, _photographs, _instruments):
        made = list(make(home))
        if not made:
            raise DataError(f"corpus gcompris: {home} holds nothing for the {make.__name__.lstrip('_')}")
        found += made
    return found


def _words(home: Path) -> Iterator[Job]:
    for file in sorted(home.glob("lang/resource/words_sample/*.webp")):
        yield _job(home, file, "drawing", file.stem.replace("-", " "))


def _boards(home: Path) -> Iterator[Job]:
    for activity, what in BOARDS.items():
        for board in sorted(home.glob(f"{activity}/resource/board/*.qml")):
            for entry in re.findall(r'\{[^{}]*"title"[^{}]*\}', board.read_text("utf-8")):
                said = {key: match[1] for key in ("title", "text", "image2", "audio") if (match := _field(key, entry))}
                title = said["title"].partition(",")[0]
                about = said["text"].replace('\\"', '"')
                facts = [QA(ask=f"What do you know about this {what}?", answer=about, type="knowledge")]
                if picture := said.get("image2"):
                    caption = f"music: {title}" if what == "music" else title
                    yield _job(home, _local(home, picture), "photograph", caption, title, facts)
                if heard := said.get("audio"):
                    file = _local(home, heard).with_suffix(".ogg")
                    caption = f"music: {title}" if what == "music" else f"the sound of {with_article(title.lower())}"
                    yield _job(home, file, "recording", caption, title)


def _photographs(home: Path) -> Iterator[Job]:
    for file in sorted(home.glob("categorization/resource/images/*/*.webp")):
        kind, stem = file.parent.name, file.stem
        if kind in ("alphabets", "numbers") or stem in _UNNAMED:
            continue
        plain = re.sub(r"\d+$", "", stem)
        name = "fish" if kind == "fishes" else _NAMES.get(stem) or _NAMES.get(plain) or _spaced(plain, kind)
        yield _job(home, file, "photograph", name, category=_CATEGORIES.get(kind), excluded=kind == "fishes")


def _instruments(home: Path) -> Iterator[Job]:
    for file in sorted(home.glob("instruments/resource/*.ogg")):
        name = file.stem.replace("_traversiere", "").replace("_", " ")
        yield _job(home, file, "recording", name, category="music")
        yield _job(home, file.with_suffix(".svg"), "drawing", name, category="music")


def _job(
    home: Path,
    file: Path,
    group: str,
    caption: str,
    shown: str | None = None,
    questions: list[QA] | None = None,
    category: str | None = None,
    excluded: bool = False,
) -> Job:
    """`shown`: what the concept is taken from, where the caption says more."""
    place = file.relative_to(home)
    name = str(place.with_suffix("")).replace("/resource", "").replace("/images", "")
    heard = group == "recording"
    key = concept(shown or caption)
    drawn = any(phrase in exclusions() for phrase in phrases(shown or caption))
    split = "excluded" if excluded or drawn else split_of(key)
    item = Item(
        id=f"{name}-heard" if heard else name,
        modality="audio" if heard else "image",
        file=f"{name}-heard.flac" if heard else f"{name}.png",
        caption=caption,
        concept=key,
        category=category,
        group=group,
        subgroup=place.parts[0],
        source="gcompris",
        vendor="gcompris",
        licence=_licences(file.parent).get(file.name) or _OWN.get(str(place)) or _OWN.get(str(place.parent), _LICENCE),
        split=split,
        concept_split=split,
        questions=[
            QA(ask="What do you hear?" if heard else "What is this?", answer=caption, type="name"),
            *(questions or ()),
        ],
    )
    return Job([item], partial(_one, file))


def _licences(folder: Path) -> dict[str, str]:
    """Licence by name of the file, as the README there or above says: blocks of `License:` and, below `Files:`, names."""
    found: dict[str, str] = {}
    for readme in (folder.parent / "README", folder / "README"):
        for block in re.split(r"\n\s*\n", readme.read_text("utf-8")) if readme.is_file() else ():
            head, _, files = block.partition("Files:")
            if licence := re.search(r"License: (.+)", head):
                spdx = re.sub(r"^(CC-BY(?:-SA)?) ", r"\1-", licence[1].strip())
                spdx = {"Public Domain": "public domain", "GPLv3": "GPL-3.0", "GPLv2+": "GPL-2.0-or-later"}.get(spdx, spdx)
                found |= {file.strip().rpartition("/")[2]: spdx for file in files.split("\n") if file.strip()}
    return found


def _field(key: str, entry: str) -> re.Match[str] | None:
    return re.search(_FIELD % key, entry)


def _local(home: Path, address: str) -> Path:
    """The file of an address in Qt's form, qrc:/gcompris/src/activities/PATH."""
    return home / address.partition("/activities/")[2]


def _spaced(name: str, kind: str) -> str:
    """`eiffelTower` as words; a name of its own in capitals if it is a monument's."""
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    small = {"De": "de", "Of": "of", "The": "the"}
    return " ".join(small.get(w, w) for w in words.title().split()) if kind == "monuments" else words.lower()


def _one(file: Path) -> Iterator[bytes]:
    if file.suffix == ".ogg":
        from polymodal.corpora.voices.waveform import flac
        from polymodal.media.audio import load_audio

        yield flac(load_audio(file, RATE)[: LONGEST * RATE], RATE)
    else:
        yield pictures.from_file(file)
