"""Flite: text -> waveform by Carnegie Mellon's small program. Decides how fast each sentence is spoken.

Its voices say the same sentence the same way, whatever the seed: nothing in them is random.
"""

from __future__ import annotations

import random
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from polymodal.corpora.voices.waveform import TEMPO, flac
from polymodal.errors import DataError


@dataclass(frozen=True)
class Flite:
    """One voice of a Flite; `folder` holds bin/ and lib/."""

    name: str
    folder: Path
    vendor = "flite"
    licence = "BSD-like (Carnegie Mellon University)"

    def record(self, sentences: Sequence[str], seed: int) -> Iterator[bytes]:
        """See `voices.Voice`."""
        import soundfile

        with tempfile.TemporaryDirectory() as scratch:
            file = Path(scratch) / "spoken.wav"
            for sentence in sentences:
                self._speak(sentence, file)
                samples, rate = soundfile.read(file, dtype="float32")
                yield flac(samples, rate)

    def _speak(self, sentence: str, file: Path) -> None:
        tempo = random.Random(sentence).uniform(*TEMPO)
        voice = ["-voice", self.name, "--setf", f"duration_stretch={tempo:.3f}"]
        run = subprocess.run(
            [str(self.folder / "bin" / "flite"), *voice, "-t", sentence, "-o", str(file)],
            capture_output=True,
            encoding="utf-8",
            env={"LD_LIBRARY_PATH": str(self.folder / "lib")},
        )
        if run.returncode:
            raise DataError(f"flite failed: {run.stderr.strip() or f'exit code {run.returncode}'}")
