from __future__ import annotations

import io
from zipfile import ZipFile

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load

from polymodal.corpora import exclusions, furniture, manifest, read
from polymodal.corpora.building import Recipe, run
from polymodal.errors import DataError

ENTRY = """id#{n}=Maker#x
name#{n}={name}
tags#{n}=Seat, Old
category#{n}=Living room
icon#{n}=/maker/x{n}.png
model#{n}=/maker/x{n}/x.obj
width#{n}=50.0
depth#{n}=200.0
height#{n}={height}
"""
# Two squares of one area: at the bottom in red by its material, at the top of a picture that is blue.
OBJ = """mtllib x.mtl
v 0 0 0
v 7 0 0
v 7 0 7
v 0 0 7
v 0 3 0
v 7 3 0
v 7 3 7
v 0 3 7
vt 0 0
vt 1 0
vt 1 1
vt 0 1
usemtl plain
f 1 2 3
f 1 3 4
usemtl drawn
f 5/1 6/2 7/3
f 5/1 7/3 8/4
"""
MTL = "newmtl plain\nKd 1 0 0\nnewmtl drawn\nmap_Kd blue.png\n"


def png(color: str) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (8, 8), color).save(out, "PNG")
    return out.getvalue()


@pytest.fixture
def folders(tmp_path):
    home = tmp_path / "sweethome3d"
    home.mkdir()
    for vendor in furniture.LICENCES:
        with ZipFile(home / f"{vendor}.sh3f", "w") as archive:
            entries = ""
            if vendor == "Scopia":
                entries = ENTRY.format(n=1, name="Caf\\u00e9 stool 02", height="80.0")
                entries += ENTRY.format(n=2, name="City bus", height="300.0")
                entries += ENTRY.format(n=3, name="Nothing", height="1.0")
            archive.writestr("PluginFurnitureCatalog.properties", entries.encode("latin-1"))
            for n, model in ((1, OBJ), (2, OBJ.replace("v 7", "v 9")), (3, "v 0 0 0\n")):
                archive.writestr(f"maker/x{n}/x.obj", model)
                archive.writestr(f"maker/x{n}/x.mtl", MTL)
                archive.writestr(f"maker/x{n}/blue.png", png("blue"))
                archive.writestr(f"maker/x{n}.png", png(("white", "red", "green", "blue")[n]))
    return {"sweethome3d": home}


def built(kind, folders, root):
    run(Recipe(kind, 1), lambda: furniture.jobs(kind, folders), root, share=0.5)
    return {item.caption: item for item in read(kind, root)}


def test_points_lie_on_the_surface_in_metres_with_its_colours(folders, tmp_path):
    pytest.importorskip("trimesh")
    items = built("furniture", folders, tmp_path)
    points = load(items["Café stool"].read())["points"]
    assert (points.shape, points.dtype) == ((furniture.POINTS, 6), np.float32)
    assert np.abs(np.abs(points[:, 1]) - 0.4).max() < 1e-6  # 80 cm high: there are two squares and nothing between
    assert np.abs(points[:, [0, 2]]).max(0) == pytest.approx((0.25, 1), rel=0.02)
    low, high = points[points[:, 1] < 0], points[points[:, 1] > 0]
    assert len(low) == pytest.approx(furniture.POINTS / 2, rel=0.15)
    assert low[:, 3:] == pytest.approx(np.tile((1, 0, 0), (len(low), 1)))
    assert high[:, 3:] == pytest.approx(np.tile((0, 0, 1), (len(high), 1)))
    again = next(iter(furniture.jobs("furniture", folders)[0].make()))
    assert again == items["Café stool"].read()


def test_a_model_without_a_surface_is_set_aside(folders, tmp_path):
    pytest.importorskip("trimesh")
    assert set(built("furniture", folders, tmp_path)) == {"Café stool", "City bus"}
    assert manifest("furniture", tmp_path)["quarantined"] == 1


def test_a_render_shares_the_split_of_its_model_and_what_photographs_show_is_excluded(folders, tmp_path):
    assert "bus" in exclusions()
    icons = built("furniture-icons", folders, tmp_path)
    models = {job.items[0].caption: job.items[0] for job in furniture.jobs("furniture", folders)}
    assert {name: item.split for name, item in icons.items()} == {name: item.split for name, item in models.items()}
    assert icons["City bus"].split == "excluded"
    assert Image.open(io.BytesIO(icons["Café stool"].read())).size == (224, 224)


def test_a_model_is_asked_for_its_name_room_and_height(folders):
    item, bus, _ = (job.items[0] for job in furniture.jobs("furniture", folders))
    assert [qa.answer for qa in item.questions] == ["Café stool", "living room", "80 cm"]
    assert bus.questions[2].answer == "3.0 m"
    assert (item.modality, item.tags, item.licence) == ("points", ["seat", "old"], "CC-BY-3.0")


def test_a_catalogue_that_is_missing_or_incomplete_is_refused(folders):
    with ZipFile(folders["sweethome3d"] / "Scopia.sh3f", "w") as archive:
        archive.writestr("PluginFurnitureCatalog.properties", "name#1=Chair\n")
    with pytest.raises(DataError, match="Scopia.sh3f is no catalogue"):
        furniture.jobs("furniture", folders)
    (folders["sweethome3d"] / "KatorLegaz.sh3f").unlink()
    with pytest.raises(DataError, match="KatorLegaz.sh3f"):
        furniture.jobs("furniture", folders)


def test_models_that_no_name_tells_apart_are_kept_out_of_training_by_family(folders, monkeypatch):
    """Only where the name would be trained on: the split by names holds."""
    monkeypatch.setattr(furniture, "withheld", lambda key: True)
    with ZipFile(folders["sweethome3d"] / "Scopia.sh3f", "w") as archive:
        names = ("Chair", "Chair with cushion", "Folding table", "City bus", "Rock")
        text = "".join(ENTRY.format(n=n, name=name, height="80.0") for n, name in enumerate(names))
        archive.writestr("PluginFurnitureCatalog.properties", text)
    items = [job.items[0] for job in furniture.jobs("furniture", folders)]
    assert [(i.subgroup, i.concept_split, i.split) for i in items] == [
        ("chair", "train", "held-out"),
        ("chair", "train", "held-out"),
        ("table", "test", "test"),
        (None, "excluded", "excluded"),
        (None, "train", "train"),
    ]


def test_every_family_is_a_noun_of_its_own():
    nouns = [noun for nouns in furniture.FAMILIES.values() for noun in nouns]
    assert len(nouns) == len(set(nouns))
    assert furniture.family("double door with pane") == "door"
    assert furniture.family("table tennis bat") is None
