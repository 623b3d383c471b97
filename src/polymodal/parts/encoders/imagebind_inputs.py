"""What ImageBind is shown of each medium. Decides which views are taken of it, and their numbers.

Pictures, clips and sounds are prepared as in the authors' code (`imagebind/data.py`). Of depth, temperature and motion
they published none: depth is made a disparity as in Omnivore, their model before (its issue 12, and `image_rgbd.py`),
temperature is one channel from 0 to 1, motion is 2000 samples of five seconds (arXiv 2305.05665, section 3.3).
"""

from __future__ import annotations

from math import floor
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import interpolate, pad

from polymodal.errors import MediaError, RecipeError
from polymodal.parts.encoders.fbank import RATE, fbank
from polymodal.parts.encoders.imagebind_network import FRAMES, PICTURE, SERIES
from polymodal.parts.encoders.sensors import Sensors
from polymodal.parts.encoders.shading import Shading

# On the CPU also where the model that first asks for them is looked at on no device.
MEAN = torch.tensor([0.48145466, 0.4578275, 0.40821073], device="cpu").view(3, 1, 1, 1)  # of CLIP's pictures
STD = torch.tensor([0.26862954, 0.26130258, 0.27577711], device="cpu").view(3, 1, 1, 1)
CLIP = 2.0  # seconds of a view of a film or a recording
LOUDNESS = -4.268, 9.138  # mean and deviation of AudioSet's filter banks
FARTHEST, DISPARITY = 75.0, (0.0418, 0.0295)  # pixels of disparity, and of its share of them mean and deviation
NEAREST, REMOTE = 0.01, 50.0  # metres
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]


class Pictures:
    """The middle square, as both frames of a film: one view [3, 2, 224, 224]."""

    tower = "vision"

    def views(self, media: Any) -> Tensor:
        from PIL import Image

        side = PICTURE / min(media.size)
        size = (max(PICTURE, int(media.width * side)), max(PICTURE, int(media.height * side)))
        pixels = _crop(_pixels(media.resize(size, Image.Resampling.BICUBIC)), 0.5)
        return ((pixels.unsqueeze(1) - MEAN) / STD).expand(-1, 2, -1, -1)[None].contiguous()


class Films:
    """Of `clips` spans of two seconds, evenly spread, the first and the last frame; of these the left or upper, the middle
    and the right or lower square. Three views [3, 2, 224, 224] of each."""

    tower = "vision"

    def __init__(self, clips: Count = 5) -> None:
        self.clips = clips

    def views(self, media: Any) -> Tensor:
        starts = np.linspace(0, max(0.0, media.seconds - CLIP), self.clips)
        ends = np.minimum(starts + CLIP, media.seconds) - 1e-3  # a frame that begins with the end is not of the span
        times = sorted({*starts.tolist(), *ends.tolist()})  # films are decoded forwards
        shown = dict(zip(times, (self._scaled(picture) for picture in media.at(times)), strict=True))
        frames = [torch.stack((shown[a], shown[b]), dim=1) for a, b in zip(starts.tolist(), ends.tolist(), strict=True)]
        return torch.stack([(_crop(frame, side) - MEAN) / STD for frame in frames for side in (0, 0.5, 1)])

    def _scaled(self, picture: Any) -> Tensor:  # -> [3, H, W], of which the shorter is 224
        short = min(picture.size)
        size = (floor(picture.height / short * PICTURE), floor(picture.width / short * PICTURE))
        return interpolate(_pixels(picture)[None], size=size, mode="bilinear", align_corners=False)[0]


class Sounds:
    """`clips` spans of two seconds, evenly spread, as filter banks: views [1, 128, 204]. A shorter recording is one."""

    tower = "audio"

    def __init__(self, clips: Count = 3) -> None:
        self.clips = clips

    def views(self, media: Any) -> Tensor:
        samples, span = np.asarray(media), int(CLIP * RATE)
        starts = np.linspace(0, len(samples) - span, self.clips).astype(int) if len(samples) > span else [0]
        return torch.stack([self._bank(samples[start : start + span]) for start in starts])

    def _bank(self, samples: np.ndarray) -> Tensor:
        bank = fbank(samples - samples.mean(), "hann").T
        mean, std = LOUDNESS
        return ((pad(bank, (0, FRAMES - bank.shape[1])) - mean) / std)[None]


class Depth:
    """One view [1, 224, 224]: the middle square of the disparity in pixels, standardised. `unit` of the map; for a distance
    the camera's `focal` length in pixels and the `baseline` in metres to the other eye (a Kinect's). What was not measured
    is far away."""

    tower = "depth"

    def __init__(
        self,
        unit: Literal["metres", "millimetres", "disparity"],
        focal: Positive | None = None,
        baseline: Positive = 0.075,
    ) -> None:
        if focal is None and unit != "disparity":
            raise RecipeError(
                "encoder.input 'depth' needs 'focal', the camera's focal length in pixels, or unit: disparity"
            )
        self.unit, self.focal, self.baseline = unit, focal, baseline

    def views(self, media: Any) -> Tensor:
        values: np.ndarray = np.asarray(media, np.float32)
        known = np.isfinite(values) & (values != 0)
        if not known.any() or values[known].min() < 0:
            said = "a pixel below 0" if known.any() else "not a single measured pixel"
            raise MediaError(f"a depth map with {said}: it is not in {self.unit}")
        values = np.where(known, values, 1)
        if self.focal is not None and self.unit != "disparity":
            metres = values / (1000 if self.unit == "millimetres" else 1)
            values = self.focal * self.baseline / np.clip(metres, NEAREST, REMOTE)
        mean, std = DISPARITY
        return (_square(np.where(known, np.clip(values, 0, FARTHEST), 0) / FARTHEST) - mean) / std


class Temperatures:
    """One view [1, 224, 224]: the middle square, with the two ends of `range`, in `unit`, as 0 and 1."""

    tower = "thermal"

    def __init__(self, unit: str, range: tuple[float, float]) -> None:
        self.shading = Shading("thermal", unit, range)

    def views(self, media: Any) -> Tensor:
        return _square(self.shading.shades(np.asarray(media)))


class Motions:
    """Windows of 2000 samples of six `channels`, accelerometer before gyroscope, at 400 Hz: views [6, 2000], the last one
    filled with the mean. `units`, `resample`, `mean`, `std`: as of `series`."""

    tower = "imu"

    def __init__(
        self,
        channels: Annotated[list[str], Field(min_length=6, max_length=6)],
        units: str | None = None,
        rate: Positive = 400.0,
        resample: bool = False,
        mean: list[float] | None = None,
        std: list[float] | None = None,
    ) -> None:
        self.takes = Sensors(rate, tuple(channels), units, resample, mean, std, kind="imagebind")

    def views(self, media: Any) -> Tensor:
        samples = torch.from_numpy(self.takes.read(media)).T
        whole = pad(samples, (0, -samples.shape[1] % SERIES))
        return whole.unflatten(1, (-1, SERIES)).transpose(0, 1).contiguous()


INPUTS = {
    "image": Pictures,
    "video": Films,
    "audio": Sounds,
    "depth": Depth,
    "thermal": Temperatures,
    "imu": Motions,
}


def _pixels(picture: Any) -> Tensor:  # -> [3, H, W] from 0 to 1
    return torch.from_numpy(np.array(picture, np.float32)).permute(2, 0, 1) / 255


def _square(values: np.ndarray) -> Tensor:  # [H, W] -> [1, 1, 224, 224]
    grid = torch.from_numpy(values.astype(np.float32))[None, None]
    side = PICTURE / min(values.shape)
    size = [max(PICTURE, int(length * side)) for length in values.shape]
    return _crop(interpolate(grid, size=size, mode="bicubic", align_corners=False, antialias=True), 0.5)


def _crop(pixels: Tensor, where: float) -> Tensor:
    """The square of [..., H, W] that begins at this share of what is left over."""
    top, left = (round((length - PICTURE) * where) for length in pixels.shape[-2:])
    return pixels[..., top : top + PICTURE, left : left + PICTURE]
