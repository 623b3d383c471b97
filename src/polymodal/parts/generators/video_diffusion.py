"""Clips by diffusion over the latents of an autoencoder of pictures, all frames of a clip at once. Decides which networks
can do that, and which frames of a clip they learn from.

    UNet3DConditionModel      ModelScope and Zeroscope, arXiv 2308.06571
    LatteTransformer3DModel   attention over places and over times in turn, arXiv 2401.03048
    WanTransformer3DModel     attention over both at once, arXiv 2503.20314; as released it has another autoencoder
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn

from polymodal.errors import MediaError, RecipeError
from polymodal.media.video import Video
from polymodal.parts.base import Positive
from polymodal.parts.generators.latents import LatentDiffusion, components
from polymodal.parts.generators.pictures import pictures, pixels

NETWORKS = {"unet": ("UNet3DConditionModel",), "transformer": ("LatteTransformer3DModel", "WanTransformer3DModel")}


class VideoDiffusion(LatentDiffusion):
    """`path`: a Hub id or folder in the layout of diffusers with one of NETWORKS, an autoencoder of pictures and a text
    encoder; or `config`: `unet` or `transformer`, `vae` (none: pixels are denoised) and `scheduler`, random weights.
    `frames` of a clip, shown at `fps`; `size`: width and height in pixels, the network's own otherwise (Wan's has none, and
    needs it). `autoencoder_of`: an output of pictures whose autoencoder, alike in its config, is used and is no part of
    this. The rest is as in `ImageDiffusion`. Raises `RecipeError` for another network or an autoencoder of clips, and
    for frames or sizes that the network cannot cut into its patches."""

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
        noise: Annotated[float, Field(ge=0)] = 0.1,
        prior: Annotated[float, Field(ge=0)] = 1e-3,
        clean: bool = False,
        autoencoder_of: str | None = None,
    ) -> None:
        parts = components(self.kind, path, config, usual="UNet3DConditionModel")
        _check(parts)
        super().__init__(parts, path, conditions, steps, guidance, drop, min_snr, noise, prior, clean)
        side = self.network.config.get("sample_size")
        if size is None and side is None:
            raise RecipeError(f"generator.size is needed: {type(self.network).__name__} has none of its own")
        high, wide = (side, side) if isinstance(side, int) else side or (0, 0)
        self.size = size or (wide * self.stride, high * self.stride)
        self.frames, self.fps = frames, fps
        if any(edge % self.stride for edge in self.size):
            raise RecipeError(f"generator.size {list(self.size)} is no multiple of {self.stride}, the pixels of one latent")
        self.shape = (self.network.config.in_channels, frames, self.size[1] // self.stride, self.size[0] // self.stride)
        _fit(self.network.config, self.shape, self.stride)
        self.options |= {"frames": frames, "fps": fps, "size": list(self.size)}
        self.options |= {"noise": noise, "prior": prior, "clean": clean, "autoencoder_of": autoencoder_of}
        self.borrows = autoencoder_of

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


def _check(parts: dict[str, Any]) -> None:
    """Raises `RecipeError` unless the network takes clips and text alone, and the autoencoder takes pictures."""
    place = next(name for name in NETWORKS if name in parts)
    network, known = parts[place], NETWORKS[place]
    if type(network).__name__ not in known:
        raise RecipeError(f"generator 'video-diffusion' needs a '{place}' that is a {' or a '.join(known)}")
    own = network.config.in_channels
    if network.config.get("image_dim") or own > (network.config.out_channels or own):
        raise RecipeError(f"generator 'video-diffusion': this {type(network).__name__} begins a clip with a picture")
    vae = parts.get("vae")
    if vae is not None and any(isinstance(module, nn.Conv3d) for module in vae.modules()):
        wanted = "one of pictures, such as AutoencoderKL, is wanted"
        raise RecipeError(f"generator 'video-diffusion': {type(vae).__name__} is an autoencoder of clips; {wanted}")


def _fit(config: Any, shape: tuple[int, ...], stride: int) -> None:
    """Raises `RecipeError` if a transformer cannot cut latents of `shape` [c, frames, h, w] into its patches."""
    if config.get("video_length", shape[1]) != shape[1]:
        raise RecipeError(f"generator.frames is {shape[1]}, but this network was built for {config.video_length}")
    patch = config.get("patch_size") or 1
    deep, high, wide = (1, patch, patch) if isinstance(patch, int) else patch
    if shape[1] % deep:
        raise RecipeError(f"generator.frames {shape[1]} is no multiple of {deep}, the frames of one patch")
    if shape[2] % high or shape[3] % wide:
        raise RecipeError(f"generator.size is no multiple of {stride * wide} x {stride * high}, the pixels of one patch")
