"""Spans of samples."""

from __future__ import annotations

import pytest
import torch
from tests.outputs import SIGNALS
from tests.parts.generators.test_latent_speech import DECODER, LETTERS

from polymodal.content import Part, assistant, user
from polymodal.model.composition import Composition

SPEECH = {
    "kind": "latent-speech",
    "config": {**DECODER, "latent_width": 192},
    "conditions": {"config": LETTERS, "positions": 32},
    "network": {"width": 16, "layers": 2},
    "teacher": {},
}


@pytest.mark.weights
def test_a_caption_without_a_recording_teaches_what_the_teacher_says(tiny_recipe):
    """And a recipe that names no teacher learns from the caption alone."""
    said = [user("speak"), assistant(Part("audio", caption="Good morning."))]
    targets = []
    for generator in (SPEECH, {**SPEECH, "teacher": None}):
        recipe = tiny_recipe()
        recipe["model"]["outputs"] = {"audio": {**SIGNALS, "generator": generator}}
        composition = Composition.from_recipe(recipe)
        (span,) = composition.processor.encode(said).made
        assert span.target is not None
        assert span.target.caption == "Good morning."
        targets.append((span.target.prepared, composition.model.designs["audio"]))
    (prepared, design), (nothing, _) = targets
    assert nothing is None
    assert torch.equal(prepared, design.taught("Good morning."))
