"""Kaldi's log mel filter bank, which encoders of sound were trained behind. Decides its constants once: 128 triangles from
20 Hz, 25 ms every 10 ms, none beyond the end, each without its mean and with pre-emphasis 0.97."""

from __future__ import annotations

import warnings
from functools import cache
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from polymodal.errors import MediaError

RATE, FRAME, HOP, BINS = 16_000, 400, 160, 128
Window = Literal["hann", "povey"]


def frames(samples: int) -> int:
    """How many of them a recording has."""
    return max(0, 1 + (samples - FRAME) // HOP)


def fbank(samples: Any, window: Window, least: int = 1) -> Tensor:
    """[S] at 16 kHz -> float32 [frames, 128]. Raises `MediaError` for fewer than `least` frames."""
    from transformers.audio_utils import spectrogram

    if frames(len(samples)) < least:
        needed = (FRAME + (least - 1) * HOP) / RATE
        raise MediaError(f"a recording of {len(samples) / RATE:.3f} s is too short for this encoder ({needed:g} s)")
    shape, filters = _bank(window)
    options: dict[str, Any] = {"frame_length": FRAME, "hop_length": HOP, "fft_length": 512, "power": 2.0, "center": False}
    options |= {"preemphasis": 0.97, "remove_dc_offset": True, "log_mel": "log", "mel_floor": float(np.finfo("f4").eps)}
    bank = spectrogram(np.asarray(samples, np.float64), shape, mel_filters=filters, **options)
    return torch.from_numpy(bank.T.astype(np.float32))


@cache
def _bank(window: Window) -> tuple[np.ndarray, np.ndarray]:
    from transformers.audio_utils import mel_filter_bank, window_function

    mel: dict[str, Any] = {"mel_scale": "kaldi", "norm": None, "triangularize_in_mel_space": True}
    with warnings.catch_warnings():  # the lowest triangles lie between two frequencies and are empty, as they are in Kaldi
        warnings.simplefilter("ignore", UserWarning)
        filters = mel_filter_bank(257, BINS, 20, RATE // 2, RATE, **mel)
    return window_function(FRAME, window, periodic=False), filters
