from __future__ import annotations

import random
import re
import sys
from collections import Counter, defaultdict
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from polymodal.corpora import concept, read, solid_shapes, solid_views, solids, split_of
from polymodal.corpora.building import Recipe, run
from polymodal.corpora.previews import preview
from polymodal.errors import DataError
from polymodal.media.image import load_image
from polymodal.media.maps import load_map
from polymodal.parts.encoders.shading import Shading

pytest.importorskip("pybullet")
pytest.importorskip("trimesh")


def scenes(split: str, count: int) -> list[tuple[solids.Scene, solids.Asked]]:
    return [solids.plan(solids.NUMBERS[n % 4], split, random.Random(f"{split}{n}")) for n in range(count)]


@pytest.fixture(scope="module")
def planned():
    return {split: scenes(split, count) for split, count in {"train": 400, "test": 120, "held-out": 120}.items()}


@pytest.fixture
def few(monkeypatch):
    monkeypatch.setattr(solids, "SIZES", {"train": 4, "held-out": 1})


def test_a_scene_is_a_picture_and_two_maps_of_the_same_view(few, tmp_path):
    run(Recipe("solids", 1), lambda: solids.jobs("solids", {}), tmp_path)
    items = {item.id: item for item in read("solids", tmp_path)}
    assert len(items) == 15
    image, depth, thermal = (items[f"train-0002/{view}"] for view in ("image", "depth", "thermal"))
    assert {item.subgroup for item in (image, depth, thermal)} == {"train-0002"}
    assert load_image(image.read()).size == (128, 128)
    metres, degrees = load_map(depth.read()), load_map(thermal.read())
    assert metres.shape == degrees.shape == (128, 128)
    assert 1 < metres.min() < metres.max() < 25
    Shading("depth", "metres", (1, 20)).draw(metres)
    Shading("thermal", "celsius", (-15, 75)).draw(degrees)
    assert [box.xyxy for box in image.boxes] == [box.xyxy for box in depth.boxes] == [box.xyxy for box in thermal.boxes]
    assert "synthetic" in thermal.caption
    assert "synthetic" in thermal.vendor
    assert thermal.tags == ["synthetic"]
    for item in (depth, thermal):
        assert len(preview(item, 160).getcolors(160 * 160)) > 20


def test_a_box_of_a_map_says_which_in_order_it_is(few):
    for item in (item for job in solids.jobs("solids", {}) for item in job.items if item.modality != "image"):
        near = item.modality == "depth"
        first, last = ("nearest", "farthest") if near else ("hottest", "coldest")
        told = re.findall(r"(\S+) (?:m away|°C)", item.caption)  # in the order of the boxes
        numbers = [float(number) if near else -float(number) for number in told]
        order = [item.boxes[i].name.rsplit(" ", 1)[0] for i in sorted(range(len(numbers)), key=numbers.__getitem__)]
        assert order == [first, *(f"{nth} {first}" for nth in ("second", "third", "fourth")[: len(order) - 2]), last]


def test_a_scene_is_the_same_each_time(few):
    again = [list(job.make()) for job in solids.jobs("solids", {})]
    assert [list(job.make()) for job in reversed(solids.jobs("solids", {}))] == again[::-1]
    control = solids.jobs("solids-control", {})
    assert [list(job.make()) for job in control] == [made[:1] for made in again]
    assert [job.items[0].boxes for job in control] == [job.items[0].boxes for job in solids.jobs("solids", {})]


def test_a_solid_larger_and_farther_away_looks_the_same_and_its_depth_is_as_told(monkeypatch):
    """What lets the picture be drawn without its depths: measured with meshes that are larger and farther away."""
    scene = scenes("train", 3)[2][0]
    rgb, z, shapes = solid_views._Studio().draw(scene)
    scaled = {}
    for shape, mesh in solid_shapes.meshes().items():
        scaled[shape] = mesh.copy()
        scaled[shape].vertices = mesh.vertices * 2.5
    moved = [replace(solid, at=tuple(2.5 * value for value in solid.at)) for solid in scene.solids]
    monkeypatch.setattr(solid_views, "meshes", lambda: scaled)
    farther = solid_views._Studio().draw(replace(scene, solids=moved))
    on_solids = shapes < len(scaled)
    same = (shapes == farther[2]) & (np.abs(rgb - farther[0]).max(-1) <= 1)
    assert same.mean() > 0.999  # a few pixels on an edge may be rounded to the other side of it
    assert np.allclose(farther[1][on_solids & same], 2.5 * z[on_solids & same], rtol=1e-3)


def test_pictures_of_other_distances_and_temperatures_are_equal():
    scene = scenes("train", 4)[3][0]
    turned = [replace(s, distance=14 - s.distance, temperature=60 - s.temperature) for s in scene.solids]
    one, other = solid_views.views(scene, "a"), solid_views.views(replace(scene, solids=turned), "a")
    assert np.array_equal(one.rgb, other.rgb)
    nearest = [min(range(5), key=lambda i: _inside(depth, scene.solids[i]).min()) for depth in (one.depth, other.depth)]
    assert nearest[0] != nearest[1]


def test_the_maps_say_what_the_answers_say(planned):
    for number, (scene, asked) in enumerate(planned["train"][:8]):
        seen = solid_views.views(scene, str(number))
        near = [float(np.percentile(_inside(seen.depth, solid), 2)) for solid in scene.solids]
        warm = [float(np.median(_inside(seen.thermal, solid)[_on(seen.depth, solid)])) for solid in scene.solids]
        for solid, degrees in zip(scene.solids, warm, strict=True):
            assert abs(degrees - solid.temperature) < 1.5
        by_type = {qa.type: qa for qa in (*asked["depth"], *asked["thermal"])}
        for type, values, least in (("nearest", near, "nearest"), ("hottest", warm, "coldest")):
            qa = by_type[type]
            assert np.argsort(values)[0 if least in qa.ask else -1] == qa.options.index(qa.answer)
        limit = int(by_type["within"].ask.split()[-2])
        assert by_type["within"].answer.startswith("Yes") == (min(near) < limit)
        limit = int(by_type["above"].ask.split()[-3])
        assert by_type["above"].answer.startswith("Yes") == (max(warm) > limit)


def test_boxes_are_those_of_what_is_drawn(planned):
    off = []
    for scene, _ in planned["train"][:8]:
        _, _, shapes = solid_views._studio().draw(scene)
        for solid in scene.solids:
            own = shapes == list(solid_shapes.meshes()).index(solid.shape)
            rows, columns = np.nonzero(own.reshape(128, 2, 128, 2).any((1, 3)))
            drawn = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
            off += [abs(a - b) for a, b in zip(drawn, solid.xyxy, strict=True)]
    assert max(off) <= 1
    assert np.mean(off) < 0.1


def test_a_held_out_combination_is_shown_and_asked_about_in_held_out_alone(planned):
    for split, made in planned.items():
        for scene, asked in made:
            names = {solid.thing.name for solid in scene.solids}
            held = {f"{color} {shape}" for color, shape in solids.HELD_OUT}
            assert bool(names & held) == (split == "held-out")
            (exists,) = [qa.ask for qa in asked["image"] if qa.type == "exists"]
            assert (re.sub(r"Is there an? |\?", "", exists) in held) == (split == "held-out")
    assert all(split_of(concept(shape)) == "train" for shape in solids.SHAPES)


def test_no_constant_answer_is_right_more_often_than_chance(planned):
    asked = defaultdict(list)
    for _, views in planned["train"]:
        for qa in (qa for view in views.values() for qa in view):
            asked[qa.type].append(qa)
    assert {"count", "color", "shape", "exists", "side", "bigger", "nearest", "nearer", "hottest", "above"} <= asked.keys()
    for type, of in asked.items():
        chance = np.mean([1 / len(qa.options) for qa in of])
        spread = 3 * np.sqrt(chance * (1 - chance) / len(of))
        for first in (Counter(qa.answer.split(",")[0] for qa in of), Counter(qa.options.index(qa.answer) for qa in of)):
            assert max(first.values()) / len(of) < chance + spread, type
        assert len({qa.answer for qa in of}) > 1


def test_place_and_size_in_the_picture_do_not_tell_what_is_nearer_or_warmer(planned):
    for value in ("distance", "temperature"):
        features, label = zip(*(_pairs(planned[split], value) for split in ("train", "test")), strict=True)
        assert abs(_accuracy(features, label) - 0.5) < 0.06
    features, label = zip(*(_pairs(planned[split], "width") for split in ("train", "test")), strict=True)
    assert _accuracy(features, label) > 0.95  # the same control does learn what can be seen


def test_without_pybullet_a_build_says_what_to_install(monkeypatch):
    solid_shapes.meshes.cache_clear()
    monkeypatch.setitem(sys.modules, "pybullet_data", None)
    with pytest.raises(DataError, match=r"pip install 'polymodal\[corpora,points\]'"):
        solids.jobs("solids", {})


def _inside(values: np.ndarray, solid: solids.Solid) -> np.ndarray:
    left, top, right, bottom = solid.xyxy
    return values[top:bottom, left:right]


def _on(depth: np.ndarray, solid: solids.Solid) -> np.ndarray:
    return np.abs(_inside(depth, solid) / solid.distance - 1) < 0.16


def _pairs(made: list, value: str) -> tuple[np.ndarray, np.ndarray]:
    """For each two solids of a scene what the picture shows of them, and whether the first has less of `value`."""
    features, label = [], []
    for scene, _ in made:
        for pair in combinations(scene.solids, 2):
            rows, values = [], []
            for solid in pair:
                left, top, right, bottom = solid.xyxy
                rows.append([left + right, top + bottom, right - left, bottom - top, (right - left) * (bottom - top) / 40])
                values.append(right - left if value == "width" else getattr(solid, value))
            features.append(np.concatenate((np.subtract(*np.array(rows, float)), np.add(*np.array(rows, float)))))
            label.append(values[0] < values[1])
    return np.array(features), np.array(label)


def _accuracy(features: tuple[np.ndarray, ...], label: tuple[np.ndarray, ...]) -> float:
    """Of logistic regression on the second of both, trained on the first."""
    mean, deviation = features[0].mean(0), features[0].std(0)
    train, test = (np.column_stack(((x - mean) / deviation, np.ones(len(x)))) for x in features)
    weights = np.zeros(train.shape[1])
    for _ in range(500):
        weights -= train.T @ (1 / (1 + np.exp(-train @ weights)) - label[0]) / len(train)
    return float(((test @ weights > 0) == label[1]).mean())
