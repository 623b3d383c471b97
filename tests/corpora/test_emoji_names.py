from __future__ import annotations

import json

import pytest

from polymodal.corpora import emoji, emoji_names, exclusions, read
from polymodal.corpora.building import Recipe, run
from polymodal.errors import DataError


def annotate(folder, names: dict[str, str]) -> None:
    """A language's file of CLDR: the name of each character."""
    folder.mkdir(parents=True, exist_ok=True)
    entries = {character: {"default": ["a keyword"], "tts": [name]} for character, name in names.items()}
    entries["\U0001f68f"] = {"default": ["no name"]}
    (folder / "annotations.json").write_text(json.dumps({"annotations": {"annotations": entries}}), "utf-8")


@pytest.fixture
def folders(emoji_packages, tmp_path):
    home = tmp_path / "cldr"
    for code in emoji_names.LANGUAGES:
        annotate(home / code, {"\U0001f436": f"{code} dog", "\U0001f985": f"{code} eagle"})
    annotate(home / "fr", {"\U0001f436": "tête de chien", "\u2600\ufe0f": "soleil"})
    return emoji_packages | {"cldr-annotations": home}


@pytest.fixture
def items(folders, tmp_path):
    run(Recipe("emoji-names", 1), lambda: emoji_names.jobs(folders), tmp_path)
    return read("emoji-names", tmp_path)


def test_every_picture_of_a_named_emoji_is_asked_in_each_language_that_names_it(items):
    assert {item.caption for item in items} == {"dog face", "eagle", "sun"}  # the others have no name, or are sequences
    assert len(items) == 3 * len(emoji.MEMBERS["emoji-names"])
    asked = {item.caption: {qa.type: (qa.ask, qa.answer) for qa in item.questions} for item in items}
    assert asked["dog face"]["name-fr"] == ("What is this called in French?", "tête de chien")
    assert asked["sun"] == {"name-fr": ("What is this called in French?", "soleil")}
    assert len(asked["dog face"]) == len(emoji_names.LANGUAGES) >= 12
    assert "name-fr" not in asked["eagle"]


def test_the_english_label_decides_the_split_and_openmoji_is_held_out(items, folders):
    pictures = {job.items[0].id: job.items[0] for job in emoji.jobs("emoji", folders)}
    for item in items:
        assert (item.split, item.concept) == (pictures[item.id].split, pictures[item.id].concept)
    assert {item.split for item in items if item.vendor == "openmoji"} == {"held-out"}
    assert not {item.concept for item in items if item.split in ("train", "val")} & exclusions()


def test_a_language_that_is_missing_or_none_of_cldr_is_refused_by_file(folders):
    file = folders["cldr-annotations"] / "sw/annotations.json"
    file.write_text('{"annotations": []}')
    with pytest.raises(DataError, match=r"sw/annotations.json holds no annotations"):
        emoji_names.jobs(folders)
    file.unlink()
    with pytest.raises(DataError, match=r"sw/annotations.json is missing"):
        emoji_names.jobs(folders)
