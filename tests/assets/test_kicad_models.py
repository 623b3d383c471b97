from __future__ import annotations

import pytest

from polymodal.assets.convert import convert
from polymodal.assets.kicad_models import PARTS
from polymodal.errors import AssetError


def test_a_large_family_keeps_some_parts_and_a_small_one_all(tmp_path):
    names = {"Pins": [f"Pin_{n:03d}" for n in range(100)], "Valve": ["Valve_Mini"]}
    for family, parts in names.items():
        home = tmp_path / "kept" / f"{family}.3dshapes"
        home.mkdir(parents=True)
        for part in parts:
            (home / f"{part}.wrl").write_text("#VRML V2.0 utf8\n")
    convert("kicad-models", tmp_path / "kept", tmp_path / "ready")
    kept = {family: [file.stem for file in (tmp_path / "ready" / f"{family}.3dshapes").iterdir()] for family in names}
    assert kept["Valve"] == ["Valve_Mini"]
    assert len(kept["Pins"]) == PARTS
    assert sum(name >= "Pin_050" for name in kept["Pins"]) in range(4, 12)  # not the first of them


def test_a_package_of_something_else_is_refused(tmp_path):
    with pytest.raises(AssetError, match=r"no folder \*\.3dshapes"):
        convert("kicad-models", tmp_path, tmp_path / "ready")
