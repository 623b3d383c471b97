"""Piper: text -> phonemes (eSpeak NG) -> waveform (VITS). Decides how lively and fast each sentence is spoken."""

from __future__ import annotations

import json
import random
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polymodal.corpora.voices.phonemes import phonemes
from polymodal.corpora.voices.waveform import TEMPO, flac, session
from polymodal.errors import AssetError, MediaError

if TYPE_CHECKING:
    import numpy as np

NOISE = (0.5, 0.8)  # spread of the latent; Piper's default is 0.667
DURATION_NOISE = (0.6, 0.9)  # Piper's default is 0.8


@dataclass(frozen=True)
class Piper:
    """A Piper voice and the eSpeak NG that spells for it. `config` is the JSON file beside the model."""

    name: str
    model: Path
    config: dict[str, Any]
    espeak: Path
    vendor = "piper"
    licence = "CC0-1.0"

    @classmethod
    def find(cls, folder: Path, espeak: Path) -> Piper:
        """The voice in a folder that holds NAME.onnx and NAME.onnx.json. Raises AssetError if it does not hold one."""
        models = sorted(folder.glob("*.onnx"))
        if len(models) != 1:
            raise AssetError(f"{folder}: expected one voice (NAME.onnx and NAME.onnx.json), found {len(models)}")
        config = json.loads(models[0].with_name(models[0].name + ".json").read_text("utf-8"))
        return cls(models[0].stem, models[0], config, espeak)

    def record(self, sentences: Sequence[str], seed: int) -> Iterator[bytes]:
        """See `voices.Voice`."""
        spoken = phonemes(sentences, self.espeak, self.config["espeak"]["voice"])
        graph = session(self.model, seed)
        for sentence, sounds in zip(sentences, spoken, strict=True):
            yield flac(self._speak(graph, sentence, sounds), self.config["audio"]["sample_rate"])

    def _speak(self, graph: Any, sentence: str, sounds: str) -> np.ndarray:
        import numpy as np

        style = random.Random(sentence)
        scales = [style.uniform(*NOISE), style.uniform(*TEMPO), style.uniform(*DURATION_NOISE)]
        tokens = np.array([ids(sounds, sentence[-1], self.config["phoneme_id_map"])], np.int64)
        lengths = np.array([tokens.shape[1]], np.int64)
        feed = {"input": tokens, "input_lengths": lengths, "scales": np.array(scales, np.float32)}
        return graph.run(None, feed)[0].reshape(-1)


def ids(sounds: str, end: str, table: dict[str, list[int]]) -> list[int]:
    """Ids of phonemes as Piper was trained: a start mark, each phoneme followed by a pad, `end` (. or ?), an end mark.

    Raises MediaError for a phoneme that the voice does not know.
    """
    found = [*table["^"], *table["_"]]
    for sound in (*unicodedata.normalize("NFD", sounds), end):
        if sound not in table:
            raise MediaError(f"'{sounds}': the voice does not know the phoneme {sound!r}")
        found += [*table[sound], *table["_"]]
    return [*found, *table["$"]]
