"""Sounds by diffusion: AudioLDM's design (arXiv 2301.12503). A log-mel spectrogram is a picture of one channel; its latents
are denoised, and a HiFi-GAN, or Griffin-Lim for want of weights, makes a waveform of it. Decides what a mel is: that which
the vocoder reads.

diffusers' own pipelines do not run without their text encoders; the denoiser, the autoencoder and the vocoder alone do.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from polymodal.errors import MediaError, RecipeError
from polymodal.parts.base import Positive
from polymodal.parts.generators.griffin_lim import GriffinLim
from polymodal.parts.generators.latents import LatentDiffusion, components

HEARD = 16_000  # samples per second of what `media.load` gives
FLOOR = 1e-5  # of a mel's magnitude, whose logarithm is taken


class AudioDiffusion(LatentDiffusion):
    """`path`: a Hub id or folder in the layout of diffusers with a `vocoder` (`SpeechT5HifiGan`); or `config`: `unet`,
    `vae` of one channel, `scheduler` and `vocoder`, random weights; a vocoder whose `_class_name` is `GriffinLim` has
    none, and says how log-mels are standardised. A `unet` of `class_embed_type` `simple_projection` is told its condition
    as a class (AudioLDM: 1 x 512), any other network looks at it. `seconds` of a recording, rounded up to whole latents.
    `n_fft`, `low` and `high` (Hz): of the mels; their number, rate and hop are the vocoder's. The rest is as in
    `ImageDiffusion`."""

    modality, kind = "audio", "audio-diffusion"

    def __init__(
        self,
        path: str | None = None,
        config: dict[str, dict[str, Any]] | None = None,
        conditions: dict[str, Any] | None = None,
        seconds: Annotated[float, Field(gt=0)] = 5.0,
        n_fft: Positive = 1024,
        low: Annotated[float, Field(ge=0)] = 0.0,
        high: Annotated[float, Field(gt=0)] = 8000.0,
        steps: Positive = 20,
        guidance: float = 1.0,
        drop: Annotated[float, Field(ge=0, le=1)] = 0.1,
        min_snr: bool = False,
    ) -> None:
        from transformers.audio_utils import mel_filter_bank

        parts = components(self.kind, path, config, also=("vocoder",))
        super().__init__(parts, path, conditions, steps, guidance, drop, min_snr)
        self.vocoder = parts["vocoder"]
        self.floor, self.mean, self.scale = FLOOR, 0.0, 1.0
        if isinstance(self.vocoder, GriffinLim):
            self.rate, self.hop, self.mels = self.vocoder.rate, self.vocoder.hop, self.vocoder.mels
            self.floor, self.mean, self.scale = self.vocoder.floor, self.vocoder.mean, self.vocoder.scale
        else:
            voice = self.vocoder.config
            self.rate, self.hop, self.mels = voice.sampling_rate, math.prod(voice.upsample_rates), voice.model_in_dim
        if self.mels % self.stride or high > self.rate / 2:
            raise RecipeError(
                f"generator: {self.mels} mels up to {high:g} Hz fit neither latents of {self.stride} nor the rate"
            )
        span = self.hop * self.stride
        self.length, self.n_fft = math.ceil(seconds * self.rate / span) * span, n_fft
        self.shape = (self.network.config.in_channels, self.length // span, self.mels // self.stride)
        slaney: dict[str, Any] = {"norm": "slaney", "mel_scale": "slaney"}  # as HiFi-GAN's were trained on
        self.filters = mel_filter_bank(n_fft // 2 + 1, self.mels, low, high, self.rate, **slaney)
        if isinstance(self.vocoder, GriffinLim):
            self.vocoder.reads(self.filters)
        self.options |= {"seconds": seconds, "n_fft": n_fft, "low": low, "high": high}

    def prepare(self, media: Any) -> Tensor:
        """Samples [N] at 16 kHz -> log-mels [1, frames, mels] of the first `seconds`, silence behind what is shorter;
        standardised, where the vocoder is `GriffinLim`."""
        import numpy as np
        import soxr
        from transformers.audio_utils import spectrogram, window_function

        samples = np.asarray(media, np.float32)
        if samples.ndim != 1 or not len(samples):
            raise MediaError(f"a recording [samples] is wanted, not an array of shape {list(samples.shape)}")
        samples = soxr.resample(samples, HEARD, self.rate)[: self.length]
        edge = (self.n_fft - self.hop) // 2  # as in HiFi-GAN, a frame is centred on its hop
        padded = np.pad(np.pad(samples, (0, self.length - len(samples))), edge, mode="reflect")
        window = window_function(self.n_fft, "hann")
        settings: dict[str, Any] = {
            "power": 1.0,
            "center": False,
            "mel_filters": self.filters,
            "mel_floor": self.floor,
            "log_mel": "log",
        }
        mels = spectrogram(padded, window, self.n_fft, self.hop, self.n_fft, **settings)
        return torch.from_numpy(((mels.T - self.mean) / self.scale).astype(np.float32))[None]

    def make(
        self, given: Tensor | Sequence[str], random: torch.Generator, on_step: Callable[[int, int], None] | None = None
    ) -> list[Any]:
        """S conditions -> S `(float32 samples, rate)`."""
        if not isinstance(given, Tensor):
            raise RecipeError("generator 'audio-diffusion' makes sounds of conditions, not of texts")
        mels = self._decoded(self.denoised(given, self.shape, random, on_step))[:, 0]
        with torch.no_grad():
            waves = self.vocoder(mels).float().clamp(-1, 1).cpu().numpy()
        return [(wave, self.rate) for wave in waves]
