from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile
from PIL import Image

from polymodal.corpora import exclusions, gcompris, read
from polymodal.corpora.building import Recipe, run
from polymodal.errors import DataError

BOARD = """QtObject {{ property var tab: [ {{ "image": "q.svg", "title": qsTr("{title}"),
 "text": qsTr("It is \\"{title}\\"."),
 {audio} "image2": "qrc:/gcompris/src/activities/{folder}/{name}.webp", "x": 0.3 }} ] }}"""
HEARD = '"audio": GCompris.ApplicationInfo.getAudioFilePath("qrc:/gcompris/src/activities/{}/{}.$CA"),'
SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><circle cx="4" cy="4" r="3"/></svg>'


@pytest.fixture
def folders(tmp_path):
    home = tmp_path / "asset" / "gcompris" / "src" / "activities"

    def picture(path, colour):
        file = home / path
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 20), colour).save(file, lossless=True)

    def recording(path, seconds):
        file = home / path
        file.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(file, 0.1 * np.sin(np.arange(int(seconds * 22_050)) / 9), 22_050, format="OGG", subtype="VORBIS")

    def board(activity, title, folder, name, heard=None):
        file = home / activity / "resource" / "board" / "board1.qml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(BOARD.format(title=title, folder=folder, name=name, audio=HEARD.format(*heard) if heard else ""))

    picture("lang/resource/words_sample/orange-color.webp", "orange")
    farm, music = "explore_farm_animals/resource/animals", "explore_world_music/resource/music"
    picture(f"{farm}/cat.webp", "red")
    recording(f"{farm}/cats.ogg", 1)
    board("explore_farm_animals", "Cat", farm, "cat", (farm, "cats"))
    picture(f"{music}/japan.webp", "green")
    recording(f"{music}/japan.ogg", gcompris.LONGEST + 1)
    board("explore_world_music", "Japan, Asia", music, "japan", (music, "japan"))
    images = "categorization/resource/images"
    for number, name in enumerate(
        ("monuments/towerOfPisa", "monuments/monument2", "fishes/fish1", "tools/hammer7", "renewable/solar2", "numbers/n")
    ):
        picture(f"{images}/{name}.webp", (number, 99, 0))
    (home / images / "renewable" / "README").write_text("License: CC-BY 2.0\nFiles:\nsolar2.webp\n")
    (home / images / "tools" / "README").write_text("License: Public Domain\n\nLicense: GPLv3\nFiles:\nhammer7.webp")
    recording("instruments/resource/electric_organ.ogg", 0.5)
    (home / "instruments/resource/electric_organ.svg").write_text(SVG)
    return {"gcompris": tmp_path / "asset"}


@pytest.fixture
def items(folders, tmp_path):
    run(Recipe("gcompris", 1), lambda: gcompris.jobs(folders), tmp_path)
    return {item.id: item for item in read("gcompris", tmp_path)}


def test_every_picture_and_recording_is_named_as_a_person_would(items):
    assert {id: (item.group, item.caption) for id, item in items.items()} == {
        "lang/words_sample/orange-color": ("drawing", "orange color"),
        "explore_farm_animals/animals/cat": ("photograph", "Cat"),
        "explore_farm_animals/animals/cats-heard": ("recording", "the sound of a cat"),
        "explore_world_music/music/japan": ("photograph", "music: Japan"),
        "explore_world_music/music/japan-heard": ("recording", "music: Japan"),
        "categorization/monuments/towerOfPisa": ("photograph", "Tower of Pisa"),
        "categorization/fishes/fish1": ("photograph", "fish"),
        "categorization/tools/hammer7": ("photograph", "hammer"),
        "categorization/renewable/solar2": ("photograph", "solar cooker"),
        "instruments/electric_organ-heard": ("recording", "electric organ"),
        "instruments/electric_organ": ("drawing", "electric organ"),
    }


def test_what_the_test_photographs_show_is_excluded_and_so_is_every_unnamed_fish(items):
    assert {"hammer", "orange"} <= exclusions()
    excluded = {id.rpartition("/")[2] for id, item in items.items() if item.split == "excluded"}
    assert excluded == {"orange-color", "fish1", "hammer7"}


def test_a_thing_heard_and_the_thing_seen_share_the_concept_that_decides_the_split(items):
    for name, key in (("explore_world_music/music/japan", "japan"), ("instruments/electric_organ", "electric organ")):
        assert items[name].concept == items[f"{name}-heard"].concept == key
        assert items[name].split == items[f"{name}-heard"].split


def test_a_board_is_asked_for_its_title_and_its_paragraph(items):
    asked = items["explore_farm_animals/animals/cat"].questions
    assert [(qa.type, qa.answer) for qa in asked] == [("name", "Cat"), ("knowledge", 'It is "Cat".')]


def test_licences_are_those_of_the_folder_of_each_file(items):
    assert items["categorization/renewable/solar2"].licence == "CC-BY-2.0"
    assert items["categorization/tools/hammer7"].licence == "GPL-3.0"
    assert items["lang/words_sample/orange-color"].licence == "CC-BY-SA-3.0"
    assert items["instruments/electric_organ"].licence == "GPL-3.0-or-later"


def test_recordings_become_flac_of_at_most_the_longest_and_pictures_squares(items):
    samples, rate = soundfile.read(io.BytesIO(items["explore_world_music/music/japan-heard"].read()))
    assert (len(samples), rate) == (gcompris.LONGEST * 16_000, 16_000)
    assert Image.open(io.BytesIO(items["categorization/tools/hammer7"].read())).size == (224, 224)


def test_an_asset_that_lacks_an_activity_is_refused(folders, tmp_path):
    with pytest.raises(DataError, match="nothing for the words"):
        gcompris.jobs({"gcompris": tmp_path})
