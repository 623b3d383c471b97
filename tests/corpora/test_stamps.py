from __future__ import annotations

import io

import pytest
from PIL import Image

from polymodal.corpora import exclusions, read, stamps
from polymodal.corpora.building import Recipe, run
from polymodal.corpora.concepts import Photo, photos
from polymodal.errors import DataError


@pytest.fixture
def items(stamp_tree, tmp_path):
    run(Recipe("stamps", 1), lambda: stamps.jobs(stamp_tree), tmp_path)
    return {item.id: item for item in read("stamps", tmp_path)}


def test_a_stamp_has_its_english_caption(items):
    assert items["vehicles/tram"].caption == "The tram\u2014it runs on rails."
    assert items["animals/birds/cartoon/other-duck"].caption == "A duck!"
    assert "animals/no-picture" not in items


def test_the_photographs_are_no_stamps(items):
    assert not {f"{name}.png" for name in items} & {photo.file for photo in photos()}
    assert "animals/birds/duck" not in items


def test_what_a_photograph_shows_is_excluded_whatever_the_caption_around_it(items):
    assert items["animals/birds/cartoon/other-duck"].split == "excluded"
    assert not {item.concept for item in items.values() if item.split in ("train", "val")} & exclusions()


def test_categories_come_from_folders_with_exceptions(items):
    assert items["animals/birds/stork"].category == "bird"
    assert items["vehicles/bikewheel"].category is None
    assert items["vehicles/tram"].category == "vehicle"


def test_a_wide_stamp_is_centred_on_a_white_square(items):
    picture = Image.open(io.BytesIO(items["animals/birds/stork"].read()))
    assert picture.size == (224, 224)
    assert picture.getpixel((112, 40)) == (255, 255, 255)
    assert picture.getpixel((112, 112)) == (90, 90, 0)
    assert picture.getpixel((1, 112)) == (90, 90, 0)


def test_a_drawn_stamp_is_rendered(items):
    colours = Image.open(io.BytesIO(items["animals/birds/cartoon/drawn"].read())).getcolors(224 * 224)
    assert (0, 128, 0) in {colour for _, colour in colours}


def test_photographs_are_only_ever_tested_on(stamp_tree, tmp_path, monkeypatch):
    monkeypatch.setattr(stamps, "photos", lambda: (Photo("animals/birds/duck.png", "bird", "duck", ()),))
    run(Recipe("photos12", 1), lambda: stamps.photo_jobs(stamp_tree), tmp_path)
    (photo,) = read("photos12", tmp_path)
    assert (photo.split, photo.concept_split, photo.category) == ("test", "excluded", "bird")


@pytest.mark.parametrize("spoil", ["missing", "captioned otherwise"])
def test_a_photograph_that_is_not_the_listed_one_is_refused(stamp_tree, monkeypatch, spoil):
    monkeypatch.setattr(stamps, "photos", lambda: (Photo("animals/birds/duck.png", "bird", "duck", ()),))
    if spoil == "missing":
        (stamp_tree / "animals/birds/duck.png").unlink()
    else:
        (stamp_tree / "animals/birds/duck.txt").write_text("A goose.\n")
    with pytest.raises(DataError, match=r"duck.png: expected the photograph of 'duck', found (none|A goose\.)"):
        stamps.photo_jobs(stamp_tree)


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(DataError, match="no captioned stamp in"):
        stamps.jobs(tmp_path)
