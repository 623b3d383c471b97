"""The corpus `emoji-names`: the pictures of `emoji` and their names in sixteen languages. Decides which languages.

They are widely spoken, written in eight scripts, and CLDR's translators have named every emoji in them, as they are kept
here: now and then with a synonym behind a comma, mostly in Hindi and Bengali. Flags, keycaps and some people, whose names
CLDR composes of parts, are left out. Each picture is asked in every language but English, the language of `emoji`.

All else is that of `emoji`: drawings, held-out vendor, and splits, so that the English label of an emoji decides on which
side it is in every language.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from polymodal.corpora import emoji
from polymodal.corpora.building import Job
from polymodal.corpora.items import QA
from polymodal.errors import DataError

VERSION = 1
NAME = "emoji-names"
ASSETS = (*emoji.packages(NAME), "cldr-annotations")
LANGUAGES = {  # the folders of the asset
    "ar": "Arabic",
    "bn": "Bengali",
    "de": "German",
    "es": "Spanish",
    "fr": "French",
    "hi": "Hindi",
    "id": "Indonesian",
    "ja": "Japanese",
    "ko": "Korean",
    "pt": "Portuguese",
    "ru": "Russian",
    "sw": "Swahili",
    "tr": "Turkish",
    "ur": "Urdu",
    "vi": "Vietnamese",
    "zh": "Chinese",
}


def jobs(folders: Mapping[str, Path]) -> list[Job]:
    """One job per emoji with a name and vendor. `folders`: of ASSETS. Raises DataError as `emoji.jobs` does, and for a
    language that is missing or holds something else."""
    names = {code: called(folders["cldr-annotations"] / code / "annotations.json") for code in LANGUAGES}
    found = []
    for job in emoji.jobs(NAME, folders):
        (item,) = job.items
        key = item.id.removeprefix(f"{item.vendor}-")
        asked = [
            QA(ask=f"What is this called in {language}?", answer=names[code][key], type=f"name-{code}")
            for code, language in LANGUAGES.items()
            if key in names[code]
        ]
        if asked:
            found.append(Job([item.model_copy(update={"questions": asked})], job.make))
    if not found:
        raise DataError(f"corpus {NAME}: no emoji has a name in {folders['cldr-annotations']}")
    return found


def called(file: Path) -> dict[str, str]:
    """The name of each emoji of a language, the one that is read aloud, by `emoji.normalised` code points. Raises DataError
    if the file is missing or none of CLDR's annotations."""
    try:
        entries = json.loads(file.read_text("utf-8"))["annotations"]["annotations"]
        return {
            emoji.normalised("-".join(f"{ord(character):x}" for character in characters)): entry["tts"][0]
            for characters, entry in entries.items()
            if "tts" in entry
        }
    except FileNotFoundError:
        raise DataError(f"corpus {NAME}: {file} is missing") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"corpus {NAME}: {file} holds no annotations of CLDR ({error})") from error
