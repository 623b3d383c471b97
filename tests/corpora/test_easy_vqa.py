from __future__ import annotations

import json

import pytest

from polymodal.corpora import easy_vqa, read
from polymodal.corpora.building import Recipe, run
from polymodal.errors import DataError

from .test_shards import png

ASKED = [["what color is the shape?", "blue"], ["is there not a circle?", "no"], ["what shape is it?", "circle"]]


@pytest.fixture
def package(tmp_path):
    for part, count in (("train", 21), ("test", 2)):
        home = tmp_path / "easy-vqa" / part
        (home / "images").mkdir(parents=True)
        (home / "questions.json").write_text(json.dumps([[*asked, n] for asked in ASKED for n in range(count)]))
        for number in range(count):
            (home / "images" / f"{number}.png").write_bytes(png(number if part == "train" else 100 + number))
    return tmp_path / "easy-vqa"


def test_it_is_as_shipped_but_for_every_twentieth_training_picture(package, tmp_path):
    run(Recipe("easy-vqa", 1), lambda: easy_vqa.jobs({"easy-vqa": package}), tmp_path)
    items = {item.id: item for item in read("easy-vqa", tmp_path)}
    assert len(items) == 23
    assert [id for id, item in items.items() if item.split == "val"] == ["train-0000", "train-0020"]
    assert [id for id, item in items.items() if item.split == "test"] == ["test-0000", "test-0001"]
    one = items["train-0007"]
    assert [[qa.ask, qa.answer] for qa in one.questions] == ASKED
    assert [qa.type for qa in one.questions] == ["color", "exists", "shape"]
    assert one.caption == "a blue circle"
    assert one.read() == png(7)


@pytest.mark.parametrize(
    ("asked", "caption"),
    [
        ([("is there a red shape?", "yes"), ("is there a circle?", "no")], "a red shape"),
        ([("does the image not contain a teal shape?", "no")], "a teal shape"),
        ([("what is the blue shape?", "rectangle")], "a blue rectangle"),
        ([("is there not a circle?", "yes")], "a shape"),
    ],
)
def test_a_caption_says_what_the_answers_prove(asked, caption):
    assert easy_vqa.describe(asked) == caption


def test_a_package_without_questions_is_named(package):
    (package / "test" / "questions.json").unlink()
    with pytest.raises(DataError, match=r"test/questions.json is no list of questions"):
        easy_vqa.jobs({"easy-vqa": package})
