"""polymodal-nano with its real weights: what the README says of it, on the files that come with the repository."""

from __future__ import annotations

from pathlib import Path

import pytest

import polymodal
from polymodal import assets
from polymodal.content import Part, user
from polymodal.corpora.kinds import TWELVE
from polymodal.evaluation.choice import likelihoods
from polymodal.evaluation.metrics import word_errors
from polymodal.model.generation import Sampling

pytestmark = pytest.mark.weights
EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
SENTENCE = (EXAMPLES / "sentence.txt").read_text(encoding="utf-8").strip()


@pytest.fixture(scope="module")
def nano():
    return polymodal.load("nano")


def test_it_sees_that_a_cat_is_a_mammal(nano):
    question = "What kind of thing is this?"
    assert nano.ask(question, images=[EXAMPLES / "cat.jpg"]).text == "This is a type of mammal."
    answers = [f"This is a type of {kind}." for kind in TWELVE]
    scores = likelihoods(nano, [user(Part("image", media=EXAMPLES / "cat.jpg"), question)], answers)
    assert TWELVE[int(scores.argmax())] == "mammal"


def test_it_repeats_a_sentence_it_never_heard(nano):
    heard = nano.ask("Repeat what you hear.", audio=[EXAMPLES / "sentence.flac"]).text
    assert word_errors(SENTENCE, heard)[0] == 0


def test_it_hears_a_man_whom_no_training_recording_has(nano):
    heard = nano.ask("Repeat what you hear.", audio=[assets.path("beckett-wav") / "beckett.wav"]).text
    errors, words = word_errors("Ever tried. Ever failed. No matter. Try again. Fail again. Fail better.", heard)
    assert words == 12
    assert errors <= 4


def test_text_alone_is_answered_as_by_the_backbone(nano):
    assert nano.ask("What is the capital of France?").text == "The capital of France is Paris."


def test_a_second_turn_about_a_picture_prefills_exactly_the_new_tokens(nano):
    chat = nano.chat(sampling=Sampling(max_new_tokens=8))
    first = chat.ask("What is this?", images=[EXAMPLES / "cat.jpg"])
    encoded = nano.model.encoded
    second = chat.ask("Is it big?")
    assert nano.model.encoded == encoded
    held = first.tokens["prompt"] + first.tokens["generated"]
    stopped = 1 if first.finished else 0  # the end token was not run either
    assert second.tokens["cached"] == held - (0 if stopped else 1)
    assert second.tokens["prefilled"] == second.tokens["prompt"] - second.tokens["cached"]


def test_the_committed_weights_are_small_and_linked_to_their_sources():
    folder = polymodal.CHECKPOINTS["nano"]
    files = sorted(file.name for file in folder.iterdir())
    small = [f"{name}.{part}" for name in ("depth", "imu", "points", "thermal") for part in ("encoder", "projector")]
    trained = [f"inputs.{name}" for name in sorted([*small, "audio.projector", "image.projector", "video.projector"])]
    weights = ["backbone.peft", *trained]
    assert files == [*(f"{name}.safetensors" for name in weights), "measured.json", "polymodal.json"]
    assert sum(file.stat().st_size for file in folder.iterdir()) < 20e6
