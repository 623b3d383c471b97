"""Linear and MLP projectors (LLaVA, arXiv 2304.08485; LLaVA-1.5, 2310.03744), with frame stacking for speech.

Stacking joins `stack` neighbouring features into one position (SLAM-ASR, arXiv 2402.08846): Whisper's 50 features per
second become 12.5 positions per second at `stack: 4`. A last incomplete group is filled by repeating its last feature.
Hours of speech are few: in training, `dropout` and spans that are masked (SpecAugment, arXiv 1904.08779) keep a projector
from learning its recordings by heart.
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from polymodal.parts.base import Features, InputProjector, Positive
from polymodal.parts.input_projectors.standardize import Standardize

Above = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, lt=1)]


class MLP(InputProjector):
    """`depth` linear layers with GELU between, `hidden` (or D) wide inside. `norm` standardises the features first. In
    training only: `dropout` in front of every layer, and about `mask` of the positions, two in a row, see nothing."""

    def __init__(
        self,
        width_in: int,
        width_out: int,
        depth: Positive = 2,
        hidden: Positive | None = None,
        stack: Positive = 1,
        norm: bool = False,
        dropout: Share = 0.0,
        mask: Share = 0.0,
    ) -> None:
        super().__init__()
        self.stack, self.normed, self.dropout, self.mask = stack, norm, dropout, mask
        widths = [width_in * stack, *[hidden or width_out] * (depth - 1), width_out]
        self.norm = Standardize(widths[0]) if norm else nn.Identity()
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in zip(widths[:-1], widths[1:], strict=True))

    def length(self, n: int) -> int:
        return -(-n // self.stack)

    def forward(self, features: Features) -> list[Tensor]:
        stacked = [self._stack(x) for x in features.tokens]
        x = self.norm(torch.cat(stacked))  # one 2-D product for the whole batch: M x [N', De*stack] -> [sum N', ...]
        if self.training and self.mask:
            hidden = torch.rand(len(x), device=x.device) < self.mask / 2
            x = x.masked_fill((hidden | hidden.roll(1)).unsqueeze(1), 0)
        for i, layer in enumerate(self.layers):
            x = nn.functional.gelu(x) if i else x
            x = layer(nn.functional.dropout(x, self.dropout, self.training) if self.dropout else x)
        return list(x.split([len(s) for s in stacked]))

    def _stack(self, x: Tensor) -> Tensor:  # [N, De] -> [N', De * stack]
        short = -len(x) % self.stack
        if short:
            x = torch.cat([x, x[-1:].expand(short, -1)])
        return x.reshape(len(x) // self.stack, -1)


class Linear(MLP):
    """One linear layer."""

    def __init__(self, width_in: int, width_out: int, stack: Positive = 1, norm: bool = False) -> None:
        super().__init__(width_in, width_out, depth=1, stack=stack, norm=norm)
