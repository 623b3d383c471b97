from __future__ import annotations

import numpy as np
import pytest
from safetensors.numpy import load

from polymodal.corpora import furniture, manifest, parts3d, read
from polymodal.corpora.building import Recipe, run
from polymodal.errors import DataError

HEADER = "Connector_PinHeader_2.54mm", "PinHeader_2x12_P2.54mm_Horizontal"
# Two squares of one area, one above the other in z: 4 x 2 units, the upper one in a material of its own.
PART = """#VRML V2.0 utf8
# Shape { a comment }
Shape { appearance Appearance { material DEF PIN-01 Material { ambientIntensity 0.2
  diffuseColor 1 0 0 } } }
Shape { geometry IndexedFaceSet
{ creaseAngle 0.5 coordIndex [0,1,2,-1,0,2,3,-1]
coord Coordinate { point [0 0 0,4 0 0,4 2 0,0 2 0] }}
appearance Appearance { material USE PIN-01 } }
Shape { geometry IndexedFaceSet
{ coordIndex [0,1,2,-1,0,2,3,-1] coord Coordinate { point [0 0 10,4 0 10,4 2 10,0 2 10] } }
appearance Appearance { material Material { diffuseColor 0 0 1
transparency 0 } } }
"""
COPYRIGHT = """Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/

Files: *
Copyright: 2018, A Community
License: CC-BY-SA-4.0-with-exception

Files: Diode_SMD.3dshapes/*
 Other.3dshapes/one.wrl
Copyright: 2017, somebody
License: GPL-3+
"""


@pytest.fixture
def folders(tmp_path):
    home = tmp_path / "kicad"
    for family, name in (HEADER, ("Connector_PinHeader_1.00mm", "PinHeader_1x02_P1.00mm_Vertical"), ("Diode_SMD", "D_SMA")):
        (home / f"{family}.3dshapes").mkdir(parents=True)
        (home / f"{family}.3dshapes" / f"{name}.wrl").write_text(PART)
    stated = home / "licences" / "kicad-packages3d" / "copyright"
    stated.parent.mkdir(parents=True)
    stated.write_text(COPYRIGHT)
    return {"kicad-packages3d": home}


def built(folders, root):
    run(Recipe("parts3d", 1), lambda: parts3d.jobs(folders), root, share=0.5)
    return {item.subgroup: item for item in read("parts3d", root)}


def test_points_lie_on_the_surface_in_metres_with_y_up_and_its_colours(folders, tmp_path):
    pytest.importorskip("trimesh")
    points = load(built(folders, tmp_path)["Diode_SMD"].read())["points"]
    assert (points.shape, points.dtype) == ((furniture.POINTS, 6), np.float32)
    assert np.ptp(points[:, :3], axis=0) == pytest.approx(
        (0.01016, 0.0254, 0.00508), rel=0.02
    )  # 4, 10 and 2 tenths of an inch
    low, high = points[points[:, 1] < 0], points[points[:, 1] > 0]
    assert low[:, 3:] == pytest.approx(np.tile((1, 0, 0), (len(low), 1)))
    assert high[:, 3:] == pytest.approx(np.tile((0, 0, 1), (len(high), 1)))


def test_a_part_is_turned_and_not_mirrored(folders, tmp_path):
    pytest.importorskip("trimesh")
    file = next(folders["kicad-packages3d"].glob("Diode_SMD.3dshapes/*.wrl"))
    file.write_text(PART.replace("0 0 10,4 0 10,4 2 10,0 2 10", "3 1.5 10,4 1.5 10,4 2 10,3 2 10"))  # to the right and back
    points = load(built(folders, tmp_path)["Diode_SMD"].read())["points"]
    blue = points[points[:, 5] == 1]
    assert len(blue)
    assert (blue[:, 0] > 0).all()
    assert (blue[:, 1] > 0).all()
    assert (blue[:, 2] < 0).all()  # z is to the viewer


def test_a_name_becomes_words_and_questions():
    caption, asked = parts3d.described(*HEADER)
    assert caption == "pin header, 2 rows of 12, 2.54 mm pitch, horizontal"
    assert {qa.ask: qa.answer for qa in asked} == {
        "What is this?": "pin header",
        "How many rows of pins does it have?": "2",
        "How many pins does it have?": "24",
        "What is its pitch?": "2.54 mm",
        "Is it horizontal or vertical?": "horizontal",
    }


@pytest.mark.parametrize(
    ("family", "name", "caption"),
    [
        ("Battery", "BatteryHolder_Keystone_2468_2xAAA", "battery holder, for 2 cells"),
        ("Button_Switch_THT", "SW_DIP_SPSTx05_Slide_W7.62mm", "switch, 5 in a row, with slides, soldered through holes"),
        ("Package_DFN_QFN", "QFN-24-1EP_4x4mm_P0.50mm", "DFN or QFN package, 24 pins, 4 x 4 mm, 0.5 mm pitch"),
        ("Oscillator", "Oscillator_DIP-14", "oscillator"),  # in the place of 14 pins, on four
        ("Connector_JST", "JST_GH_1x14-1MP_Vertical", "JST connector, 1 row of 14, vertical"),
        ("Converter_DCDC", "Converter_DCDC_Artesyn_ATA_SMD", "DC-DC converter, soldered onto the surface"),
        ("Valve", "Valve_Mini_Pentode_Linear", "vacuum tube"),
    ],
)
def test_only_what_a_name_says_is_said(family, name, caption):
    assert parts3d.described(family, name)[0] == caption


def test_pins_that_points_cannot_show_are_not_asked_for():
    assert "144 pins" in parts3d.described("Package_QFP", "LQFP-144_20x20mm")[0]
    assert not [qa for qa in parts3d.described("Package_QFP", "LQFP-144_20x20mm")[1] if qa.type == "count"]


def test_families_that_differ_in_pitch_alone_share_a_split_and_licences_are_those_stated(folders):
    items = {job.items[0].subgroup: job.items[0] for job in parts3d.jobs(folders)}
    headers = [items[HEADER[0]], items["Connector_PinHeader_1.00mm"]]
    assert {(item.concept, item.concept_split) for item in headers} == {("pin header", "train")}
    assert (items["Diode_SMD"].licence, headers[0].licence) == ("GPL-3.0-or-later", "CC-BY-SA-4.0 with exception")


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("Shape { geometry", "Transform { children Shape { geometry", "a Transform, which is not read"),
        ("USE PIN-01", "USE PIN-02", "a shape without a material"),
        ("0,2,3,-1]", "0,2,3,1]", "not all faces are triangles"),
        ("0,2,3,-1]", "0,2,9,-1]", "not a model that can be read"),
        ("IndexedFaceSet", "Box", "a model without a surface"),
        ("point [0", "point [none", "not a model that can be read"),
    ],
)
def test_a_part_that_cannot_be_read_is_set_aside_with_its_reason(folders, tmp_path, old, new, reason):
    pytest.importorskip("trimesh")
    file = next(folders["kicad-packages3d"].glob("Diode_SMD.3dshapes/*.wrl"))
    text = PART.replace(old, new)
    file.write_text(text.replace("coordIndex", "none") if new == "Box" else text)
    assert set(built(folders, tmp_path)) == {HEADER[0], "Connector_PinHeader_1.00mm"}
    assert manifest("parts3d", tmp_path)["quarantined"] == 1
    assert reason in (tmp_path / "corpora" / "parts3d" / "quarantine.jsonl").read_text()


def test_a_folder_without_parts_or_licences_is_refused(folders, tmp_path):
    with pytest.raises(DataError, match="has no parts"):
        parts3d.jobs({"kicad-packages3d": tmp_path})
    stated = folders["kicad-packages3d"] / "licences" / "kicad-packages3d" / "copyright"
    stated.write_text("Copyright: me\n")
    with pytest.raises(DataError, match="no licence of all files"):
        parts3d.jobs(folders)
    stated.unlink()
    with pytest.raises(DataError, match="does not say what the licences are"):
        parts3d.jobs(folders)


def test_parts_that_differ_in_numbers_alone_are_trained_on_or_held_out_together(folders, monkeypatch):
    asked = []
    monkeypatch.setattr(parts3d, "withheld", lambda key: asked.append(key) or "Horizontal" in key)
    family = folders["kicad-packages3d"] / f"{HEADER[0]}.3dshapes"
    (family / "PinHeader_2x13_P2.54mm_Horizontal.wrl").write_text(PART)
    items = [job.items[0] for job in parts3d.jobs(folders) if "PinHeader" in job.items[0].id]
    assert {item.concept_split for item in items} == {"train"}
    assert [item.split for item in items if "Horizontal" in item.id] == ["held-out", "held-out"]
    assert [item.split for item in items if "Vertical" in item.id] == ["train"]
    assert len({key for key in asked if "Horizontal" in key}) == 1
