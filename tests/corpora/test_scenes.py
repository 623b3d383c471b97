"""Sticker scenes: what is asked is true of the picture, and words alone do not tell."""

from __future__ import annotations

import io
import random
import re
from collections import Counter, defaultdict

import pytest
from PIL import Image

from polymodal.corpora import concept, scenes, split_of
from polymodal.corpora.emoji import HELD_OUT
from polymodal.corpora.grammar import NUMBERS, plural, with_article
from polymodal.corpora.scene_pictures import LAYOUTS, LAYOUTS_OF, SIDE, draw, stickers
from polymodal.corpora.scene_questions import WHERE, spoken_questions
from polymodal.corpora.scene_things import COLORS, THINGS, UNSEEN_WORDS, WORDS
from polymodal.errors import DataError

ART = {name: Image.new("RGBA", (90 + 7 * (i % 6), 100), "teal") for i, name in enumerate(sorted(THINGS))}


@pytest.fixture(scope="module")
def plans():
    return [scenes.plan(kind, ART, random.Random(f"{kind}/{n}")) for n in range(150) for kind in scenes.KINDS]


def asked(plans, *types):
    return [(scene, qa) for scene in plans for qa in scene.questions if qa.type in types]


def at(scene, name):
    return next(thing for thing in scene.things if thing.name == name)


def test_everything_shown_is_of_a_trained_concept():
    assert 150 <= len(THINGS) <= 200
    assert {split_of(concept(name)) for pair in THINGS.items() for name in pair} == {"train"}
    assert not set(WORDS) & set(UNSEEN_WORDS)


def test_things_are_large_lie_within_the_page_and_never_overlap(plans):
    for scene in plans:
        for i, thing in enumerate(scene.things):
            left, top, right, bottom = thing.xyxy
            assert 0 <= left < right <= SIDE
            assert 0 <= top < bottom <= SIDE
            assert scenes.SMALL <= thing.side <= scenes.LARGE
            for other in scene.things[:i]:
                a, b, c, d = other.xyxy
                assert right <= a or c <= left or bottom <= b or d <= top


def test_every_layout_has_room_for_its_number():
    for number, layouts in LAYOUTS_OF.items():
        assert all(len(LAYOUTS[layout]) >= number for layout in layouts)
        assert all(place in WHERE for layout in layouts for place in LAYOUTS[layout])


def test_a_scene_is_asked_three_to_five_questions_of_its_options(plans):
    for scene in plans:
        assert 3 <= len(scene.questions) <= 5
        assert len({qa.ask for qa in scene.questions}) == len(scene.questions)
        assert all(len(set(qa.options)) == len(qa.options) for qa in scene.questions)


def test_names_and_places_are_true(plans):
    for scene, qa in asked(plans, "what", "shape"):
        if (place := re.fullmatch(r"What (?:shape )?is (.+)\?", qa.ask)) and place[1] in WHERE.values():
            (thing,) = [thing for thing in scene.things if WHERE[thing.place] == place[1]]
        else:
            (thing,) = scene.things
        assert qa.answer == f"It is {with_article(thing.name)}."
    for scene, qa in asked(plans, "where"):
        name = re.fullmatch(r"Where is the (.+)\?", qa.ask)[1]
        assert qa.answer == f"The {name} is {WHERE[at(scene, name).place]}."


def test_counts_are_true(plans):
    for scene, qa in asked(plans, "count"):
        name = re.fullmatch(r"How many (.+) are there\?", qa.ask)[1]
        number = sum(name in ("things", plural(thing.name)) for thing in scene.things)
        assert f" {NUMBERS[number]} " in qa.answer


def test_colors_are_true(plans):
    for scene, qa in asked(plans, "color", "background"):
        name = re.fullmatch(r"What color (?:is the|are the) (.+)\?", qa.ask)[1]
        color = {"background": scene.background, "letters": scene.ink}.get(name) or at(scene, name).color
        assert qa.answer.endswith(f" {color}.")
        assert name == "background" or color != scene.background or scene.word


def test_relations_are_true(plans):
    for scene, qa in asked(plans, "side"):
        one, relation, other = re.fullmatch(r"The (.+) is (left of|right of|above|below) the (.+)\.", qa.answer).groups()
        axis = 0 if relation in ("left of", "right of") else 1
        before = at(scene, one).xyxy[axis] < at(scene, other).xyxy[axis]
        assert before == (relation in ("left of", "above"))
    for scene, qa in asked(plans, "bigger"):
        sizes = {f"The {thing.name} is ": (thing.side, thing.area) for thing in scene.things}
        pick = max if "bigger" in qa.ask else min
        assert qa.answer.startswith(pick(sizes, key=sizes.__getitem__))
        assert pick(size[0] for size in sizes.values()) == sizes[re.match(r"The .+ is ", qa.answer)[0]][0]


def test_what_exists_is_there_and_what_does_not_is_not(plans):
    for scene, qa in asked(plans, "exists"):
        there = qa.ask[len("Is there ") : -1] in {with_article(thing.name) for thing in scene.things}
        assert qa.answer.startswith("Yes" if there else "No")


def test_no_answer_is_likelier_than_another_before_the_picture_is_seen(plans):
    places = defaultdict(Counter)
    for _, qa in asked(plans, "what", "exists", "side", "bigger", "shape", "background", "count"):
        places[qa.type, len(qa.options)][qa.options.index(qa.answer)] += 1
    assert {type for type, _ in places} == {"what", "exists", "side", "bigger", "shape", "background", "count"}
    for (type, size), found in places.items():
        total = sum(found.values())
        deviation = (total * (1 / size) * (1 - 1 / size)) ** 0.5
        assert len(found) == size, type
        assert all(abs(n - total / size) < 4 * deviation for n in found.values()), (type, found)


def test_unseen_words_are_written_in_the_test_alone():
    words = {split: {scenes.plan("word", ART, random.Random(n), split).word for n in range(60)} for split in scenes.SIZES}
    assert words["train"] <= set(WORDS)
    assert words["test"] & set(UNSEEN_WORDS)
    assert words["test"] & set(WORDS)


def test_a_shape_is_drawn_in_its_color_inside_its_box():
    scene = next(
        s for s in (scenes.plan("shapes", ART, random.Random(n)) for n in range(99)) if s.things[0].name == "circle"
    )
    picture = Image.open(io.BytesIO(draw(scene.background, scene.things, ART, random.Random(0))))
    for thing in scene.things:
        left, top, right, bottom = thing.xyxy
        assert picture.getpixel(((left + right) // 2, (top + bottom) // 2 + 5)) == COLORS[thing.color]
    left, top, right, bottom = scene.things[0].xyxy
    assert picture.getpixel((left, top)) != COLORS[scene.things[0].color]


@pytest.fixture
def few(monkeypatch):
    monkeypatch.setattr(scenes, "stickers", lambda vendor, folders: ART)
    monkeypatch.setattr(scenes, "SIZES", {"train": 16, "test": 8, "held-out": 12})
    return scenes.jobs({})


def test_openmoji_is_held_out_and_nothing_else_is(few):
    items = [item for job in few for item in job.items]
    assert len({item.id for item in items}) == 36
    assert {item.vendor for item in items if item.split == "held-out"} == {HELD_OUT}
    assert HELD_OUT not in {item.vendor for item in items if item.split != "held-out"}
    assert all(len(item.boxes) == 0 or item.group != "word" for item in items)


def test_a_scene_is_the_same_bytes_every_time(few):
    for one, two in zip(few[:16], scenes.jobs({}), strict=False):
        assert one.items == two.items
        assert list(one.make()) == list(two.make())


def test_a_sticker_is_cut_to_what_is_visible(emoji_packages, monkeypatch):
    monkeypatch.setattr("polymodal.corpora.scene_pictures.THINGS", {"sun": "sun"})
    for vendor in (*scenes.VENDORS, HELD_OUT):
        sticker = stickers(vendor, emoji_packages)["sun"]
        assert sticker.size == (64, 48)  # of a drawing of 4 x 3 in a box of 8 x 8
        assert sticker.getchannel("A").getextrema() == (255, 255)


def test_a_vendor_that_lacks_a_drawing_is_refused_by_name(emoji_packages):
    with pytest.raises(DataError, match="noto has no drawing of 'monkey'"):
        stickers("noto", emoji_packages)


def test_questions_worth_speaking_are_those_that_are_asked(plans):
    spoken = spoken_questions()
    assert len(spoken) == len(set(spoken)) <= 250
    assert {qa.ask for scene in plans for qa in scene.questions} >= set(spoken[:5])
    assert all(any(qa.ask in spoken for qa in scene.questions) for scene in plans[:8])


@pytest.mark.parametrize(
    ("name", "article", "many"),
    [
        ("owl", "an owl", "owls"),
        ("unicorn", "a unicorn", "unicorns"),
        ("butterfly", "a butterfly", "butterflies"),
        ("toy", "a toy", "toys"),
        ("box", "a box", "boxes"),
        ("jellyfish", "a jellyfish", "jellyfish"),
        ("snowman", "a snowman", "snowmen"),
        ("kitchen knife", "a kitchen knife", "kitchen knives"),
        ("piece of cheese", "a piece of cheese", "pieces of cheese"),
    ],
)
def test_articles_and_plurals(name, article, many):
    assert (with_article(name), plural(name)) == (article, many)
