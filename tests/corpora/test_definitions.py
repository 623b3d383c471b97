from __future__ import annotations

import json
from zipfile import ZipFile

import pytest

from polymodal.corpora import definitions, exclusions, furniture, read, split_of, wordnet
from polymodal.corpora.building import Recipe, run
from polymodal.errors import DataError

from . import gcide_files

GROUPS = {"1": "animals-nature", "2": "objects", "3": "people-body"}
LABELS = (("seal", 1), ("kayak", 2), ("dog", 1), ("hunter", 3), ("tepee", 2), ("stool", 2), ("lamp", 2))
SYNSETS = (  # domain, lemma, gloss
    (6, "seal", "fastener of wax or a stamp for an envelope"),
    (5, "seal", "any of numerous aquatic carnivorous mammals with flippers"),
    (6, "kayak", "a small canoe made of sealskins stretched over a frame"),
    (5, "dog", "a carnivorous animal of the genus Canis"),
    (18, "hunter", "someone who hunts game"),
    (6, "tepee", "a tent made of hide over poles"),
    (6, "stool", "a simple seat without a back or arms"),
    (6, "lamp", "an artificial source of visible illumination"),
    (6, "armchair", "chair with a support on each side for arms"),
    (6, "tram", "a wheeled vehicle that runs on rails"),
    (6, "stork", "a hoist with a beam for lifting"),
    (5, "stork", "large mostly wading birds with long legs"),
)


def entry(word: str, *senses: str) -> tuple[str]:
    numbered = [f"   {n}. {sense}\n      [1913 Webster]\n" for n, sense in enumerate(senses, 1)]
    return (f"{word} \\{word}\\, n. [AS.]\n" + "\n".join(numbered),)


WORDS = {
    "Seal": (gcide_files.SEAL, gcide_files.STAMP, gcide_files.VERB),
    "Kayak": entry("Kayak", "A light canoe, made of skins stretched over a frame. It is fast."),
    "Dog": entry("Dog", "A wretch.", "(Zool.) An animal of the genus {Canis}.", "(Mach.) A catch."),
    "Hunter": entry("Hunter", "One who hunts game."),
    "Tepee": entry("Tepee", "An Indian tent made of hide over poles."),
    "Stool": entry("Stool", "An offensive seat without a back or arms.", "A vulgar seat without a back or arms."),
    "Lamp": entry("Lamp", "A vessel in which oil is burned by a wick."),
    "Armchair": entry("Armchair", "A chair with arms to support the elbows."),
    "Tram": entry("Tram", "A vehicle that runs on rails in the street."),
    "Stork": entry("Stork", "(Zool.) Any one of several species of wading birds."),
}


@pytest.fixture
def folders(tmp_path, stamp_tree):
    home = tmp_path / "assets"
    for folder in ("emojibase/meta", "emojibase/en", "wordnet", "sweethome3d"):
        (home / folder).mkdir(parents=True)
    (home / "emojibase/meta/groups.json").write_text(json.dumps({"groups": GROUPS, "subgroups": {"0": "x"}}))
    labels = [{"hexcode": f"1F{n}", "label": label, "group": g, "subgroup": 0} for n, (label, g) in enumerate(LABELS)]
    (home / "emojibase/en/data.json").write_text(json.dumps(labels))
    lines = [f"0000 {domain:02d} n 01 {lemma} 0 000 | {gloss}  \n" for domain, lemma, gloss in SYNSETS]
    for part in wordnet.PARTS:
        (home / f"wordnet/data.{part}").write_text("".join(lines) if part == "noun" else "  1 licence\n")
        (home / f"wordnet/{part}.exc").write_text("")
    for vendor in furniture.LICENCES:
        fields = {"name": "Armchair", "category": "Bedroom", "icon": "/i.png", "model": "/m.obj"}
        fields |= dict.fromkeys(("width", "height", "depth"), "1")
        with ZipFile(home / f"sweethome3d/{vendor}.sh3f", "w") as archive:
            text = "".join(f"{key}#1={value}\n" for key, value in fields.items())
            archive.writestr("PluginFurnitureCatalog.properties", text)
    gcide_files.write(home / "gcide", WORDS)
    (home / "tuxpaint-stamps").mkdir()
    stamp_tree.rename(home / "tuxpaint-stamps/stamps")
    return {name: home / name for name in definitions.ASSETS}


@pytest.fixture
def items(folders, tmp_path):
    run(Recipe("definitions", 1), lambda: definitions.jobs(folders), tmp_path)
    return {item.caption: item for item in read("definitions", tmp_path)}


def test_a_word_is_defined_in_the_sense_that_a_picture_or_a_model_shows(items):
    assert {name: item.questions[0].answer for name, item in items.items()} == {
        "seal": "Any aquatic carnivorous mammal of the families Phocidæ and Otariidae.",
        "kayak": "A light canoe, made of skins stretched over a frame.",
        "dog": "An animal of the genus Canis.",
        "armchair": "A chair with arms to support the elbows.",
        "stork": "Any one of several species of wading birds.",  # of a stamp
    }
    assert items["kayak"].read().decode() == items["kayak"].text
    assert items["kayak"].text == "kayak: A light canoe, made of skins stretched over a frame. It is fast."
    assert items["kayak"].questions[0].ask == 'Define "kayak".'


def test_people_dated_words_and_what_wordnet_leaves_out_are_left_out(items):
    assert not {"hunter", "tepee", "stool"} & set(items)


def test_a_word_whose_sense_cannot_be_told_is_left_out(items):
    assert "lamp" not in items  # its only definition shares no word with what is meant


def test_splits_are_those_of_the_pictures(items):
    assert "dog" in exclusions()
    assert items["dog"].split == "excluded"
    for item in items.values():
        assert (item.modality, item.split) == ("text", split_of(item.concept))


def test_an_asset_that_lacks_something_is_refused(folders):
    gcide_files.write(folders["gcide"], {"Zebu": entry("Zebu", "A bovine mammal.")})
    with pytest.raises(DataError, match="no word of"):
        definitions.jobs(folders)
    (folders["emojibase"] / "en/data.json").unlink()
    with pytest.raises(DataError, match="an asset lacks"):
        definitions.jobs(folders)
