"""A generator's own text encoder: its shapes, and that it stands outside of everything."""

from __future__ import annotations

import pytest
import torch

from polymodal.errors import RecipeError
from polymodal.parts.generators.text_conditions import TextConditions

SIZES = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 384}
CONFIGS = {
    "bert": {"model_type": "bert", **SIZES},
    "clip": {"model_type": "clip_text_model", **SIZES, "bos_token_id": 2, "eos_token_id": 1},
    "clap": {"model_type": "clap_text_model", **SIZES, "projection_dim": 12},
    "t5": {"model_type": "t5", "d_model": 16, "d_ff": 16, "d_kv": 8, "num_layers": 1, "num_heads": 2, "vocab_size": 384},
}
CAPTIONS = ["a cat", "a very small dog that barks at the moon"]


@pytest.mark.parametrize("name", CONFIGS)
def test_captions_become_a_fixed_number_of_states(name):
    conditions = TextConditions(positions=8, config=CONFIGS[name])
    states = conditions(CAPTIONS)
    assert states.shape == (2, 8, conditions.width)
    assert states.dtype == torch.float32
    assert conditions([]).shape == (0, 8, conditions.width)


@pytest.mark.parametrize("name", CONFIGS)
def test_pooled_captions_are_one_vector_of_unit_length(name):
    conditions = TextConditions(pooled=True, config=CONFIGS[name])
    vectors = conditions(CAPTIONS)
    assert vectors.shape == (2, 1, conditions.width)
    torch.testing.assert_close(vectors.norm(dim=-1), torch.ones(2, 1))


def test_padding_is_zero_but_for_clip():
    read = {name: TextConditions(positions=8, config=CONFIGS[name])(["a cat"])[0] for name in ("bert", "clip")}
    assert read["bert"][6:].eq(0).all()  # five bytes and the end of the text
    assert read["bert"][:6].ne(0).any(-1).all()
    assert read["clip"].ne(0).any(-1).all()


def test_a_caption_does_not_depend_on_its_neighbours():
    conditions = TextConditions(positions=50, config=CONFIGS["bert"])
    torch.testing.assert_close(conditions(CAPTIONS)[:1], conditions(CAPTIONS[:1]))


def test_reading_captions_changes_no_random_state_and_has_no_gradient():
    conditions = TextConditions(positions=4, config=CONFIGS["bert"])
    before = torch.get_rng_state()
    assert not conditions(CAPTIONS).requires_grad
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(conditions(CAPTIONS), TextConditions(positions=4, config=CONFIGS["bert"])(CAPTIONS))


def test_nothing_is_read_before_the_first_caption():
    TextConditions("no/such-model", 4)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"path": "a", "positions": 0}, "at least 1"),
        ({"path": "a", "positions": 2, "pooled": True}, "1 if they are pooled"),
        ({"positions": 2}, "either 'path'"),
    ],
)
def test_what_cannot_be_is_refused_by_name(options, says):
    with pytest.raises(RecipeError, match=says):
        TextConditions(**options)


def test_an_encoder_of_something_else_is_refused():
    conditions = TextConditions(positions=2, config={"model_type": "clip_vision_model"})
    with pytest.raises(RecipeError, match="no text encoder"):
        conditions(["a cat"])
