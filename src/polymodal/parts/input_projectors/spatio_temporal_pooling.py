"""Means over a clip (Video-ChatGPT, arXiv 2306.05424): what each frame shows, wherever it is, then what stands in each
place, whenever it is. A hundred frames of 256 features are 356 positions. For encoders that emit the features of one frame
behind those of another (`frames`)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from polymodal.errors import RecipeError
from polymodal.parts.base import Features, InputProjector, Positive


class SpatioTemporalPooling(InputProjector):
    """F frames of `cells` features each -> F + `cells` positions, through one linear layer. The paper fills a clip of fewer
    frames up with zeros, and here it is shorter."""

    def __init__(self, width_in: int, width_out: int, cells: Positive = 256) -> None:
        super().__init__()
        self.cells = cells
        self.leave = nn.Linear(width_in, width_out)

    def length(self, n: int) -> int:
        """Raises `RecipeError` if the N features are no whole frames."""
        frames, rest = divmod(n, self.cells)
        if rest or not frames:
            raise RecipeError(
                f"projector 'spatio-temporal-pooling': {n} features are no frames of {self.cells}; set its 'cells'"
            )
        return frames + self.cells

    def forward(self, features: Features) -> list[Tensor]:
        clips = [x.unflatten(0, (-1, self.cells)) for x in features.tokens]  # [F, cells, De]
        return [self.leave(torch.cat([x.mean(1), x.mean(0)])) for x in clips]
