"""One projector for several inputs (PandaGPT, arXiv 2305.16355: one linear layer behind ImageBind, learned from pictures,
reads sounds and motion, too). It stands under `model.shared`, and each input says that it uses it. Decides that its widths
are written where it stands, since it is behind no one encoder."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from polymodal.errors import RecipeError
from polymodal.parts.base import Features, InputProjector, Positive, Vocabulary, Writing, build


class SharedProjector(nn.Module):
    """Under `model.shared`. `of`: the projector; `width_in`: of the encoders before it; `width_out`: of the backbone."""

    def __init__(self, of: dict[str, Any], width_in: Positive, width_out: Positive) -> None:
        from polymodal.parts.input_projectors import INPUT_PROJECTORS

        super().__init__()
        self.of: InputProjector = build("shared.of", INPUT_PROJECTORS, of, width_in, width_out)
        self.widths = width_in, width_out
        self.options = {"of": getattr(self.of, "options", {})}


class Shared(InputProjector):
    """`of`: the shared projector, `shared:NAME`. Raises `RecipeError` if it is of other widths than stand around it."""

    of: SharedProjector

    def __init__(self, width_in: int, width_out: int, of: SharedProjector) -> None:
        super().__init__()
        if of.widths != (width_in, width_out):
            said = "shared from width {} to {}, but stands between {} and {}".format(*of.widths, width_in, width_out)
            raise RecipeError(f"projector 'shared': it is {said}")
        self.__dict__["of"] = of  # used, not owned: past the table of its own modules
        self.reads_question = of.of.reads_question

    def speak(self, vocabulary: Vocabulary, writing: Writing | None = None) -> None:
        self.of.of.speak(vocabulary)  # of no one encoder's writing

    def length(self, n: int) -> int:
        return self.of.of.length(n)

    def forward(self, features: Features) -> list[Tensor]:
        return self.of.of(features)
