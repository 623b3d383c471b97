"""Pyramid projector: what a picture shows, then what stands where. For encoders that emit one feature of the whole and then
`cells` features of its parts (`efficientnet-lite` with `features: pyramid`).

The whole becomes `tokens` positions through a prefix network; each part becomes one position through a smaller one that
all parts share, plus a learned vector that says which part it is. An item of the whole alone (one feature) is welcome.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from polymodal.errors import RecipeError
from polymodal.parts.base import Features, InputProjector, Positive
from polymodal.parts.input_projectors.prefix import Prefix


class Pyramid(InputProjector):
    """V views of 1 + `cells` features each -> V * (`tokens` + `cells`) positions of width D; one feature -> `tokens`."""

    def __init__(
        self,
        width_in: int,
        width_out: int,
        tokens: Positive = 6,
        cells: Positive = 9,
        hidden: Positive = 512,
        dropout: float = 0.0,
        noise: float = 0.0,
    ) -> None:
        super().__init__()
        self.cells = cells
        self.whole = Prefix(width_in, width_out, tokens, hidden, dropout, noise)
        self.part = Prefix(width_in, width_out, 1, hidden, dropout, noise)
        self.place = nn.Parameter(torch.zeros(cells, width_out))

    def length(self, n: int) -> int:
        """Raises `RecipeError` if the N features are neither one nor whole groups of 1 + `cells`."""
        views, rest = divmod(n, 1 + self.cells)
        if rest and n != 1:
            raise RecipeError(f"projector 'pyramid': {n} features are no groups of 1 + {self.cells}; set its 'cells'")
        return self.whole.tokens if n == 1 else views * (self.whole.tokens + self.cells)

    def forward(self, features: Features) -> list[Tensor]:
        groups = [x.reshape(-1, min(len(x), 1 + self.cells), x.shape[-1]) for x in features.tokens]
        wholes = self.whole(Features([g[:, 0] for g in groups]))
        cells = [g[:, 1:].flatten(0, 1) for g in groups if g.shape[1] > 1]
        parts = iter(self.part(Features(cells)) if cells else ())
        out = []
        for group, whole in zip(groups, wholes, strict=True):
            views = whole.unflatten(0, (len(group), -1))
            if group.shape[1] > 1:
                views = torch.cat([views, next(parts).unflatten(0, (len(group), -1)) + self.place], dim=1)
            out.append(views.flatten(0, 1))
        return out
