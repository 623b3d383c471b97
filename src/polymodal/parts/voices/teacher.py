"""A voice as the teacher of another generator: what its decoder is given when it says a text. Decides that it speaks
without noise: one text is one target."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from polymodal.errors import ContentError
from polymodal.parts.sources import locate
from polymodal.parts.voices.phonemes import sentences
from polymodal.parts.voices.piper import PiperVoice
from polymodal.parts.voices.session import session

if TYPE_CHECKING:
    import numpy as np

_graph = lru_cache(maxsize=2)(lambda model: session(model, seed=0, also=PiperVoice.LATENTS))


class Teacher:
    """`path` and `speller` as of the generator `voice`. Nothing of it is read before the first text is said."""

    def __init__(self, path: str = "asset:piper-joe", speller: str = "asset:espeak-ng") -> None:
        self.path, self.speller = path, speller

    def __call__(self, text: str) -> np.ndarray:
        """One text -> frames [192, L], those of its sentences one behind the other. Raises `ContentError` for a text
        without a word, `AssetError` for a voice that is not there."""
        import numpy as np

        voice = PiperVoice.find(Path(locate(self.path)), Path(locate(self.speller)))
        spelt = sentences(text, voice.espeak, voice.language)
        if not spelt:
            raise ContentError(f"the teacher has no word to say in {text[:40]!r}")
        graph = _graph(voice.model)
        return np.concatenate([voice.latents(graph, sounds[:-1], sounds[-1], (0.0, 1.0, 0.0))[1] for sounds in spelt], 1)
