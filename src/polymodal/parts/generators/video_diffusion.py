"""Clips by diffusion: ModelScope's and Zeroscope's network (arXiv 2308.06571), which denoises all frames of a clip at once,
between an autoencoder of pictures. Decides which frames of a clip it learns from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from polymodal.errors import MediaError, RecipeError
from polymodal.media.video import Video
from polymodal.parts.base import Positive
from polymodal.parts.generators.latents import LatentDiffusion, components
from polymodal.parts.generators.pictures import pictures, pixels


class VideoDiffusion(LatentDiffusion):
    """`path`: a Hub id or folder in the layout of diffusers with a `UNet3DConditionModel`, an autoencoder of pictures and a
    text encoder; or `config`: `unet`, `vae` (none: pixels are denoised) and `scheduler`, random weights. `frames` of a
    clip, shown at `fps`; `size`: width and height in pixels, the network's own otherwise. The rest is as in
    `ImageDiffusion`."""

    modality, kind = "video", "video-diffusion"

    def __init__(
        self,
        path: str | None = None,
        config: dict[str, dict[str, Any]] | None = None,
        conditions: dict[str, Any] | None = None,
        frames: Positive = 16,
        fps: Annotated[float, Field(gt=0)] = 8.0,
        size: tuple[Positive, Positive] | None = None,
        steps: Positive = 20,
        guidance: float = 1.0,
        drop: Annotated[float, Field(ge=0, le=1)] = 0.1,
        min_snr: bool = False,
    ) -> None:
        from diffusers import UNet3DConditionModel

        parts = components(self.kind, path, config, usual="UNet3DConditionModel")
        if not isinstance(parts.get("unet"), UNet3DConditionModel):
            raise RecipeError("generator 'video-diffusion' needs a 'unet' that is a UNet3DConditionModel")
        super().__init__(parts, path, conditions, steps, guidance, drop, min_snr)
        side = self.network.config.sample_size
        high, wide = (side, side) if isinstance(side, int) else side
        self.size = size or (wide * self.stride, high * self.stride)
        self.frames, self.fps = frames, fps
        if any(edge % self.stride for edge in self.size):
            raise RecipeError(f"generator.size {list(self.size)} is no multiple of {self.stride}, the pixels of one latent")
        self.shape = (self.network.config.in_channels, frames, self.size[1] // self.stride, self.size[0] // self.stride)
        self.options |= {"frames": frames, "fps": fps, "size": list(self.size)}

    def prepare(self, media: Any) -> Tensor:
        """A `media.video.Video` -> the pictures at the middles of `frames` equal spans, [frames, 3, height, width]."""
        if not isinstance(media, Video):
            raise MediaError(f"a clip is wanted, not {type(media).__name__}")
        times = [(number + 0.5) * media.seconds / self.frames for number in range(self.frames)]
        return torch.stack([pixels(picture, self.size) for picture in media.at(times)])

    def make(
        self, given: Tensor | Sequence[str], random: torch.Generator, on_step: Callable[[int, int], None] | None = None
    ) -> list[Any]:
        """S conditions -> S clips `(list of PIL.Image, fps)`."""
        if not isinstance(given, Tensor):
            raise RecipeError("generator 'video-diffusion' makes clips of conditions, not of texts")
        return [(pictures(clip), self.fps) for clip in self._decoded(self.denoised(given, self.shape, random, on_step))]
