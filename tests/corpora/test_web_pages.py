"""Web pages: answers and boxes are those of what is drawn, and words, fonts and layouts are held out."""

from __future__ import annotations

import random
import re
import sys
from collections import Counter, defaultdict

import numpy as np
import pytest

from polymodal.corpora import web_page_html, web_pages
from polymodal.corpora.building import Recipe, run
from polymodal.corpora.grammar import NUMBERS
from polymodal.corpora.items import read
from polymodal.corpora.scene_questions import WHERE
from polymodal.corpora.scene_things import COLORS
from polymodal.errors import DataError
from polymodal.media.image import load_image


@pytest.fixture(scope="module")
def planned():
    made = []
    for number in range(400):
        rng = random.Random(number)
        split = ("train", "held-out")[number % 2]
        page = web_pages.plan(split, rng)
        pool = web_pages.HELD_OUT_NOUNS if split == "held-out" else web_pages.NOUNS
        made.append((split, page, web_pages.ask(page, pool, rng)))
    return made


@pytest.fixture
def few(monkeypatch):
    pytest.importorskip("blitz_py")
    monkeypatch.setattr(web_pages, "SIZES", {"train": 4, "held-out": 2})


def test_a_page_is_asked_what_it_shows(planned):
    seen = set()
    for _, page, asked in planned:
        seen |= {qa.type for qa in asked}
        answers = {qa.type: qa.answer for qa in asked}
        asks = {qa.type: qa.ask for qa in asked}
        assert answers["heading"] == f"It says {page.heading.lower()}."
        assert answers["button"] == f"It says {page.button.lower()}."
        assert answers["item"] == f"It is {page.menu[-1 if 'last' in asks['item'] else 0]}."
        assert answers["menu"] == f"There are {NUMBERS[len(page.menu)]} items."
        assert answers["color"] == f"It is {page.color}."
        assert answers["picture"] == f"The picture is {WHERE[page.place]}."
        assert answers["table"].startswith("Yes") == bool(page.table) == ("cell" in answers)
        if page.table:
            assert answers["cell"] == f"It is {dict(page.table)[asks['cell'].removesuffix('?').split()[-1]]}."
    assert seen == {"heading", "button", "item", "menu", "color", "picture", "table", "cell"}


def test_every_word_stands_once_on_a_page_so_that_an_answer_has_one_place(planned):
    for _, page, _ in planned:
        shown = [page.heading.lower(), page.button.lower(), *page.menu, *(word for word, _ in page.table)]
        assert len(set(shown)) == len(shown)
        assert not set(shown) & set(re.findall("[a-z]+", page.text))


def test_no_constant_answer_is_right_more_often_than_chance(planned):
    asked = defaultdict(list)
    for qa in (qa for _, _, of in planned for qa in of):
        assert len(set(qa.options)) == len(qa.options)
        asked[qa.type].append(qa)
    for type, of in asked.items():
        chance = np.mean([1 / len(qa.options) for qa in of])
        spread = 3 * np.sqrt(chance * (1 - chance) / len(of))
        for found in (Counter(qa.answer for qa in of), Counter(qa.options.index(qa.answer) for qa in of)):
            assert max(found.values()) / len(of) < chance + spread, type


def test_words_fonts_and_layouts_of_held_out_are_those_of_no_other_split(planned):
    def seen(split):
        found = set()
        for of, page, asked in planned:
            if of == split:
                found |= {page.layout, page.font, page.heading.lower(), page.button.lower(), *page.menu}
                found |= {word for word, _ in page.table}
                found |= {option for qa in asked if qa.type in ("heading", "button", "item") for option in qa.options}
        return found

    assert not seen("train") & seen("held-out")
    assert not set(web_pages.NOUNS) & set(web_pages.HELD_OUT_NOUNS)
    for split, page, _ in planned:
        words = re.findall("[a-z]+", page.text.lower())
        assert not set(words) & set(web_pages.NOUNS if split == "held-out" else web_pages.HELD_OUT_NOUNS)


def test_boxes_are_those_of_what_is_drawn(planned):
    pytest.importorskip("blitz_py")
    for _, page, _ in planned[:24]:
        boxes = {box.name: box.xyxy for box in web_page_html.boxes(page)}
        assert set(boxes) == {"heading", "menu", "text", "button", "picture", *(["table"] if page.table else [])}
        pixels = np.asarray(web_page_html.draw(page)).astype(int)
        painted = np.abs(pixels - COLORS[page.color]).max(-1) <= (0 if page.color == "black" else 2)
        left, top, right, bottom = boxes["button"]
        inside = painted[top:bottom, left:right]
        assert inside.mean() > 0.4
        assert painted.sum() - inside.sum() < 60  # letters elsewhere that are as black
        sky = (pixels == [int(page.sky[i : i + 2], 16) for i in (1, 3, 5)]).all(-1)
        rows, columns = np.nonzero(sky)
        left, top, right, bottom = boxes["picture"]
        assert (columns.min(), rows.min(), columns.max() + 1) == pytest.approx((left, top, right), abs=1)


def test_the_picture_is_where_the_answer_says(planned):
    pytest.importorskip("blitz_py")
    for _, page, _ in planned[:60]:
        (box,) = [box.xyxy for box in web_page_html.boxes(page) if box.name == "picture"]
        x, y = (box[0] + box[2]) / 2 / web_page_html.SIDE, (box[1] + box[3]) / 2 / web_page_html.SIDE
        found = {"left": x < 0.4, "right": x > 0.6, "top": y < 0.3, "bottom": y > 0.45}
        assert found[page.place]
        assert (box[2] - box[0] > 200) == (page.place in ("top", "bottom"))


@pytest.mark.parametrize("font", [*web_page_html.FONTS, *web_page_html.HELD_OUT_FONTS])
@pytest.mark.parametrize("layout", [*web_page_html.LAYOUTS, *web_page_html.HELD_OUT_LAYOUTS])
def test_the_fullest_page_fits(layout, font):
    pytest.importorskip("blitz_py")
    long = sorted([*web_pages.NOUNS, *web_pages.HELD_OUT_NOUNS], key=len)[-12:]
    for place in web_page_html.PLACES:
        for table in ([(word, 88) for word in long[:3]], []):
            sentence = "We like an orange more than a spider. "
            text = sentence * (1 if table else 3)
            page = web_page_html.Page(
                layout, font, long[3].capitalize(), long[4:9], text, long[9].capitalize(), "red", place, table
            )
            boxes = {box.name: box.xyxy for box in web_page_html.boxes(page)}  # raises if one is not whole on the page
            for one in boxes:
                for other in boxes:
                    a, b = boxes[one], boxes[other]
                    apart = a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]
                    assert one == other or apart, (one, other, place)


def test_each_font_is_drawn_in_its_own_letters():
    pytest.importorskip("blitz_py")
    page = web_page_html.Page("bar", "Inter", "Camel", ["cat", "dog"], "Here is a bee near an owl.", "Kite", "red", "left")
    drawn = {
        font: web_page_html.draw(web_page_html.Page(**{**vars(page), "font": font})).tobytes()
        for font in (*web_page_html.FONTS, *web_page_html.HELD_OUT_FONTS)
    }
    assert len(set(drawn.values())) == 5


def test_a_corpus_is_built_and_is_the_same_each_time(few, tmp_path):
    once, again = (run(Recipe("web-pages", 1), lambda: web_pages.jobs({}), tmp_path / name) for name in "ab")
    assert {file.name: file.read_bytes() for file in once.iterdir()} == {f.name: f.read_bytes() for f in again.iterdir()}
    items = read("web-pages", tmp_path / "a")
    assert [item.split for item in items] == ["train"] * 4 + ["held-out"] * 2
    assert load_image(items[0].read()).size == (web_page_html.SIDE,) * 2
    assert all(item.boxes and item.questions and item.text for item in items)


def test_without_blitz_a_build_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "blitz_py", None)
    with pytest.raises(DataError, match=r"pip install 'polymodal\[corpora\]'"):
        web_pages.jobs({})


def test_a_page_that_is_too_full_is_refused():
    pytest.importorskip("blitz_py")
    page = web_page_html.Page("bar", "Inter", "Camel", ["cat"], "Here is a bee. " * 60, "Kite", "red", "bottom")
    with pytest.raises(DataError, match="of a page 'bar' ends at"):
        web_page_html.boxes(page)
