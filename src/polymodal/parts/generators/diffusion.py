"""Pictures by diffusion: Stable Diffusion and its relatives, and transformers such as PixArt, over the latents of an
autoencoder or over pixels. Decides how a picture becomes what the autoencoder takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from polymodal.errors import RecipeError
from polymodal.parts.base import Positive
from polymodal.parts.generators.editing import channels_of, widened
from polymodal.parts.generators.latents import LatentDiffusion, components
from polymodal.parts.generators.networks import DENOISERS
from polymodal.parts.generators.pictures import pictures, pixels
from polymodal.parts.output import Editor, Sources


class ImageDiffusion(LatentDiffusion, Editor):
    """`path`: a Hub id or folder in the layout of diffusers, with its own text encoder; or `config`: `unet` or
    `transformer`, `vae` (none: pixels are denoised) and `scheduler`, random weights. `conditions`: `path` and `positions`
    of a text encoder (`TextConditions`), if not that of `path`. `steps` and `guidance` of `make`; `size` of its pictures in
    pixels. `drop`, `min_snr` and `clean`: see `Diffusion`; `noise` and `prior`: see `LatentDiffusion`. `source`: it is
    given a picture to change, and draws a new one without; a network that takes latents alone is widened (`editing`).
    `source_guidance`: how far it follows that picture. Raises `RecipeError` for a network that cannot be given one."""

    modality, kind = "image", "diffusion"

    def __init__(
        self,
        path: str | None = None,
        config: dict[str, dict[str, Any]] | None = None,
        conditions: dict[str, Any] | None = None,
        steps: Positive = 20,
        guidance: float = 1.0,
        size: Positive | None = None,
        drop: Annotated[float, Field(ge=0, le=1)] = 0.1,
        min_snr: bool = False,
        noise: Annotated[float, Field(ge=0)] = 0.1,
        prior: Annotated[float, Field(ge=0)] = 1e-3,
        clean: bool = False,
        source: bool = False,
        source_guidance: float = 1.0,
    ) -> None:
        parts, self.edits = components(self.kind, path, config), source
        name = next(name for name in DENOISERS if name in parts)
        own = channels_of(parts.get("vae")) or parts[name].config.in_channels // (1 + source)
        if source:
            parts[name] = widened(parts[name], own)
        elif parts[name].config.in_channels == 2 * own:
            raise RecipeError("generator: this network is given a picture to change: say 'source: true'")
        super().__init__(parts, path, conditions, steps, guidance, drop, min_snr, noise, prior, clean, source_guidance)
        if size is not None and size % self.stride:
            raise RecipeError(f"generator.size {size} is no multiple of {self.stride}, the pixels of one latent")
        side = self.network.config.sample_size if size is None else size // self.stride
        self.size, self.shape = side * self.stride, (self.network.config.in_channels // (1 + source), side, side)
        self.options |= {"size": size, "noise": noise, "prior": prior, "clean": clean}
        self.options |= {"source": source, "source_guidance": source_guidance}

    def prepare(self, media: Any) -> Tensor:
        """A `PIL.Image` -> its middle square, float32 [3, size, size] from -1 to 1. Raises `MediaError` for no picture."""
        return pixels(media, (self.size, self.size))

    def loss(self, targets: Tensor, condition: Tensor, source: Sources | None = None) -> Tensor:
        """As `LatentDiffusion.loss`, and what the targets are made from."""
        latents = self._as_latents(targets)
        return self.denoising(latents, condition, self._beside(source, len(latents)))

    def make(
        self,
        given: Tensor | Sequence[str],
        random: torch.Generator,
        on_step: Callable[[int, int], None] | None = None,
        source: Sources | None = None,
    ) -> list[Any]:
        """S conditions -> S `PIL.Image` of size x size."""
        if not isinstance(given, Tensor):
            raise RecipeError("generator 'diffusion' makes pictures of conditions, not of texts")
        beside = self._beside(source, len(given))
        return pictures(self._decoded(self.denoised(given, self.shape, random, on_step, beside)))

    def _beside(self, source: Sources | None, number: int) -> Tensor | None:
        """Latents [S, c, h, w] of what is changed, as the autoencoder has them and not scaled; zeros of nothing."""
        if not self.edits:
            return None
        out = self.unconditional.new_zeros(number, *self.shape)
        shown = {i: item for i, item in enumerate(source or ()) if item is not None}
        if shown:
            latents = self._as_latents(torch.stack([*shown.values()]).to(out))
            mean, scale = self._scaling(latents)
            out[[*shown]] = latents * scale + mean
        return out
