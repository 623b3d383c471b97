"""A voice that reads: the tool-using design. What a span holds is text, and Piper's VITS (arXiv 2106.06103) says it.

Nothing of it learns and nothing is random: without the noise in its latent and durations a text is spoken in one way, by
one graph for all (which takes seconds to load, and whose noise could only be seeded by loading it anew).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from polymodal.errors import ContentError, MediaError
from polymodal.parts.output import Generator
from polymodal.parts.sources import locate
from polymodal.parts.voices.phonemes import sentences
from polymodal.parts.voices.piper import PiperVoice
from polymodal.parts.voices.session import session

if TYPE_CHECKING:
    import numpy as np

PAUSE = 0.2  # seconds between sentences, as Piper's own program leaves
_graph = lru_cache(maxsize=2)(lambda model: session(model, seed=0))  # beside the parts: a part may be copied, it may not


class Voice(Generator):
    """`path`: a folder or asset with one Piper voice (NAME.onnx, NAME.onnx.json). `speller`: one with eSpeak NG (bin/ and
    lib/). `pace`: how many times as long as usual everything takes."""

    modality, takes, positions, width = "audio", "text", 0, 0

    def __init__(
        self,
        path: str = "asset:piper-joe",
        speller: str = "asset:espeak-ng",
        pace: Annotated[float, Field(ge=0.5, le=2)] = 1.0,
    ) -> None:
        super().__init__()
        self.voice, self.pace = PiperVoice.find(Path(locate(path)), Path(locate(speller))), pace
        self.options: dict[str, Any] = {"path": path, "speller": speller, "pace": pace}

    def prepare(self, media: Any) -> Tensor:
        raise MediaError("a generator of kind 'voice' learns from no recording; what it is given is text")

    def make(
        self, given: Tensor | Sequence[str], random: torch.Generator, on_step: Callable[[int, int], None] | None = None
    ) -> list[Any]:
        """S texts -> S `(float32 samples, rate)`. Raises `ContentError` for a text without a word."""
        made = []
        for number, text in enumerate(given, 1):
            made.append((self._say(str(text), number), self.voice.rate))
            if on_step is not None:
                on_step(number, len(given))
        return made

    def _say(self, text: str, number: int) -> np.ndarray:
        import numpy as np

        spelt = sentences(text, self.voice.espeak, self.voice.language)
        if not spelt:
            raise ContentError(f"text {number} for the voice, {text[:40]!r}, has no word to say; give it one in letters")
        graph, pause = _graph(self.voice.model), np.zeros(int(PAUSE * self.voice.rate), np.float32)
        spoken = [self.voice.run(graph, sounds[:-1], sounds[-1], (0.0, self.pace, 0.0)) for sounds in spelt]
        return np.concatenate([part for sound in spoken for part in (sound, pause)][:-1])
