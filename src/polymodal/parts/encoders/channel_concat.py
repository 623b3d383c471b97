"""Encoders side by side: all read the same medium, and their features are concatenated along the width (SALMONN's Whisper
and BEATs, arXiv 2310.13289; Eagle, 2408.15998, calls it channel concatenation). Decides that features belong together by
their number: grids are equal, and at the end of a recording one may lack a few, which are zeros. Each encoder's are
normalised, or the larger numbers of one would drown the others; a scale, which SALMONN learns, is left to the projector."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from polymodal.errors import RecipeError
from polymodal.parts.base import Encoder, Features, Inputs, build


class ChannelConcat(Encoder):
    """`of`: {name: encoder}, each as a recipe names it, with its own `path`. De: the sum of their widths. `pad`: how many
    features of an item one may have less than another. Raises `RecipeError` if they take different media."""

    kind = "channel-concat"

    def __init__(self, of: dict[str, dict[str, Any]], pad: Annotated[int, Field(ge=0)] = 0) -> None:
        super().__init__()
        from polymodal.parts.encoders import ENCODERS

        self.of = nn.ModuleDict({name: build(f"encoder.of.{name}", ENCODERS, part) for name, part in of.items()})
        each = dict(self.each())
        if len(taken := {part.modality for part in each.values()}) != 1:
            said = " and ".join(sorted(taken)) or "nothing"
            raise RecipeError(f"encoder '{self.kind}', option 'of': it takes {said}, not one medium")
        self.modality, self.width, self.pad = *taken, sum(part.width for part in each.values()), pad
        rebuilt = {name: {"kind": of[name]["kind"], **getattr(part, "options", of[name])} for name, part in each.items()}
        self.options: dict[str, Any] = {"of": rebuilt, "pad": pad}

    def each(self) -> list[tuple[str, Encoder]]:
        return [(name, part) for name, part in self.of.items() if isinstance(part, Encoder)]

    def prepare(self, media: Any) -> Inputs:
        """What each of them makes of the item, as NAME.KEY."""
        return {f"{name}.{key}": value for name, part in self.each() for key, value in part.prepare(media).items()}

    def length(self, inputs: Inputs) -> int:
        """The most that one of them has. Raises `RecipeError` if another has more than `pad` less."""
        each = {name: part.length(own(name, inputs)) for name, part in self.each()}
        if max(each.values()) - min(each.values()) > self.pad:
            said = ", ".join(f"{n} of '{name}'" for name, n in each.items())
            raise RecipeError(f"encoder 'channel-concat': features {said}; they may differ by 'pad', {self.pad}")
        return max(each.values())

    def forward(self, items: list[Inputs]) -> Features:
        each = [part([own(name, item) for item in items]).tokens for name, part in self.each()]
        rows = [[_filled(x, max(map(len, item))) for x in item] for item in zip(*each, strict=True)]
        return Features([torch.cat(parts, dim=-1) for parts in rows])


def own(name: str, inputs: Inputs) -> Inputs:
    return {key.removeprefix(f"{name}."): value for key, value in inputs.items() if key.startswith(f"{name}.")}


def _filled(x: Tensor, n: int) -> Tensor:  # [N, De] -> [n, De]
    return F.pad(F.layer_norm(x, x.shape[-1:]), (0, 0, 0, n - len(x)))
