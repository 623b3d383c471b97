from __future__ import annotations

import io

import pytest
from PIL import Image

from polymodal.corpora import maps, read
from polymodal.corpora.building import Recipe, run
from polymodal.corpora.items import Box
from polymodal.errors import DataError

REGION = """<division><name>{name}</name>{more}<color><red>{0}</red><green>{1}</green><blue>{2}</blue></color></division>"""
BOXES = {"North": ((255, 0, 0), (10, 5, 60, 40)), "Isle": ((0, 255, 0), (90, 90, 93, 100))}


@pytest.fixture
def folder(tmp_path):
    picture = Image.new("RGB", (100, 200), (1, 2, 3))
    for color, box in BOXES.values():
        picture.paste(color, box)
    home = tmp_path / "kgeography"
    home.mkdir()
    picture.save(home / "toy.png")
    regions = REGION.format(255, 0, 0, name="North", more="<capital>Nord</capital>")
    regions += REGION.format(0, 255, 0, name="Isle", more="<ignore>allowClickMode</ignore>")
    regions += REGION.format(1, 2, 3, name="Water", more="<ignore>yes</ignore>")
    regions += REGION.format(9, 9, 9, name="Nowhere", more="")
    (home / "toy.kgm").write_text(f"<map><mapFile>toy.png</mapFile><name>Toyland by Regions</name>{regions}</map>")
    return home


def test_every_named_region_has_its_exact_box_and_the_large_ones_are_asked_for(folder, tmp_path):
    run(Recipe("maps", 1), lambda: maps.jobs({"kgeography": folder}), tmp_path)
    (item,) = read("maps", tmp_path)
    assert item.boxes == [Box(name=name, xyxy=box) for name, (_, box) in BOXES.items()]
    assert {qa.type: (qa.ask, qa.answer) for qa in item.questions} == {
        "box": ("Where is North? Answer with a box.", "[0.10, 0.03, 0.60, 0.20]"),
        "place": ("In which part of the map is North?", "top center"),
        "region": ("What is at [0.10, 0.03, 0.60, 0.20]?", "North"),
        "capital": ("What is the capital of the region at [0.10, 0.03, 0.60, 0.20]?", "Nord"),
    }
    assert (item.caption, item.concept, item.licence) == ("map of Toyland by Regions", "toyland", "GPL-2.0-or-later")
    assert Image.open(io.BytesIO(item.read())).size == (100, 200)


@pytest.mark.parametrize("spoil", ["no picture", "no color"])
def test_a_map_that_is_not_whole_is_named(folder, spoil):
    if spoil == "no picture":
        (folder / "toy.png").unlink()
    else:
        (folder / "toy.kgm").write_text((folder / "toy.kgm").read_text().replace("<red>255</red>", ""))
    with pytest.raises(Exception, match="toy") as refusal:
        maps.jobs({"kgeography": folder})
    assert isinstance(refusal.value, DataError)


def test_an_asset_without_maps_is_refused(tmp_path):
    with pytest.raises(DataError, match="no map"):
        maps.jobs({"kgeography": tmp_path})
