"""IMU2CLIP (arXiv 2210.14395): motion into CLIP's space by three convolutions and a GRU, whose last state is all that is
kept of five seconds. As in the authors' code the GRU goes from channel to channel and reads all times of each at once:
behind the convolutions there are 32 of either. They published that code (CC BY-NC) and no weights: names and shapes are
those that it saves, and what it does not say, the units of its channels, is left to the recipe."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import pad

from polymodal.errors import RecipeError
from polymodal.parts import released
from polymodal.parts.base import Encoder, Features, Inputs, run_by_shape
from polymodal.parts.encoders.sensors import Sensors

SIZES = {"width": 32, "space": 512, "window": 1000}
RATE, KERNELS = 200.0, (10, 5, 5)  # Hz, samples


class Imu2Clip(Encoder):
    """One feature for each `window` of samples at 200 Hz; zeros fill the last, as theirs. `channels`: six names, of
    acceleration before turning; `units`, `resample`: as of `series`. `path`: what the authors' code saved of its encoder;
    `config`: sizes other than its own, `{}` for random weights."""

    modality = "imu"

    def __init__(
        self,
        channels: Annotated[list[str], Field(min_length=6, max_length=6)],
        path: str | None = None,
        config: dict[str, int] | None = None,
        units: str | None = None,
        resample: bool = False,
    ) -> None:
        super().__init__()
        self.takes = Sensors(RATE, tuple(channels), units, resample, None, None, kind="imu2clip")
        size = released.sizes("imu2clip", SIZES, path, config)
        self.window, self.width, inside = size["window"], size["space"], size["width"]
        if inside % 4:
            raise RecipeError(f"encoder 'imu2clip', option 'config': 'width', {inside}, is no multiple of its 4 groups")
        blocks = [_Block(inside if i else len(channels), inside, kernel) for i, kernel in enumerate(KERNELS)]
        norms = nn.GroupNorm(2, len(channels)), nn.GroupNorm(4, inside)
        times = self.window
        for kernel in KERNELS:
            times = (times - 2 * (kernel - 1)) // 3
        if times < 1:
            raise RecipeError(f"encoder 'imu2clip', option 'config': a 'window' of {self.window} samples is too short")
        self.net = nn.Sequential(norms[0], *blocks, norms[1], nn.GRU(times, self.width, batch_first=True))
        if path is not None:
            released.load(self, released.read(path), path)
        self.options: dict[str, Any] = {"channels": channels, "config": size, "units": units, "resample": resample}

    def prepare(self, media: Any) -> Inputs:
        """A `Series` -> samples [windows, C, window]."""
        samples = torch.from_numpy(self.takes.read(media)).T
        whole = pad(samples, (0, -samples.shape[1] % self.window))
        return {"samples": whole.unflatten(1, (-1, self.window)).transpose(0, 1).contiguous()}

    def length(self, inputs: Inputs) -> int:
        return len(inputs["samples"])

    def forward(self, items: list[Inputs]) -> Features:
        def run(batch: Inputs) -> Tensor:  # [B, W, C, window] -> [B, W, De]
            return self.net(batch["samples"].flatten(0, 1))[1][0].unflatten(0, batch["samples"].shape[:2])

        return Features(run_by_shape(items, run))


class _Block(nn.Module):
    """[B, width_in, T] -> [B, width_out, (T - 2 kernel + 2) / 3]."""

    def __init__(self, width_in: int, width_out: int, kernel: int) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Conv1d(width_in, width_out, kernel, dilation=2, bias=False), nn.MaxPool1d(3))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)
