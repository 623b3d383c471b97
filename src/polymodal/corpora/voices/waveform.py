"""What the voices share: their tempo, and the file a waveform becomes. Decides that a chunk of sentences is the unit.

The noise inside a voice's graph is seeded when a session is made and then runs on (`parts.voices.session`); so one session
speaks one chunk of sentences in order, and a chunk is made again as a whole after a kill.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from polymodal.corpora.items import RATE

if TYPE_CHECKING:
    import numpy as np

TEMPO = (0.85, 1.15)  # factor of the durations


def flac(samples: np.ndarray, rate: int) -> bytes:
    """Samples [T] in -1 to 1 at `rate` per second as FLAC, mono, RATE samples per second, 16 bits."""
    import soundfile
    import soxr

    out = io.BytesIO()
    soundfile.write(out, soxr.resample(samples, rate, RATE).clip(-1, 1), RATE, format="FLAC", subtype="PCM_16")
    return out.getvalue()
