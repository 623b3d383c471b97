"""The voice of the corpora: text -> phonemes (eSpeak NG) -> waveform (Piper VITS). Decides how a sentence is spoken.

Each sentence gets its own tempo and liveliness, fixed by its text. The noise inside the voice's graph comes from ONNX
Runtime's generator, which is seeded when a session is made and then runs on; so one session speaks one chunk of
sentences in order, and a chunk is made again as a whole after a kill. The waveform is the same on the same machine; the
last bits differ between processors.
"""

from __future__ import annotations

import io
import json
import random
import subprocess
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polymodal.corpora.items import RATE
from polymodal.errors import AssetError, DataError, MediaError

if TYPE_CHECKING:
    import numpy as np

TEMPO = (0.85, 1.15)  # factor of the durations
NOISE = (0.5, 0.8)  # spread of the latent; Piper's default is 0.667
DURATION_NOISE = (0.6, 0.9)  # Piper's default is 0.8


@dataclass(frozen=True)
class Voice:
    """A Piper voice and the eSpeak NG that spells for it. `config` is the JSON file beside the model."""

    name: str
    model: Path
    config: dict[str, Any]
    espeak: Path

    @classmethod
    def find(cls, piper: Path, espeak: Path) -> Voice:
        """The voice in a folder that holds NAME.onnx and NAME.onnx.json. Raises AssetError if it does not hold one."""
        models = sorted(piper.glob("*.onnx"))
        if len(models) != 1:
            raise AssetError(f"{piper}: expected one voice (NAME.onnx and NAME.onnx.json), found {len(models)}")
        config = json.loads(models[0].with_name(models[0].name + ".json").read_text("utf-8"))
        return cls(models[0].stem, models[0], config, espeak)


def record(voice: Voice, sentences: Sequence[str], seed: int) -> Iterator[bytes]:
    """The sentences as FLAC, mono, RATE samples per second, 16 bits. Raises MediaError for one that cannot be spelt."""
    spoken = phonemes(sentences, voice.espeak, voice.config["espeak"]["voice"])
    session = _session(voice.model, seed)
    for sentence, sounds in zip(sentences, spoken, strict=True):
        yield _flac(_speak(session, voice.config, sentence, sounds), voice.config["audio"]["sample_rate"])


def phonemes(sentences: Sequence[str], espeak: Path, language: str) -> list[str]:
    """The sentences in the International Phonetic Alphabet, by one run of eSpeak NG. `espeak`: holds bin/ and lib/.

    Raises DataError if it fails or does not answer with one line for each sentence (one with a comma yields two).
    """
    command = [str(espeak / "bin" / "espeak-ng"), f"--path={espeak / 'lib'}", "-q", "--ipa=1", "-v", language]
    run = subprocess.run(
        command,
        input="\n".join(sentences) + "\n",
        capture_output=True,
        encoding="utf-8",
        env={"LD_LIBRARY_PATH": str(espeak / "lib")},
    )
    if run.returncode:
        raise DataError(f"espeak-ng failed: {run.stderr.strip() or f'exit code {run.returncode}'}")
    lines = [line.replace("_", "").strip() for line in run.stdout.splitlines()]
    if len(lines) != len(sentences):
        raise DataError(f"espeak-ng answered {len(lines)} lines for {len(sentences)} sentences; is there a comma in one?")
    return lines


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


def _session(model: Path, seed: int) -> Any:
    import onnxruntime

    onnxruntime.set_seed(seed)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # short sentences: more threads only wait for each other
    return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])


def _speak(session: Any, config: dict[str, Any], sentence: str, sounds: str) -> np.ndarray:
    import numpy as np

    style = random.Random(sentence)
    scales = [style.uniform(*NOISE), style.uniform(*TEMPO), style.uniform(*DURATION_NOISE)]
    tokens = np.array([ids(sounds, sentence[-1], config["phoneme_id_map"])], np.int64)
    lengths = np.array([tokens.shape[1]], np.int64)
    feed = {"input": tokens, "input_lengths": lengths, "scales": np.array(scales, np.float32)}
    return session.run(None, feed)[0].reshape(-1)


def _flac(samples: np.ndarray, rate: int) -> bytes:
    import soundfile
    import soxr

    out = io.BytesIO()
    soundfile.write(out, soxr.resample(samples, rate, RATE).clip(-1, 1), RATE, format="FLAC", subtype="PCM_16")
    return out.getvalue()
