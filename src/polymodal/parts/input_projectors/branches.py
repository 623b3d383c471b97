"""Branches: several projectors read the same features, and their positions stand one behind the other."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from polymodal.parts.base import Features, InputProjector, Vocabulary, Writing, build


class Branches(InputProjector):
    """`of`: {name: projector}, each as a recipe names it. N features -> the sum of their positions."""

    def __init__(self, width_in: int, width_out: int, of: dict[str, dict[str, Any]]) -> None:
        super().__init__()
        from polymodal.parts.input_projectors import INPUT_PROJECTORS

        self.of = nn.ModuleDict(
            {name: build(f"projector.of.{name}", INPUT_PROJECTORS, part, width_in, width_out) for name, part in of.items()}
        )
        self.reads_question = any(part.reads_question for part in self.branches.values())

    @property
    def options(self) -> dict[str, Any]:
        return {"of": {name: getattr(part, "options", {}) for name, part in self.branches.items()}}

    @property
    def branches(self) -> dict[str, InputProjector]:
        return {name: part for name, part in self.of.items() if isinstance(part, InputProjector)}

    def speak(self, vocabulary: Vocabulary, writing: Writing | None = None) -> None:
        for part in self.branches.values():
            part.speak(vocabulary, writing)

    def length(self, n: int) -> int:
        return sum(part.length(n) for part in self.branches.values())

    def forward(self, features: Features) -> list[Tensor]:
        outs = [part(features) for part in self.branches.values()]
        return [torch.cat(rows) for rows in zip(*outs, strict=True)]
