"""Forced choice by likelihood equals the definition, however it is computed."""

from __future__ import annotations

import pytest
import torch

from polymodal.content import assistant, audio, image, user
from polymodal.evaluation.choice import likelihoods
from polymodal.model.sequence import collate
from tests.conftest import picture, sound

OPTIONS = ["a cat", "hello world", "x", "the quick brown fox jumps over a lazy dog"]


ALIKE = ["this is a cat", "this is a hat", "this is a", "this is a cat and a dog"]


@pytest.mark.parametrize("options", [OPTIONS, ALIKE, ["a cat"], ["a cat", "a cat"]])
@pytest.mark.parametrize("which", ["tiny", "tiny_t5"])
def test_scores_are_the_log_likelihood_of_the_whole_answer(which, options, request):
    composition = request.getfixturevalue(which)
    messages = [user(image(picture(1)), audio(sound(0.3)), "what is this?")]
    scores = likelihoods(composition, messages, options)
    for option, score in zip(options, scores, strict=True):
        example = composition.processor.encode([*messages, assistant(option)])
        with torch.no_grad():
            out = composition.model(collate([example], composition.processor.pad_id))
        expected = out.logits.log_softmax(-1).gather(-1, out.labels[:, None]).sum()
        assert torch.allclose(score, expected, atol=1e-3)


def test_the_picture_is_encoded_once_for_all_options(tiny):
    before = tiny.model.encoded
    likelihoods(tiny, [user(image(picture(1)), "what is this?")], OPTIONS)
    assert tiny.model.encoded == before + 1
