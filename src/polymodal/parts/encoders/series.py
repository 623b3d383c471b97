"""Sensor series as patches of time: one convolution, positions, a transformer; the shape of ImageBind's IMU encoder (arXiv
2305.05665: kernel 8, six layers). No package holds pretrained weights, so these are trained."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from polymodal.errors import RecipeError
from polymodal.parts.base import Encoder, Features, Inputs, run_by_shape
from polymodal.parts.encoders.augment import worn_anew
from polymodal.parts.encoders.sensors import Sensors
from polymodal.parts.encoders.transformer import transformer


class SensorSeries(Encoder):
    """One feature for `patch` samples. `rate`, `channels`, `units`: what it takes; anything else that a file states is
    refused, but another rate is brought to its own with `resample`. `mean`, `std`: of each channel over the training data.
    A series longer than `window` samples is encoded window by window. `augment`: in training, channels in threes (x y z of
    a sensor) are turned, scaled, slowed and made noisy (`encoders.augment`)."""

    modality = "imu"

    def __init__(
        self,
        rate: float,
        channels: list[str],
        units: str | None = None,
        resample: bool = False,
        mean: list[float] | None = None,
        std: list[float] | None = None,
        patch: int = 10,
        window: int = 500,
        width: int = 192,
        depth: int = 4,
        heads: int = 6,
        augment: bool = False,
    ) -> None:
        super().__init__()
        if window % patch:
            raise RecipeError(f"encoder 'series', option 'window': {window} samples are no whole patches of {patch}")
        self.takes = Sensors(rate, tuple(channels), units, resample, mean, std)
        if augment:
            self.takes.check_turns()
        self.options = {"rate": rate, "channels": channels, "units": units, "resample": resample, "mean": mean, "std": std}
        self.options |= {
            "patch": patch,
            "window": window,
            "width": width,
            "depth": depth,
            "heads": heads,
            "augment": augment,
        }
        self.patch, self.window, self.width, self.augment = patch, window, width, augment
        self.embed = nn.Conv1d(len(channels), width, patch, patch)
        self.positions = nn.Parameter(0.02 * torch.randn(window // patch, width))
        self.blocks = transformer("series", width, depth, heads)

    def prepare(self, media: Any) -> Inputs:
        """A `Series` -> samples [C, T], T a multiple of `patch`: zeros, the mean of the channel, fill the last."""
        samples = torch.from_numpy(self.takes.read(media)).T
        return {"samples": nn.functional.pad(samples, (0, -samples.shape[1] % self.patch))}

    def length(self, inputs: Inputs) -> int:
        return inputs["samples"].shape[-1] // self.patch

    def forward(self, items: list[Inputs]) -> Features:
        def run(batch: Inputs) -> Tensor:  # [B, N, De]
            samples = worn_anew(batch["samples"]) if self.augment and self.training else batch["samples"]
            patches = [self.embed(window).transpose(1, 2) for window in samples.split(self.window, dim=-1)]
            return torch.cat([self.blocks(x + self.positions[: x.shape[1]]) for x in patches], dim=1)

        return Features(run_by_shape(items, run))
