"""C-Former: as many positions as were stated, each a mean of neighbouring features by the weights that it gave them."""

from __future__ import annotations

import pytest
import torch

from polymodal.errors import RecipeError
from polymodal.parts.base import Features, build
from polymodal.parts.input_projectors import INPUT_PROJECTORS
from polymodal.parts.input_projectors.c_former import LONGEST, CFormer, integrate

SIZES = {"stride": 4, "depth": 1, "hidden": 16, "heads": 2}


def fired(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Integrate and fire as arXiv 1905.11235 tells it, a feature at a time."""
    out, level, state = [], 0.0, torch.zeros_like(x[0])
    for row, whole in zip(x, weight.tolist(), strict=True):
        left = whole
        while level + left >= 1 - 1e-9:
            out.append(state + (1 - level) * row)
            left, level, state = left - (1 - level), 0.0, torch.zeros_like(row)
        level, state = level + left, state + left * row
    return torch.stack(out)


@pytest.mark.parametrize(("n", "length"), [(1, 1), (9, 3), (40, 10), (3, 3), (2, 7)])
def test_integrating_is_firing_one_by_one(n, length):
    torch.manual_seed(n)
    x, weight = torch.randn(n, 6), torch.rand(n).double() + 0.05
    weight = weight * length / weight.sum()
    assert torch.allclose(integrate(x, weight, length), fired(x, weight).float(), atol=1e-5)


def test_equal_weights_are_means_of_as_many_features():
    x = torch.randn(12, 5)
    out = integrate(x, torch.full((12,), 0.25).double(), 3)
    assert torch.allclose(out, x.reshape(3, 4, 5).mean(1), atol=1e-6)


def test_a_louder_weight_makes_a_position_of_fewer_features():
    projector = CFormer(6, 8, **SIZES).eval()
    x = torch.randn(40, 6)
    weight = projector.weights(x)
    assert weight.sum().item() == pytest.approx(10)
    assert (weight > 0).all()
    gradient = torch.autograd.grad(integrate(x, weight, 10).square().sum(), projector.weigh.weight)[0]
    assert gradient.abs().max() > 0  # what it learns by: borders move


def test_more_positions_than_a_bert_has_are_read_span_by_span():
    torch.manual_seed(0)
    projector = CFormer(6, 8, **SIZES | {"stride": 1}).eval()
    projector.weights = lambda x: torch.ones(len(x)).double()
    x = torch.randn(LONGEST + 9, 6)
    with torch.no_grad():
        (whole,) = projector(Features([x]))
        first, rest = projector(Features([x[:LONGEST], x[LONGEST:]]))
    assert torch.allclose(whole, torch.cat((first, rest)), atol=1e-4)


def test_heads_must_divide_the_width():
    with pytest.raises(RecipeError, match="3 does not divide 16"):
        build("projector", INPUT_PROJECTORS, {"kind": "c-former", "hidden": 16, "heads": 3}, 4, 4)
