"""A voice for tests: a real generator of sound, of one's own file, that says a beep for each word."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from polymodal.errors import ContentError, MediaError
from polymodal.parts.output import Generator
from tests.conftest import sound


class Tone(Generator):
    modality, takes, positions, width = "audio", "text", 0, 0

    def __init__(self) -> None:
        super().__init__()
        self.options: dict = {}

    def prepare(self, media) -> Tensor:
        raise MediaError("beeps are learned from nothing")

    def make(
        self, given: Tensor | Sequence[str], random: torch.Generator, on_step: Callable[[int, int], None] | None = None
    ) -> list:
        words = [str(text).split() for text in given]
        if not all(words):
            raise ContentError("there is no word in /secret/place")
        return [sound(0.1 * len(each)) for each in words]
