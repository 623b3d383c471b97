"""polymodal-nano with its real weights: what the README says of it, on the files that come with the repository."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import polymodal
from polymodal import assets
from polymodal.content import Part, assistant, user
from polymodal.corpora.kinds import TWELVE
from polymodal.evaluation.choice import likelihoods
from polymodal.evaluation.metrics import word_errors
from polymodal.model.generation import Sampling
from polymodal.model.sequence import collate

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


def test_it_draws_what_it_is_asked_for_and_a_seed_draws_the_same_again(nano):
    """Red is a red heart and not green, and what is drawn is what was written behind the opener."""
    (heart,), (again,), (leaf,) = (
        nano.ask(f"Draw a {thing} in noto style.", sampling=Sampling(seed=1)).media
        for thing in ("red heart", "red heart", "deciduous tree")
    )
    assert (heart.type, heart.caption) == ("image", "red heart, noto style")
    assert np.array_equal(np.asarray(heart.media), np.asarray(again.media))
    middle = [np.asarray(part.media)[16:40, 16:48].reshape(-1, 3).mean(0) for part in (heart, leaf)]
    assert middle[0][0] > middle[0][1] + 80
    assert middle[1][1] > middle[1][0]


def test_what_it_draws_can_be_shown_to_it(nano):
    chat = nano.chat(sampling=Sampling(seed=1))
    (heart,) = chat.ask("Draw a red heart in noto style.").media
    assert not chat.ask("What is this?", images=[heart.media]).media


def test_it_says_aloud_what_it_is_told_and_what_it_knows(nano):
    (said,) = nano.ask("Say: The weather is lovely today.").media
    assert (said.type, said.caption) == ("audio", "The weather is lovely today.")
    heard = nano.ask("Repeat what you hear.", audio=[said.media]).text
    assert word_errors(said.caption, heard)[0] <= 1
    (known,) = nano.ask("What is the capital of France? Answer aloud.").media
    assert "Paris" in (known.caption or "")


def test_it_plays_notes(nano):
    (notes,) = nano.ask("Play the accordion: three rising notes, slow.", sampling=Sampling(seed=1)).media
    assert (notes.type, notes.caption) == ("audio", "accordion: three rising notes, slow")
    samples, rate = notes.media
    assert 3 < len(samples) / rate < 5
    assert np.abs(samples).max() > 0.01


def test_it_animates_what_it_is_told(nano):
    """Something is there, it moved, and it moved to the left."""
    (clip,) = nano.ask("Make a clip: a monkey moves left.", sampling=Sampling(seed=1)).media
    assert (clip.type, clip.caption) == ("video", "a monkey moves left")
    frames = np.stack([np.asarray(frame) for frame in clip.media[0]])
    ink = (255 - frames.min(-1).astype(int)) > 30
    first, last = (np.nonzero(ink[number])[1].mean() for number in (0, -1))
    assert last < first - 9


@pytest.mark.parametrize("question", ["How do I draw a circle?", "What is a heart?", "Tell me about music.", "Hello!"])
def test_it_makes_nothing_that_was_not_asked_for(nano, question):
    answer = nano.ask(question, sampling=Sampling(max_new_tokens=8))
    assert not answer.media
    assert answer.text


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
    making = [f"outputs.{name}.{part}" for name in ("clip", "image", "sound") for part in ("generator", "tokens")]
    weights = ["backbone.peft", "opening", *trained, *making, "outputs.speech.tokens"]
    assert files == sorted([*(f"{name}.safetensors" for name in weights), "measured.json", "polymodal.json"])
    assert sum(file.stat().st_size for file in folder.iterdir()) < 40e6


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        ("What is the capital of France?", "The capital of France is Paris."),
        ("What is a heart?", "A heart is an organ that pumps blood."),
    ],
)
def test_what_it_may_make_takes_no_probability_from_what_it_says(nano, asked, answer):
    """Answers are told apart by likelihood: nothing of a text's may go to openers, closers and what stands in spans."""
    example = nano.processor.encode([user(asked), assistant(answer)])
    with torch.no_grad():
        out = nano.model(collate([example], nano.processor.pad_id))
    assert out.logits.softmax(-1)[:, nano.model.own_ids].sum(-1).max() < 0.1
