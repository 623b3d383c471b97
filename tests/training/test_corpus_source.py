"""Corpus items as conversations with their own questions, typed and spoken."""

from __future__ import annotations

import io
import json
import random

import numpy as np
import pytest
from PIL import Image

from polymodal.content import MODALITIES
from polymodal.corpora import QA, Item
from polymodal.corpora.items import Box
from polymodal.corpora.shards import Place
from polymodal.errors import DataError, RecipeError
from polymodal.training.sources import build_source
from polymodal.training.sources.corpus import grid, middles
from polymodal.training.sources.mixed import CALLED

COMMON = {"caption": "x", "concept": "x", "source": "tiny", "vendor": "v", "licence": "CC0-1.0", "concept_split": "train"}
QUESTIONS = [QA(ask=f"question {n}?", answer=f"Answer {n}.", type="what") for n in range(4)]


def png(width, height):
    file = io.BytesIO()
    Image.new("L", (width, height)).save(file, "PNG")
    return file.getvalue()


def boxes(n):
    """In a picture of 2n x n, where they stand in one of 224 x 224."""
    found = {"cat": (0, 0, 120, 60), "sun": (150, 150, 224, 224)}
    return [Box(name=k, xyxy=(a * n // 112, b * n // 224, c * n // 112, d * n // 224)) for k, (a, b, c, d) in found.items()]


@pytest.fixture
def corpora(tmp_path, monkeypatch):
    """The corpora `scenes` (two pictures, a text), `bare` (no questions), `boxed` (what stands where) and `voices`
    (questions 1 and 2, spoken twice)."""

    def item(id, modality, split="train", content=None, **fields):
        file, content = tmp_path / f"{id}.bin", content or id.encode()
        file.write_bytes(content)
        place = Place(str(file), 0, len(content))
        return Item(id=id, modality=modality, file=f"{id}.bin", split=split, place=place, **COMMON, **fields)

    found = {
        "scenes": [
            item("many", "image", questions=QUESTIONS),
            item("one", "image", questions=QUESTIONS[:1]),
            item("typed", "text", questions=QUESTIONS[3:]),
        ],
        "bare": [item("silent", "image")],
        "boxed": [item(f"wide-{n}", "image", content=png(2 * n, n), boxes=boxes(n)) for n in (56, 112)],
        "voices": [item(f"{v}{n}", "audio", text=f"question {n}?", voice=v) for n in (1, 2) for v in ("amy", "joe")]
        + [item("later", "audio", split="test", text="question 3?")],
    }
    monkeypatch.setattr("polymodal.corpora.read", found.__getitem__)


def shape(sample):
    """[(role, [part types])] of a sample."""
    return [(message.role, [part.type for part in message.parts]) for message in sample.messages]


def test_without_templates_an_item_is_asked_its_own_questions(corpora):
    source = build_source("x", {"kind": "corpus", "corpus": "scenes"})
    asked = set()
    for seed in range(40):
        sample = source.sample(0, random.Random(seed))
        assert shape(sample) == [("user", ["image", "text"]), ("assistant", ["text"])]
        question, answer = sample.messages[0].parts[1].text, sample.messages[1].parts[0].text
        assert (question, answer) in [(qa.ask, qa.answer) for qa in QUESTIONS]
        asked.add(question)
    assert len(asked) == len(QUESTIONS)


def test_turns_are_asked_in_order_and_show_the_picture_once(corpora):
    source = build_source("x", {"kind": "corpus", "corpus": "scenes", "turns": 3})
    sample = source.sample(0, random.Random(0))
    pair = [("user", ["text"]), ("assistant", ["text"])]
    assert shape(sample) == [("user", ["image", "text"]), pair[1], *pair, *pair]
    numbers = [int(message.parts[-1].text[-2]) for message in sample.messages]
    assert numbers[::2] == numbers[1::2] == sorted(set(numbers))
    assert len(source.sample(1, random.Random(0)).messages) == 2


def test_a_text_item_is_its_question_alone(corpora):
    sample = build_source("x", {"kind": "corpus", "corpus": "scenes"}).sample(2, random.Random(0))
    assert shape(sample) == [("user", ["text"]), ("assistant", ["text"])]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"corpus": "bare"}, "'bare'.*questions of their own.*templates"),
        ({"corpus": "scenes", "turns": 0}, "turns: 0"),
        ({"corpus": "scenes", "turns": 2, "templates": [{"ask": "a", "answer": "b"}]}, "turns: 2"),
    ],
)
def test_what_cannot_be_asked_is_refused(corpora, options, named):
    with pytest.raises((DataError, RecipeError), match=named):
        build_source("x", {"kind": "corpus", **options})


def spoken(**options):
    return build_source(
        "x", {"kind": "spoken", "of": {"kind": "corpus", "corpus": "scenes"}, "corpus": "voices", **options}
    )


def test_a_spoken_question_is_a_recording_of_the_same_words(corpora):
    source, heard = spoken(), set()
    for seed in range(40):
        sample = source.sample(0, random.Random(seed))
        assert shape(sample) == [("user", ["image", "audio"]), ("assistant", ["text"])]
        voice, number = sample.messages[0].parts[1].media[:3], sample.messages[0].parts[1].media[3:]
        assert sample.messages[1].parts[0].text == f"Answer {number.decode()}."
        heard.add((voice, number))
    assert heard == {(voice, number) for voice in (b"amy", b"joe") for number in (b"1", b"2")}


def test_a_sample_without_a_recording_is_passed_over_or_kept_typed(corpora):
    assert spoken().sample(1, random.Random(0)).name.startswith("scenes:many")
    kept = spoken(missing="keep").sample(1, random.Random(0))
    assert shape(kept) == [("user", ["image", "text"]), ("assistant", ["text"])]


def test_the_same_place_gives_the_same_spoken_sample(corpora):
    one, two = (spoken().sample(1, random.Random(5)) for _ in range(2))
    assert one.messages == two.messages


def test_recordings_of_another_split_are_not_heard(corpora):
    sample = spoken(split="test").sample(0, random.Random(0))
    assert sample.messages[0].parts[-1].media == b"later"


def test_a_source_without_any_recorded_question_is_refused(corpora, monkeypatch):
    with pytest.raises(DataError, match="no recording of split 'val'"):
        spoken(split="val")
    with pytest.raises(DataError, match="no question of its source is recorded in the corpus 'voices'"):
        spoken(of={"kind": "corpus", "corpus": "scenes", "where": {"id": ["one"]}})


def joined(**options):
    repeat = [{"ask": "Repeat.", "answer": "{text}"}]
    return build_source(
        "x", {"kind": "joined", "of": {"kind": "corpus", "corpus": "spoken", "templates": repeat}, **options}
    )


@pytest.fixture
def recordings(corpora, monkeypatch):
    """A corpus of three recordings, of 1, 2 and 3 tenths of a second, each as loud as it is long."""
    from polymodal import corpora as built

    class Recording(built.Item):
        def read(self):
            seconds = int(self.id) / 10
            return (np.full(int(seconds * 16000), seconds, np.float32), 16000)

    common = {"modality": "audio", "caption": "", "concept": "c", "split": "train", "concept_split": "train"}
    named = {"group": "", "source": "s", "vendor": "v", "licence": "l"}
    items = [Recording(id=str(n), file=f"{n}.wav", text=f"Take {n}.", **common, **named) for n in (1, 2, 3)]
    monkeypatch.setattr(built, "read", lambda name: items)


def test_joined_recordings_are_all_heard_and_all_answered_in_their_order(recordings):
    source, counts = joined(most=3, pause=0.2), set()
    for seed in range(20):
        sample = source.sample(1, random.Random(seed))
        assert shape(sample) == [("user", ["audio", "text"]), ("assistant", ["text"])]
        samples, rate = sample.messages[0].parts[0].media
        said = [int(word[:-1]) for word in sample.messages[1].parts[0].text.split()[1::2]]
        loud = samples[samples > 0]
        turns = [loud[0], *loud[1:][np.diff(loud) != 0]]
        assert len(loud) == sum(said) * rate // 10
        assert np.allclose(turns, [n / 10 for i, n in enumerate(said) if i == 0 or n != said[i - 1]])
        assert len(samples) - len(loud) <= 0.2 * rate * (len(said) - 1)
        assert said[0] == 2
        counts.add(len(said))
    assert counts == {2, 3}


def test_the_same_place_gives_the_same_joined_recording(recordings):
    one, two = (joined().sample(0, random.Random(3)) for _ in range(2))
    assert one.messages[1] == two.messages[1]
    assert np.array_equal(one.messages[0].parts[0].media[0], two.messages[0].parts[0].media[0])


def test_what_is_joined_again_was_heard_before(recordings):
    texts = [joined(most=3, again=1.0).sample(1, random.Random(seed)).messages[1].parts[0].text for seed in range(10)]
    assert set(texts) == {"Take 2. Take 2.", "Take 2. Take 2. Take 2."}
    some = {joined(most=4, again=0.5).sample(1, random.Random(seed)).messages[1].parts[0].text for seed in range(40)}
    assert any(len(set(text.split("Take"))) < text.count("Take") + 1 for text in some)  # some of it was
    assert any(len(set(text.split("Take"))) > 2 for text in some)  # and some was not


def test_what_is_joined_alike_begins_as_what_stands_before_it(recordings, monkeypatch):
    from polymodal import corpora as built

    said = ("We try again.", "It is over.", "we Try harder.")
    items = [item.model_copy(update={"text": text}) for item, text in zip(built.read("spoken"), said, strict=True)]
    monkeypatch.setattr(built, "read", lambda name: items)
    source = joined(most=2, alike=1.0)
    heard = {i: {source.sample(i, random.Random(seed)).messages[1].parts[0].text for seed in range(20)} for i in (0, 1, 2)}
    assert heard[0] == {"We try again. we Try harder."}
    assert heard[2] == {"we Try harder. We try again."}
    assert len(heard[1]) == 3  # nothing else begins so: any may follow
    some = {joined(most=2, alike=0.5).sample(0, random.Random(seed)).messages[1].parts[0].text for seed in range(40)}
    assert len(some) == 3


def test_what_is_no_recording_is_not_joined(corpora):
    source = build_source("x", {"kind": "joined", "of": {"kind": "corpus", "corpus": "scenes"}})
    with pytest.raises(DataError, match="'joined'.*is not a question about one recording"):
        source.sample(0, random.Random(0))


def test_a_thing_is_named_once_in_the_cell_of_its_middle():
    boxes = [Box(name="nearest ring", xyxy=(0, 0, 100, 100)), Box(name="farthest mug", xyxy=(160, 100, 224, 224))]
    assert middles(boxes, 3, (224, 224)) == ["nearest ring", ".", ".", ".", ".", ".", ".", ".", "farthest mug"]
    assert grid(boxes, 3, (224, 224)).count("nearest ring") == 1  # by what the middle of a cell shows
    assert grid(boxes, 3, (224, 224))[5] == "farthest mug"


@pytest.fixture
def senses(monkeypatch):
    """Corpora `image`, `audio` and `depth` of two items each with two questions of their own."""
    from polymodal import corpora as built

    class Shown(built.Item):
        def read(self):
            return self.id

    def items(name):
        asked = [QA(ask=f"{name} {n}?", answer=f"{name} {n}.", type="what") for n in range(2)]
        return [
            Shown(id=f"{name}-{n}", modality=name, file="x.bin", split="train", questions=asked, **COMMON) for n in range(2)
        ]

    monkeypatch.setattr(built, "read", items)


def mixed(*names, **options):
    return build_source("x", {"kind": "mixed", "of": [{"kind": "corpus", "corpus": name} for name in names], **options})


def test_of_several_media_each_is_asked_about_by_what_it_is_called(senses):
    source, shown, asked = mixed("image", "audio", "depth"), set(), set()
    assert len(source) == 6
    for seed in range(40):
        messages = source.sample(seed % 6, random.Random(seed)).messages
        media = [part.type for part in messages[0].parts if part.type != "text"]
        assert len(set(media)) == len(media) == len(messages) // 2 >= 2
        assert all(part.type == "text" for message in messages[1:] for part in message.parts)
        turns = [(a.parts[-1].text, b.parts[0].text) for a, b in zip(messages[::2], messages[1::2], strict=True)]
        for question, answer in turns:
            called, own = question.removeprefix("About the ").split(": ")
            assert {"picture": "image", "recording": "audio", "depth map": "depth"}[called] == own.split()[0]
            assert answer == own.replace("?", ".")
        assert {answer.split()[0] for _, answer in turns} == set(media)
        shown.add(tuple(media))
        asked.add(tuple(answer.split()[0] for _, answer in turns))
    assert len(shown) > 6  # in any order, and by twos and threes
    assert len(asked) > 6


def test_the_same_place_gives_the_same_mixed_conversation(senses):
    one, two = (mixed("image", "audio", "depth").sample(4, random.Random(3)) for _ in range(2))
    assert one == two


def test_what_cannot_be_told_apart_is_not_mixed(senses):
    with pytest.raises(RecipeError, match="'of' is a list of two recipes"):
        mixed("image")
    with pytest.raises(DataError, match="of image:image-., image:image-. two have the same modality"):
        mixed("image", "image").sample(0, random.Random(1))


def test_what_begins_with_no_question_is_not_mixed(senses, tmp_path):
    rows = {
        "document": [{"role": "document", "content": [{"type": "image", "image": "x.png"}, "a cat"]}],
        "system": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What?"}],
    }
    for name, messages in rows.items():
        (tmp_path / f"{name}.jsonl").write_text(json.dumps({"messages": messages}) + "\n")
        other = {"kind": "messages", "path": str(tmp_path / f"{name}.jsonl")}
        source = build_source("x", {"kind": "mixed", "of": [other, {"kind": "corpus", "corpus": "audio"}]})
        with pytest.raises(DataError, match="does not begin with a question and its answer"):
            source.sample(0, random.Random(0))


def test_every_modality_is_called_something():
    assert CALLED.keys() == set(MODALITIES)


def test_cells_say_what_stands_in_the_middle_of_each_part_of_a_picture(corpora):
    def cells(**more):
        templates = [{"ask": "", "answer": "{cells}"}]
        source = build_source("x", {"kind": "corpus", "corpus": "boxed", "templates": templates, **more})
        one, other = (source.sample(i, random.Random(0)).messages[1].text.split("\n") for i in range(2))
        assert one == other  # boxes are in the picture's own pixels, however many it has
        return one

    assert cells() == ["cat", "cat", ".", ".", ".", ".", ".", ".", "sun"]
    assert cells(cells=2) == ["cat", ".", ".", "sun"]
    assert len(cells(cells=7)) == 49
    with pytest.raises(RecipeError, match="cells"):
        cells(cells=0)
