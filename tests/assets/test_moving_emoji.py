from __future__ import annotations

import pytest
from PIL import Image

from polymodal.assets.convert import convert
from polymodal.errors import AssetError


@pytest.fixture
def kept(tmp_path):
    home = tmp_path / "kept" / "assets"
    home.mkdir(parents=True)
    one, two = (Image.new("RGB", (8, 8), colour) for colour in ("red", "blue"))
    one.save(home / "1f300.webp", save_all=True, append_images=[two], duration=40)
    one.save(home / "1f44b-1f3fd.webp", save_all=True, append_images=[two], duration=40)
    one.save(home / "1f985.webp")
    return home.parent


def test_only_what_moves_is_kept_and_without_skin_tones(kept, tmp_path):
    convert("moving-emoji", kept, tmp_path / "ready")
    assert [file.name for file in (tmp_path / "ready" / "assets").iterdir()] == ["1f300.webp"]


def test_packages_of_something_else_are_refused(kept, tmp_path):
    (kept / "assets" / "1f300.webp").write_text("no picture")
    with pytest.raises(AssetError, match=r"1f300.webp is no WebP file"):
        convert("moving-emoji", kept, tmp_path / "ready")
    (kept / "assets" / "1f300.webp").unlink()
    with pytest.raises(AssetError, match="more than one frame"):
        convert("moving-emoji", kept, tmp_path / "again")
