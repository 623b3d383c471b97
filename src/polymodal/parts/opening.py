"""When to make something. Decides that the question is put once, where an answer begins, to the states of every position
that is answered, and not to the last of them alone.

What a frozen backbone keeps in its last state is what predicts a word. Which of several things a wish is for stands, in
words that name it, somewhere before that: means over the positions say it, and a linear look at both is enough.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from polymodal.errors import RecipeError
from polymodal.parts.backbones import Backbone
from polymodal.parts.input_projectors.standardize import Standardize


class Opening(nn.Module):
    """`layers`: the numbers of those whose states are read. `margin`: by how much the logarithm of the odds of an output
    has to exceed that of none. `outputs`: how many there are. Raises `RecipeError` for a layer that the backbone has not,
    and for a backbone that writes what it has not read (seq2seq)."""

    def __init__(self, outputs: int, backbone: Backbone, layers: Sequence[int], margin: float = 0.0) -> None:
        super().__init__()
        if backbone.seq2seq:
            raise RecipeError("'opening' needs a causal backbone")
        if not layers or len({*layers}) < len(layers) or not all(0 <= layer < len(backbone.layers) for layer in layers):
            raise RecipeError(f"opening.layers {[*layers]}: different ones from 0 to {len(backbone.layers) - 1} are wanted")
        self.layers, self.margin = list(layers), margin
        self.scale = Standardize(2 * len(layers) * backbone.width)
        self.score = nn.Linear(2 * len(layers) * backbone.width, outputs)
        nn.init.zeros_(self.score.weight)
        nn.init.zeros_(self.score.bias)

    def forward(self, read: Tensor) -> Tensor:
        """[B, 2 L D], as `Turn.read` has it -> [B, outputs + 1], logits of the outputs and, last, of none: 0."""
        scores = self.score(self.scale(read.to(self.score.weight.dtype))).float()
        return torch.cat([scores, torch.zeros_like(scores[:, :1])], 1)

    def decided(self, read: Tensor, may: Sequence[bool]) -> list[int | None]:
        """[B, 2 L D] -> the number of the output that each answer opens with, of those that it `may`, or None."""
        scores = self(read)[:, :-1] - self.margin
        scores[:, [number for number, allowed in enumerate(may) if not allowed]] = -torch.inf
        best = scores.max(1)
        return [number if over > 0 else None for over, number in zip(*(found.tolist() for found in best), strict=True)]


class Turn:
    """What is answered, as it goes through the backbone: of each row the columns from `starts` [B] to before `ends` [B].
    `at`: how many columns went through before."""

    def __init__(self, opening: Opening, starts: Tensor, ends: Tensor, at: int = 0) -> None:
        self.layers, self.starts, self.ends = opening.layers, starts, ends
        self._sums: dict[int, Tensor] = {}
        self._last: dict[int, Tensor] = {}
        self._at = dict.fromkeys(self.layers, at)

    def see(self, states: Mapping[int, Tensor]) -> None:
        """{layer: [B, t, D]} of the next t columns."""
        for layer, found in states.items():
            columns = torch.arange(self._at[layer], self._at[layer] + found.shape[1], device=found.device)
            starts, ends = (edge.to(found.device)[:, None] for edge in (self.starts, self.ends))
            within = (columns >= starts) & (columns < ends)
            total = (found.float() * within[..., None]).sum(1)
            last = (found.float() * (columns == ends - 1)[..., None]).sum(1)
            self._sums[layer] = self._sums[layer] + total if layer in self._sums else total
            self._last[layer] = self._last[layer] + last if layer in self._last else last
            self._at[layer] += found.shape[1]

    def read(self) -> Tensor:
        """[B, 2 L D]: of each layer the last state and the mean."""
        count = (self.ends - self.starts)[:, None]
        each = [
            found for layer in self.layers for found in (self._last[layer], self._sums[layer] / count.to(self._sums[layer]))
        ]
        return torch.cat(each, 1)
