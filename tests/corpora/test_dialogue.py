from __future__ import annotations

import numpy as np
import pytest
import soundfile

from polymodal.corpora import dialogue, read
from polymodal.corpora.building import Recipe, run
from polymodal.errors import DataError

LINES = {
    "cave/cs": [
        ("v-krab", "font_big", 'Look, a \\"crab\\"!', "Hele, krab!"),
        ("m-dik", "font_small", "Thanks.", "Díky."),
        ("m-nic", "font_small", "Unrecorded.", "Nenahráno."),
        ("m-ticho", "font_small", "...", "..."),
    ],
    "wreck/cs": [("v-dik", "font_big", "Thank you.", "Díky!"), ("m-lod", "font_small", "What a ship!", "To je loď!")],
    "cave/nl": [("v-krab", "font_big", "Look, a crab!", "Kijk, een krab!")],
}
UNRECORDED = "m-nic"


@pytest.fixture
def home(tmp_path):
    home = tmp_path / "fish-fillets"
    pitch = 200
    for place, said in LINES.items():
        room, language = place.split("/")
        script = home / "script" / room / f"dialogs_{language}.lua"
        script.parent.mkdir(parents=True, exist_ok=True)
        told = (f'\ndialogId("{name}", "{font}", "{english}")\ndialogStr("{text}")\n' for name, font, english, text in said)
        script.write_text("".join(told), "utf-8")
        for name, *_ in said:
            file = home / "sound" / room / language / f"{name}.ogg"
            file.parent.mkdir(parents=True, exist_ok=True)
            pitch += 20
            if name != UNRECORDED:
                wave = 0.3 * np.sin(2 * np.pi * pitch * np.arange(8_000) / 16_000)
                soundfile.write(file, wave, 16_000, format="OGG", subtype="VORBIS")
    return home


@pytest.fixture
def items(home, tmp_path):
    run(Recipe("dialogue", 1), lambda: dialogue.jobs({"fish-fillets": home}), tmp_path)
    return {item.id: item for item in read("dialogue", tmp_path)}


def test_a_line_is_taken_if_it_is_recorded_has_words_and_belongs_to_one_room(items):
    assert set(items) == {"cs/cave/v-krab", "cs/wreck/m-lod", "nl/cave/v-krab"}  # "Díky" is said in two rooms


def test_a_line_has_its_text_its_english_and_its_speaker(items):
    line = items["cs/cave/v-krab"]
    assert (line.text, line.caption, line.voice) == ("Hele, krab!", 'Look, a "crab"!', "cs-big")
    assert {question.type: question.answer for question in line.questions} == {
        "language": "Czech",
        "translation": 'Look, a "crab"!',
    }


def test_a_room_is_in_one_split_in_both_languages(items):
    assert items["cs/cave/v-krab"].split == items["nl/cave/v-krab"].split
    assert items["cs/cave/v-krab"].concept == "room cave" != items["cs/wreck/m-lod"].concept


def test_a_language_without_recordings_is_refused(home):
    (home / "sound" / "cave" / "nl" / "v-krab.ogg").unlink()
    with pytest.raises(DataError, match="no recorded line in Dutch"):
        dialogue.jobs({"fish-fillets": home})
