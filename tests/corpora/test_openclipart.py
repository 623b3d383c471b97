from __future__ import annotations

import io
import json

import pytest
from PIL import Image

from polymodal.corpora import exclusions, openclipart, read
from polymodal.corpora.building import Recipe, run
from polymodal.errors import DataError

RDF = """<metadata><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns="http://web.resource.org/cc/"
xmlns:dc="http://purl.org/dc/elements/1.1/"><Work><dc:title>{title}</dc:title><dc:subject><rdf:Bag>{keywords}</rdf:Bag>
</dc:subject><license rdf:resource="http://web.resource.org/cc/PublicDomain"/></Work></rdf:RDF></metadata>"""


def drawing(title: str, *keywords: str, shape: str = '<circle cx="12" cy="80" r="8"/>', size: str = "100") -> str:
    said = RDF.format(title=title, keywords="".join(f"<rdf:li>{word}</rdf:li>" for word in keywords))
    page = f'width="{size}" height="{size}" viewBox="0 0 100 100"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {page}>{said}{shape}</svg>'


def bars(*heights: int) -> str:
    return "".join(f'<rect x="{8 * i}" y="{90 - h}" width="7" height="{h}"/>' for i, h in enumerate(heights))


@pytest.fixture
def folders(tmp_path):
    files = {
        "animals/birds/heron_1": drawing("Blue Stork (B and W)", "bird", "stork", shape=bars(10, 40, 20)),
        "animals/birds/gallo": drawing("Gallo", "bird", shape=bars(30, 10, 50)),
        "animals/birds/cigno_architetto": drawing("bird", "bird", shape=bars(5, 50, 5)),
        "animals/mammals/bobi": drawing("A funny pet", "dog", shape=bars(40, 30, 20)),
        "animals/mammals/set.v2": drawing("The wise old goat at home", "mammal", shape=bars(9, 30, 22)),
        "computer/lcd_02": drawing("Clipart by N B - antenna", "hardware", "lcd", shape=bars(50, 50, 50, 20)),
        "computer/flat": drawing("Part of the Flat Icon Collection", "icon"),
        "computer/nameless": drawing("", "icon"),
        "shapes/arrow8": drawing("arrow", "arrow", shape=bars(10, 20, 30)),
        "shapes/arrow9": drawing("great arrow 9", "arrow", shape=bars(10, 20, 30), size="400"),
        "signs/chad": drawing("Chad", "flag", "africa", shape=bars(20, 9)),
        "unsorted/anatra": drawing("star", "star"),
        "plants/blank": drawing("leaf", "leaf", shape=""),
    }
    for name, svg in files.items():
        file = tmp_path / "openclipart" / "svg" / f"{name}.svg"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(svg)
    english = tmp_path / "emojibase" / "en" / "data.json"
    english.parent.mkdir(parents=True)
    words = ("funny pet", "old goat", "home", "arrow", "flag: Chad", "star", "leaf", "great", "bird", "wise", "blue")
    english.write_text(json.dumps([{"label": word} for word in words]))
    return {"openclipart": tmp_path / "openclipart", "emojibase": tmp_path / "emojibase"}


@pytest.fixture
def items(folders, tmp_path):
    run(Recipe("openclipart", 1), lambda: openclipart.jobs(folders), tmp_path, share=0.5)
    return {item.id: item for item in read("openclipart", tmp_path)}


def test_titles_that_are_not_understood_decide_nothing(items):
    assert set(items) == {
        "animals/birds/heron_1",
        "animals/mammals/bobi",
        "animals/mammals/set.v2",
        "computer/lcd_02",
        "shapes/arrow8",
        "signs/chad",
    }


def test_captions_lose_numbers_and_credits_and_a_shared_title_gives_way_to_the_file(items):
    assert items["animals/birds/heron_1"].caption == "Blue Stork"
    assert items["computer/lcd_02"].caption == "lcd"


def test_a_country_is_the_concept_of_its_flag(items):
    assert (items["signs/chad"].caption, items["signs/chad"].concept) == ("flag: Chad", "chad")


def test_a_keyword_or_a_word_of_the_title_excludes_what_the_photographs_show(items):
    assert {"dog", "goat"} <= exclusions()
    assert items["animals/mammals/bobi"].split == items["animals/mammals/set.v2"].split == "excluded"
    assert items["animals/birds/heron_1"].split != "excluded"


def test_variants_that_look_alike_are_taken_once_under_the_shorter_name(items):
    assert "shapes/arrow8" in items
    assert "shapes/arrow9" not in items


def test_a_drawing_fills_its_picture_wherever_it_lay_on_the_page(items):
    picture = Image.open(io.BytesIO(items["animals/birds/heron_1"].read())).convert("L")
    box = picture.point(lambda value: 255 if value < 128 else 0).getbbox()
    assert picture.size == (224, 224)
    assert box[3] - box[1] >= 222
    assert abs((box[0] + box[2]) / 2 - 112) < 3


def test_an_asset_without_drawings_is_refused(folders, tmp_path):
    with pytest.raises(DataError, match="no folder"):
        openclipart.jobs({**folders, "openclipart": tmp_path})
