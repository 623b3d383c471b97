"""Piper's part in the corpora. Decides how lively and fast each sentence is spoken."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from polymodal.corpora.voices.waveform import TEMPO, flac
from polymodal.parts.voices.phonemes import phonemes
from polymodal.parts.voices.piper import PiperVoice
from polymodal.parts.voices.session import session

NOISE = (0.5, 0.8)  # spread of the latent; Piper's default is 0.667
DURATION_NOISE = (0.6, 0.9)  # Piper's default is 0.8


class Piper(PiperVoice):
    """A Piper voice that records sentences."""

    vendor = "piper"
    licence = "CC0-1.0"

    def record(self, sentences: Sequence[str], seed: int) -> Iterator[bytes]:
        """See `voices.Voice`."""
        spoken = phonemes(sentences, self.espeak, self.language)
        graph = session(self.model, seed)
        for sentence, sounds in zip(sentences, spoken, strict=True):
            style = random.Random(sentence)
            scales = [style.uniform(*NOISE), style.uniform(*TEMPO), style.uniform(*DURATION_NOISE)]
            yield flac(self.run(graph, sounds, sentence[-1], scales), self.rate)
