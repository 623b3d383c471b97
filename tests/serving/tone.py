"""Generators for tests, of one's own file: a voice that says a beep for each word, and what makes clips."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from polymodal.errors import ContentError, MediaError
from polymodal.parts.output import Generator
from tests.conftest import picture, sound


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


class Flicker(Tone):
    """Makes a clip of as many frames as there are words, and two more."""

    modality, takes, positions, width = "video", "text", 0, 0

    def make(
        self, given: Tensor | Sequence[str], random: torch.Generator, on_step: Callable[[int, int], None] | None = None
    ) -> list:
        return [([picture(frame, (16, 8)) for frame in range(2 + len(str(text).split()))], 4.0) for text in given]
