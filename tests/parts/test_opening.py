"""When to make something: what is read of a turn, and what is decided by it."""

from __future__ import annotations

import pytest
import torch

from polymodal.errors import RecipeError
from polymodal.model.composition import Composition
from polymodal.parts.backbones import Backbone
from polymodal.parts.opening import Opening, Turn


@pytest.fixture
def backbone(tiny_recipe) -> Backbone:
    return Composition.from_recipe(tiny_recipe()).model.backbone


@pytest.fixture
def opening(backbone) -> Opening:
    return Opening(2, backbone, [0, 1]).eval()


def test_a_turn_that_comes_in_pieces_is_read_as_one(opening):
    states = {layer: torch.randn(3, 9, opening.scale.mean.numel() // 4) for layer in (0, 1)}
    starts, ends = torch.tensor([0, 4, 6]), torch.tensor([9, 8, 7])
    whole = Turn(opening, starts, ends)
    whole.see(states)
    pieces = Turn(opening, starts, ends)
    for first, last in ((0, 2), (2, 7), (7, 9)):
        for layer, found in states.items():
            pieces.see({layer: found[:, first:last]})
    torch.testing.assert_close(pieces.read(), whole.read())
    read = whole.read()[1].unflatten(0, (4, -1))
    torch.testing.assert_close(read[0], states[0][1, 7])
    torch.testing.assert_close(read[3], states[1][1, 4:8].mean(0))


def test_what_went_through_before_is_counted_as_gone(opening):
    states = {layer: torch.randn(1, 5, opening.scale.mean.numel() // 4) for layer in (0, 1)}
    turns = [Turn(opening, torch.tensor([2 + at]), torch.tensor([5 + at]), at) for at in (0, 7)]
    for turn in turns:
        turn.see(states)
    assert torch.equal(turns[0].read(), turns[1].read())


def test_it_decides_for_the_likeliest_that_it_may_and_for_none_within_the_margin(opening):
    read = torch.zeros(1, opening.scale.mean.numel())
    opening.score.bias.data.copy_(torch.tensor([1.0, 3.0]))
    assert opening.decided(read, [True, True]) == [1]
    assert opening.decided(read, [True, False]) == [0]
    assert opening.decided(read, [False, False]) == [None]
    opening.margin = 2.0
    assert opening.decided(read, [True, False]) == [None]
    assert opening.decided(read, [True, True]) == [1]


@pytest.mark.parametrize("layers", [[], [0, 0], [2], [-1]])
def test_layers_that_are_not_there_are_refused(backbone, layers):
    with pytest.raises(RecipeError, match="different ones from 0 to 1 are wanted"):
        Opening(1, backbone, layers)
