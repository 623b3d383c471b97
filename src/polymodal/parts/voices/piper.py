"""Piper: text -> phonemes (eSpeak NG) -> waveform (VITS, arXiv 2106.06103). Decides what a voice's folder holds and how
phonemes become its ids."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from polymodal.errors import AssetError, MediaError

if TYPE_CHECKING:
    import numpy as np

_Voice = TypeVar("_Voice", bound="PiperVoice")


@dataclass(frozen=True)
class PiperVoice:
    """A Piper voice and the eSpeak NG that spells for it. `config` is the JSON file beside the model."""

    name: str
    model: Path
    config: dict[str, Any]
    espeak: Path
    LATENTS: ClassVar = "/Mul_7_output_0"  # what the decoder of its graph is given

    @classmethod
    def find(cls: type[_Voice], folder: Path, espeak: Path) -> _Voice:
        """The voice in a folder that holds NAME.onnx and NAME.onnx.json. Raises AssetError if it does not hold one."""
        models = sorted(folder.glob("*.onnx"))
        if len(models) != 1:
            raise AssetError(f"{folder}: expected one voice (NAME.onnx and NAME.onnx.json), found {len(models)}")
        config = json.loads(models[0].with_name(models[0].name + ".json").read_text("utf-8"))
        return cls(models[0].stem, models[0], config, espeak)

    @property
    def language(self) -> str:
        """As eSpeak NG calls it."""
        return self.config["espeak"]["voice"]

    @property
    def rate(self) -> int:
        """Samples per second."""
        return self.config["audio"]["sample_rate"]

    def run(self, graph: Any, sounds: str, end: str, scales: Sequence[float]) -> np.ndarray:
        """Phonemes and the mark that ends them -> samples [T], float32. `graph`: the model's `session`. `scales`: spread of
        the latent's noise, factor of the durations, spread of their noise. Raises MediaError for a phoneme that the voice
        does not know."""
        return self._outputs(graph, sounds, end, scales)[0].reshape(-1)

    def latents(self, graph: Any, sounds: str, end: str, scales: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
        """As `run`, of a session that also gives LATENTS: samples [T], and the frames that they are decoded from, z
        [192, T / 256]."""
        wave, z = self._outputs(graph, sounds, end, scales)
        return wave.reshape(-1), z[0]

    def _outputs(self, graph: Any, sounds: str, end: str, scales: Sequence[float]) -> list[np.ndarray]:
        import numpy as np

        tokens = np.array([ids(sounds, end, self.config["phoneme_id_map"])], np.int64)
        lengths = np.array([tokens.shape[1]], np.int64)
        return graph.run(None, {"input": tokens, "input_lengths": lengths, "scales": np.array(scales, np.float32)})


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
