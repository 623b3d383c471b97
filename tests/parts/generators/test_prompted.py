"""A generator that is told in words what to make makes what its own text encoder makes of them."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file, save_file

from polymodal.errors import ContentError, RecipeError
from polymodal.parts.output import Target
from tests.outputs import DIFFUSION
from tests.parts.generators.contract import equal, make, random

TOLD = {"of": DIFFUSION}


def test_a_prompt_makes_what_its_condition_makes():
    generator, plain = make("prompted", **TOLD), make(**DIFFUSION)
    assert (generator.modality, generator.takes, generator.vocabulary) == ("image", "text", 0)
    made = generator.make(["a red cat", " a dog "], random())
    assert equal(made, plain.make(plain.condition([Target("a red cat"), Target("a dog")]), random()))
    assert not equal(made, generator.make(["a dog", "a dog"], random()))


def test_options_and_weights_make_the_same_generator_again(tmp_path):
    generator = make("prompted", **TOLD)
    save_file(generator.state_dict(), tmp_path / "weights.safetensors")
    torch.manual_seed(99)
    again = make("prompted", **generator.options)
    again.load_state_dict(load_file(tmp_path / "weights.safetensors"), strict=True)
    assert again.options == generator.options
    assert equal(again.make(["a cat"], random()), generator.make(["a cat"], random()))


def test_a_prompt_without_a_word_is_refused():
    with pytest.raises(ContentError, match="prompt 2 for the generator of image has no word"):
        make("prompted", **TOLD).make(["a cat", " "], random())


@pytest.mark.parametrize(
    ("of", "says"),
    [
        ({"kind": "patches", "size": 8, "patch": 4}, "'patches' has no text encoder"),
        ({"kind": "diffusion", "path": "a/b"}, "'path' stands beside 'of'"),
    ],
)
def test_what_reads_no_prompt_is_refused(of, says):
    with pytest.raises(RecipeError, match=says):
        make("prompted", of=of)
