"""What a sensor encoder takes. Decides that what a file states is compared, field by field, and never bent in silence."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from polymodal.errors import MediaError, RecipeError
from polymodal.media.series import Series

TOLERANCE = 0.02  # share by which a measured rate may differ from the one that is meant


@dataclass(frozen=True)
class Sensors:
    """The contract of a sensor encoder, and the scale of its inputs. Raises `RecipeError` for one that cannot be."""

    rate: float
    channels: tuple[str, ...]
    units: str | None
    resample: bool
    mean: list[float] | None
    std: list[float] | None
    kind: str = "series"  # of the encoder, for its errors

    def __post_init__(self) -> None:
        if self.rate <= 0 or not self.channels:
            raise RecipeError(f"encoder '{self.kind}' needs a 'rate' above 0 (Hz) and the names of its 'channels'")
        for name, values in (("mean", self.mean), ("std", self.std)):
            if values is not None and len(values) != len(self.channels):
                said = f"{len(values)} values for {len(self.channels)} channels"
                raise RecipeError(f"encoder '{self.kind}', option '{name}': {said}")
        if self.std is not None and min(self.std) <= 0:
            raise RecipeError(f"encoder '{self.kind}', option 'std': must be above 0")

    def check_turns(self) -> None:
        """Raises `RecipeError` if its channels are no vectors that can be turned: threes, each of one scale."""
        threes = [self.std[i : i + 3] for i in range(0, len(self.std), 3)] if self.std is not None else []
        if len(self.channels) % 3 or self.mean is not None or any(len(set(three)) > 1 for three in threes):
            said = "x y z of each sensor as 'channels', no 'mean', and one value for the three in 'std'"
            raise RecipeError(f"encoder 'series', option 'augment': turns sensors, so it needs {said}")

    def read(self, series: Series) -> np.ndarray:
        """The channels in this order, at this rate, standardised: float32 [T, C]. Raises `MediaError` naming the field."""
        if series.units is not None and self.units is not None and series.units != self.units:
            raise MediaError(f"units: a series in '{series.units}', but this encoder takes '{self.units}'")
        samples = self._chosen(series)
        if series.rate is not None and abs(series.rate / self.rate - 1) > TOLERANCE:
            if not self.resample:
                said = f"{series.rate:g} Hz, but this encoder takes {self.rate:g} Hz"
                raise MediaError(f"rate: a series of {said} (its option 'resample' would bring it there)")
            samples = _resampled(samples, series.rate, self.rate)
        mean, std = np.array(self.mean or 0.0, np.float32), np.array(self.std or 1.0, np.float32)
        return (samples - mean) / std

    def _chosen(self, series: Series) -> np.ndarray:
        if series.channels is None:
            if series.samples.shape[1] != len(self.channels):
                takes = f"{len(self.channels)} ({', '.join(self.channels)})"
                raise MediaError(f"channels: a series of {series.samples.shape[1]}, but this encoder takes {takes}")
            return series.samples
        if missing := [name for name in self.channels if name not in series.channels]:
            has = ", ".join(series.channels)
            raise MediaError(f"channels: a series without '{missing[0]}', which this encoder takes (it has: {has})")
        return series.samples[:, [series.channels.index(name) for name in self.channels]]


def _resampled(samples: np.ndarray, rate: float, wanted: float) -> np.ndarray:
    import soxr

    return soxr.resample(samples, rate, wanted, quality="HQ").astype(np.float32)
