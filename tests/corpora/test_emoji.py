from __future__ import annotations

import io
import json

import numpy as np
import pytest
from PIL import Image

from polymodal.corpora import emoji, exclusions, pictures, read
from polymodal.corpora.building import Recipe, run
from polymodal.errors import DataError, MediaError

from .conftest import EMOJI, svg


def build(packages, root):
    return run(Recipe("emoji", 1), lambda: emoji.jobs("emoji", packages), root)


@pytest.fixture
def items(emoji_packages, tmp_path):
    build(emoji_packages, tmp_path)
    return read("emoji", tmp_path)


def test_every_vendor_draws_every_emoji_and_no_swatch_or_letter(items):
    assert len(items) == len(EMOJI) * 4
    assert {item.caption for item in items} == {label for label, *_ in EMOJI}
    assert {item.vendor for item in items} == set(emoji.VENDORS) - {"fluent-3d"}


def test_openmoji_is_held_out_always_and_nothing_else_is(items):
    assert {item.split for item in items if item.vendor == "openmoji"} == {"held-out"}
    assert not [item for item in items if item.vendor != "openmoji" and item.split == "held-out"]
    assert {item.concept_split for item in items if item.vendor == "openmoji"} > {"train", "excluded"}


def test_one_concept_has_one_split_in_all_styles(items):
    splits = {(item.concept, item.concept_split) for item in items}
    assert len(splits) == len({item.concept for item in items})


def test_nothing_that_a_test_photograph_shows_is_trained_or_validated_on(items):
    assert not {item.concept for item in items if item.split in ("train", "val")} & exclusions()
    assert {item.caption for item in items if item.split == "excluded"} == {"dog face", "duck"}


def test_categories_come_from_subgroups_with_exceptions(items):
    categories = {item.caption: item.category for item in items}
    assert categories["eagle"] == "bird"
    assert categories["dog face"] == "mammal"
    assert categories["bus stop"] is None
    assert categories["sun"] is None


def test_pictures_are_224_pixels_rgb_on_white(items):
    for item in items:
        with Image.open(io.BytesIO(item.read())) as picture:
            assert (picture.size, picture.mode, picture.format) == ((224, 224), "RGB", "PNG")
    drawn = next(item for item in items if item.id == "openmoji-1f985")
    assert Image.open(io.BytesIO(drawn.read())).getpixel((0, 0)) == (255, 255, 255)


def test_the_same_packages_give_the_same_bytes(emoji_packages, tmp_path):
    one, two = (build(emoji_packages, tmp_path / name) for name in ("one", "two"))
    files = sorted(file.relative_to(one) for file in one.rglob("*") if file.is_file())
    assert {file.suffix for file in files} == {".tar", ".json", ".jsonl"}
    assert all((one / file).read_bytes() == (two / file).read_bytes() for file in files)


def test_a_flipped_alias_is_mirrored(emoji_packages, items):
    pixels = np.asarray(Image.open(io.BytesIO(next(item for item in items if item.id == "noto-2600").read())))
    straight = np.asarray(Image.open(io.BytesIO(pictures.from_svg(svg("#d25a20"), "sun"))))
    assert np.abs(pixels.astype(int) - straight[:, ::-1]).max() <= 1
    assert (pixels != straight).any()


def test_codes_are_joined_without_selectors_and_leading_zeros():
    assert emoji.normalised("0023-FE0F-20E3") == "23-20e3" == emoji.normalised("23-20e3")


def test_a_package_without_its_file_is_refused_by_name(emoji_packages):
    (emoji_packages["twemoji"] / "chars.json").unlink()
    with pytest.raises(DataError, match=r"corpus emoji: the packages lack .*twemoji/chars.json"):
        emoji.jobs("emoji", emoji_packages)


def test_a_character_without_an_icon_is_refused(emoji_packages):
    file = emoji_packages["twemoji"] / "chars.json"
    file.write_text(json.dumps({"1f985": "missing"}))
    with pytest.raises(DataError, match="no icon missing for the character 1f985"):
        emoji.jobs("emoji", emoji_packages)


def test_a_drawing_measured_in_points_has_a_size():
    picture = Image.open(io.BytesIO(pictures.from_svg(svg("red", 'width="4pt" height="4mm"'), "points")))
    assert (255, 0, 0) in {colour for _, colour in picture.getcolors(224 * 224)}


@pytest.mark.parametrize(("text", "reason"), [("<svg", "cannot|can be rendered"), (svg("white"), "blank")])
def test_a_broken_or_blank_drawing_is_refused_by_name(text, reason):
    with pytest.raises(MediaError, match=f"apple.svg: .*({reason})"):
        pictures.from_svg(text, "apple.svg")
