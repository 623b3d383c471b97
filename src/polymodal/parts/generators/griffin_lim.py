"""A vocoder without weights: the fast Griffin-Lim algorithm (Perraudin, Balazs and Søndergaard 2013). Decides how a
waveform comes of log-mels where no trained HiFi-GAN fits: for sounds that are no speech, in models that weigh little.

    mels --non-negative least squares--> magnitudes --Griffin-Lim--> samples

Shapes: S recordings of F frames, `mels` bands, K = n_fft / 2 + 1 bins.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from polymodal.errors import RecipeError
from polymodal.parts.base import Positive

MOMENTUM = 0.99  # as librosa and torchaudio have it
SOLVING = 60  # steps towards the magnitudes that the mels are of


class GriffinLim(nn.Module):
    """`sampling_rate`, `hop` (samples) and `mels`: what it reads. `iterations` of Griffin-Lim. `floor`: the magnitude of
    silence, which a mel is never below. `mean` and `scale`: of log-mels, which it reads as (log(mel) - mean) / scale, so
    that an autoencoder sees numbers about 0 that vary by about 1. `reads` tells it the filters, and by their number the
    window. Raises `RecipeError` for a floor or scale of nothing."""

    def __init__(
        self,
        sampling_rate: Positive,
        hop: Positive,
        mels: Positive,
        iterations: Positive = 32,
        floor: float = 1e-5,
        mean: float = 0.0,
        scale: float = 1.0,
    ) -> None:
        super().__init__()
        if floor <= 0 or scale <= 0:
            wrong = f"'scale' is {scale:g}" if scale <= 0 else f"'floor' is {floor:g}"
            raise RecipeError(f"generator.config.vocoder: {wrong}, which must be over 0")
        self.rate, self.hop, self.mels, self.iterations = sampling_rate, hop, mels, iterations
        self.floor, self.mean, self.scale = floor, mean, scale
        self.config: dict[str, Any] = {"sampling_rate": sampling_rate, "hop": hop, "mels": mels, "iterations": iterations}
        self.config |= {"floor": floor, "mean": mean, "scale": scale}

    def reads(self, filters: Any) -> None:
        """`filters`: a numpy array [K, mels], as `mel_filter_bank` makes it. Raises `RecipeError` where windows do not
        overlap by half."""
        if 2 * self.hop > (size := 2 * (len(filters) - 1)):
            raise RecipeError(f"generator.config.vocoder: a hop of {self.hop} leaves gaps between windows of {size}")
        self.filters = filters  # no buffer: built on the device `meta`, it would be empty, and no checkpoint would fill it

    def forward(self, mels: Tensor) -> Tensor:
        """[S, F, mels] -> samples [S, F * hop], frames centred on their hops. The same for the same mels."""
        filters = torch.as_tensor(self.filters, dtype=torch.float32, device=mels.device)
        loud = (mels.float() * self.scale + self.mean).exp()
        loud = torch.where(loud > self.floor * 1.01, loud, 0.0)  # silence is silence, and not the least that was heard
        size = 2 * (len(filters) - 1)
        magnitude = pad(magnitudes(loud, filters).transpose(1, 2), (1, 1), mode="replicate")  # to either side of the ends
        window = torch.hann_window(size, device=mels.device)
        setting: dict[str, Any] = {"n_fft": size, "hop_length": self.hop, "window": window}
        random = torch.Generator().manual_seed(0)  # all recordings alike, whatever else is in the batch
        angles = 2 * torch.pi * torch.rand(1, *magnitude.shape[1:], generator=random).to(mels.device)
        spectrum = torch.polar(magnitude, angles.expand_as(magnitude).contiguous())
        before = torch.zeros_like(spectrum)
        for _ in range(self.iterations):
            possible = torch.stft(torch.istft(spectrum, **setting), **setting, return_complex=True)
            ahead = possible - MOMENTUM / (1 + MOMENTUM) * before
            spectrum, before = magnitude * ahead / ahead.abs().clamp(min=1e-12), possible
        samples = torch.istft(spectrum, **setting)
        return samples[:, self.hop // 2 :][:, : mels.shape[1] * self.hop]


def magnitudes(mels: Tensor, filters: Tensor) -> Tensor:
    """[..., mels] under `filters` [K, mels] -> [..., K], not negative: least squares by the multiplicative updates of Lee
    and Seung (2001)."""
    found = mels @ torch.linalg.pinv(filters)
    found = torch.maximum(found, 1e-3 * mels @ filters.T)
    aim = mels @ filters.T
    for _ in range(SOLVING):
        found = found * aim / (found @ filters @ filters.T).clamp(min=1e-12)
    return found
