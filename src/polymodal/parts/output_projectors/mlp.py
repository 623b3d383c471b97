"""Position by position: a linear layer (DreamLLM, arXiv 2309.11499) or an MLP. Decides that they cannot change how many
there are: a span has as many positions as the condition has vectors, or the recipe is refused."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from polymodal.errors import RecipeError
from polymodal.parts.base import Positive
from polymodal.parts.output import OutputProjector


def feed_forward(width_in: int, hidden: int, width_out: int, depth: int, bias: bool = True) -> nn.Sequential:
    """`depth` linear layers with GELU between, `hidden` wide inside."""
    layers: list[nn.Module] = []
    for a, b in pairwise([width_in, *[hidden] * (depth - 1), width_out]):
        layers += [nn.GELU(), nn.Linear(a, b, bias=bias)]
    return nn.Sequential(*layers[1:])


class MLP(OutputProjector):
    """`depth` linear layers with GELU between, `hidden` (or Dg) wide inside. Raises `RecipeError` unless n is Q."""

    def __init__(
        self,
        n: int,
        width_in: int,
        positions: int,
        width_out: int,
        depth: Positive = 2,
        hidden: Positive | None = None,
        bias: bool = True,
    ) -> None:
        super().__init__()
        if n != positions:
            way_out = f"make the span {positions} long, or take 'transformer' or 'resampler'"
            raise RecipeError(
                f"a span of {n} positions is no condition of {positions} vectors to this projector; {way_out}"
            )
        self.layers = feed_forward(width_in, hidden or width_out, width_out, depth, bias)

    def forward(self, states: Tensor) -> Tensor:
        return self.layers(states)


class Linear(MLP):
    """One linear layer; without a bias, as in DreamLLM, unless it is asked for."""

    def __init__(self, n: int, width_in: int, positions: int, width_out: int, bias: bool = False) -> None:
        super().__init__(n, width_in, positions, width_out, depth=1, bias=bias)
