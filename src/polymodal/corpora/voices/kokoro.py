"""Kokoro: text -> phonemes (eSpeak NG) -> waveform (StyleTTS 2). Decides how English is spelt for it, and its tempo.

Kokoro writes American English with symbols of its own for diphthongs and affricates. SPELLING turns eSpeak NG's into
them, as misaki does, the speller that Kokoro was trained with (its espeak.py). Only styles of Japanese speakers are in
the package; the graph speaks English in them all the same, some more clearly than others.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polymodal.corpora.voices.waveform import TEMPO, flac
from polymodal.errors import MediaError
from polymodal.parts.voices.phonemes import phonemes
from polymodal.parts.voices.session import session

if TYPE_CHECKING:
    import numpy as np

RATE = 24_000  # samples per second of the graph
SILENCE = 0.01  # amplitude below which nothing is said; the graph pauses up to a second before and after a sentence
MARGIN = RATE * 15 // 100  # samples of the pause that are kept on either side: 150 ms
SPELLING = (  # in this order
    *(("aɪ", "I"), ("aʊ", "W"), ("eɪ", "A"), ("ɔɪ", "Y"), ("oʊ", "O"), ("dʒ", "ʤ"), ("tʃ", "ʧ")),
    *(("ʔn", "tᵊn"), ("ʔ", "t"), ("əl", "ᵊl"), ("e", "A"), ("ɚ", "əɹ"), ("r", "ɹ"), ("x", "k"), ("ç", "k"), ("ɐ", "ə")),
    *(("ɬ", "l"), ("ɜːɹ", "ɜɹ"), ("ɜː", "ɜɹ"), ("ɪə", "iə"), ("ː", ""), ("o", "ɔ"), ("ɾ", "T")),
    *(("\u0329", ""), ("\u0303", ""), ("ʲ", "")),
)


@dataclass(frozen=True)
class Kokoro:
    """One style of a Kokoro folder (model.onnx, vocab.json, voices_ja.npz) and the eSpeak NG that spells for it."""

    name: str
    folder: Path
    espeak: Path
    vendor = "kokoro"
    licence = "Apache-2.0"

    def record(self, sentences: Sequence[str], seed: int) -> Iterator[bytes]:
        """See `voices.Voice`."""
        import numpy as np

        spoken = phonemes(sentences, self.espeak, "en-us")
        table = json.loads((self.folder / "vocab.json").read_text("utf-8"))["vocab"]
        with np.load(self.folder / "voices_ja.npz", allow_pickle=False) as styles:
            style = styles[self.name]
        graph = session(self.folder / "model.onnx", seed)
        for sentence, sounds in zip(sentences, spoken, strict=True):
            yield flac(self._speak(graph, style, sentence, ids(sounds, sentence[-1], table)), RATE)

    def _speak(self, graph: Any, style: np.ndarray, sentence: str, tokens: list[int]) -> np.ndarray:
        """style: [lengths, 1, 256], one row for each number of tokens."""
        import numpy as np

        feed = {
            "tokens": np.array([[0, *tokens, 0]], np.int64),
            "style": style[min(len(tokens), len(style)) - 1],
            "speed": np.array([1 / random.Random(sentence).uniform(*TEMPO)], np.float32),
        }
        samples = graph.run(None, feed)[0].reshape(-1)
        loud = np.flatnonzero(np.abs(samples) > SILENCE)
        if not len(loud):
            raise MediaError(f"'{sentence}': {self.name} says nothing")
        return samples[max(0, loud[0] - MARGIN) : loud[-1] + MARGIN]


def ids(sounds: str, end: str, table: dict[str, int]) -> list[int]:
    """Ids of phonemes in Kokoro's spelling, then of `end`. Raises MediaError for a phoneme that it does not know."""
    for ours, theirs in SPELLING:
        sounds = sounds.replace(ours, theirs)
    unknown = {sound for sound in sounds if sound not in table}
    if unknown:
        raise MediaError(f"'{sounds}': the voice does not know the phoneme {min(unknown)!r}")
    return [table[sound] for sound in (*sounds, end)]
