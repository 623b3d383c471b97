"""Recordings of the corpora. Decides how a recording in a package becomes one of a corpus: whole, mono, RATE, FLAC.

Speech and sounds keep the loudness and the pauses they came with; what is as good as silent is refused, because it would
teach a model to invent its text.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from polymodal.corpora.items import RATE
from polymodal.corpora.voices.waveform import flac
from polymodal.errors import MediaError
from polymodal.media.audio import load_audio

if TYPE_CHECKING:
    import numpy as np

SILENT = 0.003  # of full scale, -50 dB: a peak below it is the noise of a microphone


def from_file(path: Path) -> bytes:
    """A recording as FLAC bytes, mono, RATE samples per second, 16 bits. Raises MediaError if it is damaged or silent."""
    return from_samples(load_audio(path, RATE), path.name)


def from_samples(samples: np.ndarray, name: str) -> bytes:
    """Samples [T] in -1 to 1 at RATE per second as such a file. Raises MediaError if they are silent."""
    peak = max(samples.max(), -samples.min())
    if peak < SILENT:
        raise MediaError(f"{name}: silent, its peak is {peak:.4f} of full scale")
    return flac(samples, RATE)
