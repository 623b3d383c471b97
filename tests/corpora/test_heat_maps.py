"""Heat maps: answers are what the values say, no answer is likelier before the picture is seen, and looks are held out."""

from __future__ import annotations

import io
import random
import re
from collections import Counter, defaultdict

import numpy as np
import pytest
from PIL import Image

from polymodal.corpora import heat_maps
from polymodal.corpora.scene_questions import WHERE


@pytest.fixture(scope="module")
def planned():
    made = []
    for number in range(600):
        rng = random.Random(number)
        shown = heat_maps.plan(heat_maps.KINDS[number % 3], rng)
        made.append((shown, heat_maps.ask(shown, rng)))
    return made


def test_a_heat_map_is_asked_what_its_values_say(planned):
    seen = set()
    for shown, asked in planned:
        for qa in asked:
            seen.add(qa.type)
            if qa.type in ("hottest", "coldest"):
                at = (shown.values.argmax if qa.type == "hottest" else shown.values.argmin)()
                rows, columns = shown.values.shape
                row, column = divmod(int(at), columns)
                place = heat_maps.PLACES[3 * row // rows * 3 + 3 * column // columns]
                assert qa.answer == f"It is {qa.type} {WHERE[place]}."
            elif qa.type == "warmer":
                one, other = re.fullmatch(r"Is it warmer (.+) than (.+)\?", qa.ask).groups()
                _, mean, _ = heat_maps.ninths(shown.values)
                warmth = {WHERE[place]: value for place, value in mean.items()}
                assert abs(warmth[one] - warmth[other]) >= 100 * heat_maps.LEAST
                assert qa.answer.startswith("Yes") == (warmth[one] > warmth[other])
            elif qa.type == "value":
                row, column = re.fullmatch(r"What is the value of (\w+) and (\w+)\?", qa.ask).groups()
                assert qa.answer == f"It is {shown.values[shown.rows.index(row), shown.columns.index(column)]}."
                assert len(set(qa.options)) == 4
            else:
                names = shown.rows if qa.type == "row" else shown.columns
                values = shown.values if "greatest" in qa.ask else -shown.values
                best = values.max(1 if qa.type == "row" else 0).argmax()
                assert qa.answer == f"It is {names[best]}."
    assert seen == {"hottest", "coldest", "warmer", "row", "column", "value"}


def test_what_is_asked_for_stands_out_by_a_tenth_of_the_scale(planned):
    for shown, _ in planned:
        low, _, high = (
            heat_maps.ninths(shown.values) if shown.kind != "table" else (dict(enumerate(shown.values.flat)),) * 3
        )
        for extreme in (sorted(high.values())[-2:], sorted(low.values())[:2]):
            assert extreme[1] - extreme[0] >= 100 * heat_maps.LEAST
        assert shown.values.min() >= 0
        assert shown.values.max() < 100.001


def test_no_constant_answer_is_right_more_often_than_chance(planned):
    asked = defaultdict(list)
    for qa in (qa for _, of in planned for qa in of):
        asked[qa.type].append(qa)
    for type, of in asked.items():
        chance = np.mean([1 / len(qa.options) for qa in of])
        spread = 3 * np.sqrt(chance * (1 - chance) / len(of))
        for found in (Counter(qa.answer.split(",")[0] for qa in of), Counter(qa.options.index(qa.answer) for qa in of)):
            assert max(found.values()) / len(of) < chance + spread, type


def test_colors_and_fonts_of_held_out_are_those_of_no_other_split():
    looks = {split: [job.items[0].tags for job in of] for split, of in _by_split(heat_maps.jobs({})).items()}
    assert set(looks) == {"train", "val", "test", "held-out"}
    held = {tag for tags in looks.pop("held-out") for tag in tags}
    assert held == {*heat_maps.HELD_OUT_MAPS, *heat_maps.HELD_OUT_FONTS}
    assert not held & {tag for of in looks.values() for tags in of for tag in tags}


def test_a_heat_map_is_the_same_each_time_whatever_matplotlib_is_set_to(monkeypatch):
    import matplotlib

    monkeypatch.setattr(heat_maps, "SIZES", {"train": 3, "held-out": 3})
    once = [b"".join(job.make()) for job in heat_maps.jobs({})]
    with matplotlib.rc_context({"font.size": 30, "image.cmap": "gray", "figure.facecolor": "red"}):
        again = [b"".join(job.make()) for job in heat_maps.jobs({})[::-1]]
    assert once == again[::-1]


@pytest.mark.parametrize("colors", ["viridis", "jet", "YlOrRd", "cividis", "RdYlBu_r"])
def test_the_hottest_cell_has_the_color_of_the_upper_end_of_the_scale(colors):
    values = np.full((3, 3), 50)
    values[0, 2], values[2, 0] = 100, 0
    style = heat_maps.Look(colors, "DejaVuSans", (448, 448), "right", "nearest", False)
    (data,) = heat_maps._draw(heat_maps.HeatMap("nine", values), style)
    pixels = np.asarray(Image.open(io.BytesIO(data))).astype(int)
    painted = (pixels.min(-1) < 250) & (pixels.max(-1) > 5)
    columns = np.flatnonzero(painted.mean(0) > 0.8)  # of the cells, and after a white gap those of the bar
    gap = int(np.diff(columns).argmax())
    bar = pixels[:, columns[gap + 3]]
    bar = bar[painted[:, columns[gap + 3]]]
    for cell, end in ((pixels[60, columns[gap] - 20], bar[3]), (pixels[400, columns[0] + 20], bar[-4])):
        assert np.abs(cell - end).max() < 16


def _by_split(jobs):
    found = defaultdict(list)
    for job in jobs:
        found[job.items[0].split].append(job)
    return found
