from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile

from polymodal.corpora import concepts, exclusions, read, stamp_recordings
from polymodal.corpora.building import Recipe, run
from polymodal.corpora.items import manifest
from polymodal.errors import DataError

TEXTS = {
    "vehicles/tram": (
        "A tram.",
        {"fr": "Un tramway.", "el": "Ένα τραμ.", "ca": "Un tramvia que va lluny.", "be": "Трамвай."},
    ),
    "animals/birds/duck": ("A duck.", {"fr": "Un  canard."}),
    "animals/insects/bee": ("A bee.", {"ru": "Пчела."}),
    "symbols/math/1": ("One.", {}),
    "household/toilet": ("Remember to flush the toilet and wash your hands!", {}),
}
SPOKEN = (
    "tram_desc_fr",
    "tram_desc_el",
    "tram_desc_ca",
    "tram_desc_be",
    "tram_desc_nl",
    "tram_desc_da",
    "tram_desc_fr.ogg",
)


def recording(file, hertz, loudness=0.3):
    file.parent.mkdir(parents=True, exist_ok=True)
    wave = loudness * np.sin(2 * np.pi * hertz * np.arange(22_050) / 22_050)
    soundfile.write(file, np.stack([wave, wave], 1), 22_050, format="OGG", subtype="VORBIS")


@pytest.fixture
def home(tmp_path):
    home = tmp_path / "stamps"
    for stem, (english, others) in TEXTS.items():
        text = home / f"{stem}.txt"
        text.parent.mkdir(parents=True, exist_ok=True)
        text.write_text("\n".join((english, *(f"{code}.utf8={said}" for code, said in others.items()))) + "\n", "utf-8")
    for number, name in enumerate(SPOKEN):
        recording(home / "vehicles" / f"{name}.ogg", 200 + 20 * number)
    recording(home / "animals/birds/duck_desc_fr.ogg", 500)
    for number, stem in enumerate(("animals/birds/duck", "animals/insects/bee", "symbols/math/1", "household/toilet")):
        recording(home / f"{stem}.ogg", 600 + 20 * number)
    return home


@pytest.fixture
def speech(home, tmp_path):
    run(Recipe("stamp-speech", 1), lambda: stamp_recordings.speech_jobs(home), tmp_path)
    return {item.id: item for item in read("stamp-speech", tmp_path)}


@pytest.fixture
def sounds(home, tmp_path):
    run(Recipe("stamp-sounds", 1), lambda: stamp_recordings.sound_jobs(home), tmp_path)
    return {item.id: item for item in read("stamp-sounds", tmp_path)}


def test_only_a_caption_that_is_read_as_written_is_taken(speech):
    assert set(speech) == {"fr/vehicles/tram", "el/vehicles/tram", "be/vehicles/tram", "fr/animals/birds/duck"}


def test_what_is_said_has_its_text_and_english(speech):
    duck = speech["fr/animals/birds/duck"]
    assert (duck.text, duck.caption, duck.voice, duck.group) == ("Un canard.", "A duck.", "tuxpaint-fr", "French")
    assert {question.type: question.answer for question in duck.questions} == {
        "language": "French",
        "translation": "A duck.",
    }


def test_greek_is_held_out_and_the_photographs_are_excluded(speech):
    assert speech["el/vehicles/tram"].split == "held-out"
    assert speech["fr/vehicles/tram"].split == concepts.split_of("tram") == speech["el/vehicles/tram"].concept_split
    assert "duck" in exclusions()
    assert speech["fr/animals/birds/duck"].split == "excluded"


def test_a_recording_is_flac_mono_at_16_kilohertz(speech):
    samples, rate = soundfile.read(io.BytesIO(speech["fr/vehicles/tram"].read()))
    assert (rate, samples.ndim) == (16_000, 1)
    assert len(samples) == pytest.approx(16_000, abs=2)


def test_sounds_are_of_things_and_no_spoken_captions(sounds):
    assert set(sounds) == {"animals/birds/duck", "animals/insects/bee"}
    assert sounds["animals/birds/duck"].split == "excluded"
    assert [question.answer for question in sounds["animals/insects/bee"].questions] == ["a bee", "an insect"]


def test_a_silent_recording_is_set_aside(home, tmp_path):
    recording(home / "vehicles/tram_desc_fr.ogg", 300, loudness=0.0005)
    run(Recipe("stamp-speech", 1), lambda: stamp_recordings.speech_jobs(home), tmp_path, share=0.5)
    assert manifest("stamp-speech", tmp_path)["quarantined"] == 1
    assert "fr/vehicles/tram" not in {item.id for item in read("stamp-speech", tmp_path)}


@pytest.mark.parametrize("jobs", [stamp_recordings.speech_jobs, stamp_recordings.sound_jobs])
def test_a_folder_without_recordings_is_refused(jobs, tmp_path):
    with pytest.raises(DataError, match="no (spoken caption|sound of a stamp) in"):
        jobs(tmp_path)
