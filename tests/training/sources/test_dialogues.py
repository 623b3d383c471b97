"""LLaVA's and ShareGPT's rows: media stand where they are written, and a wrong count is never guessed away."""

from __future__ import annotations

import json
import random

import pytest

from polymodal.content import Part, assistant, image, system, user
from polymodal.errors import DataError
from polymodal.training.sources import build_source

RNG = random.Random(0)


def source(folder, kind, *rows, name="mix.json", **options):
    text = json.dumps(rows) if name.endswith(".json") else "".join(json.dumps(row) + "\n" for row in rows)
    (folder / name).write_text(text)
    return build_source("mine", {"kind": kind, "path": str(folder / name), **options})


def turns(*said, keys=("from", "value"), roles=("human", "gpt")):
    return [dict(zip(keys, (roles[i % 2], words), strict=True)) for i, words in enumerate(said)]


@pytest.mark.parametrize("name", ["mix.json", "mix.jsonl"])
def test_a_llava_row_is_a_conversation_with_its_picture_in_place(tmp_path, name):
    row = {"id": "1", "image": "a/1.jpg", "conversations": turns("<image>\nWhat?", "A cat.", "Where?", "Here.")}
    sample = source(tmp_path, "llava", row, name=name).sample(0, RNG)
    picture = image(str(tmp_path / "a/1.jpg"))
    assert sample.messages == [user(picture, "What?"), assistant("A cat."), user("Where?"), assistant("Here.")]
    assert sample.name == f"{name}:1"


@pytest.mark.parametrize(
    ("value", "parts"),
    [
        ("What?\n<image>", ["What?", 0]),
        ("<image>\n<image>\nCompare.", [0, 1, "Compare."]),
        ("First <image> then <image>.", ["First ", 0, " then ", 1, "."]),
        ("<image>", [0]),
    ],
)
def test_any_number_of_pictures_stand_where_they_are_written(tmp_path, value, parts):
    pictures = ["1.jpg", "2.jpg"][: value.count("<image>")]
    row = {"images": pictures, "conversations": turns(value, "Yes.")}
    wanted = [image(str(tmp_path / pictures[p])) if isinstance(p, int) else p for p in parts]
    assert source(tmp_path, "llava", row).sample(0, RNG).messages[0] == user(*wanted)


def test_recordings_and_clips_have_their_own_fields(tmp_path):
    row = {"video": "v.mp4", "audio": ["a.wav"], "conversations": turns("<video><audio>Same?", "No.")}
    first = source(tmp_path, "llava", row).sample(0, RNG).messages[0]
    assert first == user(
        Part("video", media=str(tmp_path / "v.mp4")), Part("audio", media=str(tmp_path / "a.wav")), "Same?"
    )


def test_media_lie_in_their_folder(tmp_path):
    row = {"image": "1.jpg", "conversations": turns("<image>", "x")}
    for folder, place in (("pictures", tmp_path / "pictures/1.jpg"), ("/far", "/far/1.jpg")):
        assert source(tmp_path, "llava", row, media=folder).sample(0, RNG).messages[0] == user(image(str(place)))
    absolute = {"image": "/far/1.jpg", "conversations": turns("<image>", "x")}
    assert source(tmp_path, "llava", absolute).sample(0, RNG).messages[0] == user(image("/far/1.jpg"))


def test_a_row_without_media_is_text(tmp_path):
    row = {"image": None, "conversations": [{"from": "system", "value": "Be brief."}, *turns("Hi", "Hello")]}
    assert source(tmp_path, "llava", row).sample(0, RNG).messages == [system("Be brief."), user("Hi"), assistant("Hello")]


@pytest.mark.parametrize("keys", [("from", "value"), ("role", "content")])
@pytest.mark.parametrize("field", ["conversations", "messages"])
def test_sharegpt_is_read_in_all_its_spellings(tmp_path, keys, field):
    roles = ("human", "gpt") if keys[0] == "from" else ("user", "assistant")
    row = {field: turns("<image>Who?", "Kane.", keys=keys, roles=roles), "images": ["1.jpg"], "system": "Be brief."}
    wanted = [system("Be brief."), user(image(str(tmp_path / "1.jpg")), "Who?"), assistant("Kane.")]
    assert source(tmp_path, "sharegpt", row).sample(0, RNG).messages == wanted


GOOD = turns("<image>What?", "x")
BAD = {
    "too many pictures": ({"images": ["1", "2"], "conversations": GOOD}, "1 <image> in its turns, but 2 images"),
    "too few pictures": ({"conversations": turns("<image><image>", "x"), "image": "1"}, "2 <image>.*but 1 image "),
    "no picture": ({"conversations": GOOD}, "1 <image>.*but 0 images in 'image' or 'images'"),
    "no placeholder": ({"image": "1", "conversations": turns("What?", "x")}, "0 <image>.*but 1 image "),
    "unheard": ({"audio": "1", "image": "1", "conversations": GOOD}, "0 <audio>.*but 1 audio "),
    "role": ({"conversations": [{"from": "humn", "value": "x"}]}, "turn 1: from 'humn'.*did you mean 'human'"),
    "tools": ({"conversations": [{"from": "function_call", "value": "x"}]}, "turn 1: .*not supported"),
    "no value": ({"conversations": [{"from": "human"}]}, "turn 1: field 'value' is missing"),
    "no text": ({"conversations": [{"from": "human", "value": 3}]}, "turn 1: field 'value' must be a string"),
    "no turn": ({"conversations": ["x"]}, "turn 1 must be an object"),
    "no turns": ({"conversations": []}, "'conversations' must be a non-empty list"),
    "no field": ({"conversation": []}, "'conversations' is missing.*it has: conversation"),
    "no object": (["x"], "must be an object"),
    "no path": ({"image": 3, "conversations": GOOD}, "'image' must be a path"),
}


@pytest.mark.parametrize("kind", ["llava", "sharegpt"])
@pytest.mark.parametrize("case", BAD)
def test_a_bad_row_names_itself_its_field_and_both_numbers(tmp_path, case, kind):
    row, said = BAD[case]
    fine = {"conversations": turns("Hi", "Hello")}
    with pytest.raises(DataError, match=rf"mix.json:2: .*{said}") as caught:
        source(tmp_path, kind, fine, row).sample(1, RNG)
    assert "\n" not in str(caught.value)


def test_a_llava_file_given_as_messages_says_what_it_is(tmp_path):
    with pytest.raises(DataError, match="'messages' is missing.*of kind 'llava'"):
        source(tmp_path, "messages", {"image": "1", "conversations": GOOD}).sample(0, RNG)
