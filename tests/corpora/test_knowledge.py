from __future__ import annotations

import json

import pytest

from polymodal.corpora import emoji, exclusions, knowledge, read, split_of, wordnet
from polymodal.corpora.building import Recipe, run
from polymodal.errors import DataError

GROUPS = {"0": "smileys-emotion", "1": "animals-nature", "2": "objects", "3": "food-drink"}
LABELS = (("seal", 1), ("cat face", 1), ("dog", 1), ("bread", 3), ("sieve", 2), ("grin", 0), ("sieves", 2), ("kayak", 2))
SYNSETS = (  # domain, lemmas, gloss
    (6, "seal 0 sealing_wax 1", 'fastener consisting of a resinous composition; "the seal"'),
    (5, "pinniped 0 seal 1", "a later word for any of several marine mammals"),
    (5, "seal 3", '(zoology) any of numerous marine mammals; "a seal barks"'),
    (5, "cat 0", "feline mammal with soft fur"),
    (5, "dog 0", "a member of the genus Canis"),
    (13, "bread 0", "food made from dough of flour or meal"),
    (6, "sieve 0", "an offensive thing with a screen to sort particles"),
    (6, "Kayak 0", "a genus of boats, and so of no use here"),
)


def country(name: str, **more) -> dict:
    """A page of the factbook."""
    return {
        "Geography": {"Location": {"text": "Eastern Africa, by the sea"}, **more.get("geography", {})},
        "Government": {"Country name": {"conventional short form": {"text": name}}, **more.get("government", {})},
        "People and Society": more.get("people", {}),
    }


@pytest.fixture
def folders(tmp_path):
    home = {name: tmp_path / name for name in knowledge.ASSETS}
    for folder in ("emojibase/meta", "emojibase/en", "wordnet", "factbook/africa", "factbook/oceans"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "emojibase/meta/groups.json").write_text(json.dumps({"groups": GROUPS, "subgroups": {"0": "x"}}))
    entries = [{"hexcode": f"1F{n}", "label": label, "group": g, "subgroup": 0} for n, (label, g) in enumerate(LABELS)]
    (tmp_path / "emojibase/en/data.json").write_text(json.dumps(entries))
    lines = [f"0000 {d:02d} n {len(senses.split()) // 2:02x} {senses} 000 | {gloss}  \n" for d, senses, gloss in SYNSETS]
    for part in wordnet.PARTS:
        (tmp_path / f"wordnet/data.{part}").write_text("".join(lines) if part == "noun" else "  1 licence\n")
    kenya = country(
        "Kenya",
        geography={"Land boundaries": {"border countries": {"text": "Ethiopia 867 km, South Sudan (claimed) 1,317 km"}}},
        government={
            "Capital": {"name": {"text": "Nairobi; note - large"}},
            "National symbol(s)": {"text": "national colors: black, red"},
        },
        people={"Languages": {"text": "English (official), Standard Kiswahili 40.5%, numerous indigenous languages"}},
    )
    (tmp_path / "factbook/africa/ke.json").write_text(json.dumps(kenya))
    (tmp_path / "factbook/africa/zz.json").write_text(json.dumps(country("none")))
    (tmp_path / "factbook/oceans/oo.json").write_text(json.dumps({"Geography": {"Location": {"text": "the south"}}}))
    return home


@pytest.fixture
def items(folders, tmp_path):
    run(Recipe("knowledge", 1), lambda: knowledge.jobs(folders), tmp_path)
    return {item.id: item for item in read("knowledge", tmp_path)}


def test_a_thing_means_what_its_emoji_draws_and_not_what_the_word_means_first(items):
    asked = {
        item.caption: (item.questions[0].ask, item.questions[0].answer) for item in items.values() if item.group == "things"
    }
    assert asked == {
        "seal": ("What is a seal?", "Any of numerous marine mammals."),
        "cat": ("What is a cat?", "Feline mammal with soft fur."),
        "dog": ("What is a dog?", "A member of the genus Canis."),
        "bread": ('What does "bread" mean?', "Food made from dough of flour or meal."),
    }


def test_a_country_is_asked_for_what_lasts_without_numbers_and_remarks(items):
    kenya = items["countries/kenya"]
    assert {qa.type: qa.answer for qa in kenya.questions} == {
        "location": "Eastern Africa, by the sea.",
        "capital": "Nairobi.",
        "borders": "Ethiopia, South Sudan.",
        "languages": "English, Standard Kiswahili.",
    }
    assert kenya.read().decode() == kenya.text
    assert kenya.text.startswith("Kenya: Eastern Africa, by the sea. Capital: Nairobi. Borders: Ethiopia, South Sudan.")
    assert [item.id for item in items.values() if item.group == "countries"] == ["countries/kenya"]


def test_splits_are_those_of_the_pictures(items):
    assert "dog" in exclusions()
    assert items["things/dog"].split == "excluded"
    assert items["countries/kenya"].split == split_of("kenya")
    assert {item.modality for item in items.values()} == {"text"}


def test_an_asset_that_lacks_something_is_refused(folders):
    assert list(emoji.labels(folders["emojibase"]))
    (folders["factbook"] / "africa/ke.json").unlink()
    with pytest.raises(DataError, match="no country"):
        knowledge.jobs(folders)
    (folders["emojibase"] / "en/data.json").unlink()
    with pytest.raises(DataError, match="lacks"):
        knowledge.jobs(folders)
