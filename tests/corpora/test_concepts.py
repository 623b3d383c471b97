from __future__ import annotations

import csv

import pytest

from polymodal.corpora import concepts
from polymodal.corpora.concepts import concept, exclusions, photos, split_of, withheld
from polymodal.corpora.items import CATEGORIES


@pytest.mark.parametrize(
    ("caption", "key"),
    [
        ("A dog.", "dog"),
        ("dogs", "dog"),
        ("dog face", "dog"),
        ("The DOG!", "dog"),
        ("A pair of cherries.", "cherry"),
        ("A bunch of grapes.", "grape"),
        ("An albino peahen (a female peafowl, or peacock).", "albino peahen"),
        ("woman running: medium-dark skin tone", "running"),
        ("man running facing right", "running"),
        ("person running", "running"),
        ("man: red hair", "red hair"),
        ("woman and man holding hands", "woman and man holding hand"),
        ("flag: Kenya", "kenya"),
        ("1st place medal", "place medal"),
        ("keycap: 7", "7"),
        ("OpenMoji bus", "bus"),
        ("A plumber\u2019s wrench.", "plumbers wrench"),
        ("Tankers carry bulk liquids.", "tankers carry bulk liquid"),
        ("???", "???"),
    ],
)
def test_captions_of_one_thing_have_one_key(caption, key):
    assert concept(caption) == key


@pytest.mark.parametrize("word", ["bus", "grass", "iris", "chess", "cactus", "gas"])
def test_an_s_that_is_no_plural_stays(word):
    assert concept(word) == word


def test_a_key_is_its_own_key():
    keys = {photo.concept for photo in photos()}
    assert {concept(key) for key in keys} == keys


def test_splits_never_move():
    # pinned: a change would put concepts of published evaluations into training
    pinned = {"eagle": "train", "moose": "train", "fish": "val", "leopard": "test", "dog": "excluded"}
    assert {key: split_of(key) for key in pinned} == pinned


def test_splits_have_their_shares():
    splits = [split_of(f"thing number {letter}{other}") for letter in map(chr, range(97, 123)) for other in range(200)]
    shares = {name: splits.count(name) / len(splits) for name in ("train", "val", "test")}
    assert shares["train"] == pytest.approx(0.85, abs=0.02)
    assert shares["val"] == pytest.approx(0.05, abs=0.01)
    assert shares["test"] == pytest.approx(0.10, abs=0.02)


def test_the_photographs_are_206_of_twelve_classes():
    assert len(photos()) == len({photo.file for photo in photos()}) == 206
    assert {photo.category for photo in photos()} == set(CATEGORIES)


def test_what_a_photograph_shows_is_excluded_under_every_name_listed():
    with concepts.files("polymodal.corpora").joinpath("photos12.csv").open(encoding="utf-8") as table:
        rows = list(csv.DictReader(table))
    names = [name for row in rows for name in (row["concept"], *filter(None, row["also"].split(";")))]
    assert len(names) > 206
    assert {split_of(concept(name)) for name in names} == {"excluded"}
    assert "tangerine" in exclusions()  # the photograph is captioned "A mandarin orange."


def test_about_a_quarter_is_withheld_and_always_the_same():
    found = [withheld(f"model {n}") for n in range(2000)]
    assert 0.22 < sum(found) / len(found) < 0.28
    assert found == [withheld(f"model {n}") for n in range(2000)]
