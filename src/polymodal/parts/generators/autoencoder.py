"""Pictures as latents (latent diffusion, arXiv 2112.10752): the `AutoencoderKL` of diffusers. Decides that latents have
about unit variance, by the scaling factor of the network or, for one that is trained here, by running statistics."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from polymodal.parts.base import Positive
from polymodal.parts.generators.codec_networks import cells, config_of, grid, network
from polymodal.parts.generators.patches import cut, joined
from polymodal.parts.generators.pictures import PictureCodec, squared
from polymodal.parts.input_projectors.standardize import Standardize


class Autoencoder(PictureCodec):
    """`path` (a folder or Hub id, in it perhaps a `subfolder`: a pipeline's `vae`) or `config`. `size`: of its pictures in
    pixels. `patch`: the side of what stands at one position, in cells. `kl`: the weight of the divergence from a normal
    distribution, as the paper counts it. `standardize`: latents are scaled by what `fit` has seen of each channel, not by
    the config's `scaling_factor`. Raises `RecipeError` for a `size` of which some cell or patch is not whole."""

    takes = "latents"

    def __init__(
        self,
        size: Positive,
        path: str | None = None,
        config: dict[str, Any] | None = None,
        subfolder: str | None = None,
        patch: Positive = 1,
        kl: Annotated[float, Field(ge=0)] = 1e-6,
        standardize: bool = False,
    ) -> None:
        super().__init__()
        from diffusers import AutoencoderKL

        self.network = network(AutoencoderKL, path, config, subfolder)
        self.size, self.patch, self.kl = size, patch, kl
        self.grid, channels = grid(self.network, size), self.network.config.latent_channels
        self.positions, self.width = cells(self.grid, patch) ** 2, channels * patch**2
        self.seen = Standardize(channels) if standardize else None
        own = {"patch": patch, "kl": kl, "standardize": standardize}
        self.options = {"size": size, "config": config_of(self.network), **own}

    def fit(self, targets: Tensor) -> Tensor:
        """Of pixels [S, 3, size, size]: mean squared error from a sample of the latents, and `kl`."""
        found = self.network.encode(targets).latent_dist
        if self.seen is not None:
            self.seen(found.mean.detach().transpose(0, 1).flatten(1).T)
        latents = found.mean + found.std * torch.randn_like(found.mean)
        return squared(self.network.decode(latents).sample, targets) + self.kl * found.kl() / targets[0].numel()

    @torch.no_grad()
    def encode(self, targets: Tensor) -> Tensor:
        shift, scale = self._scale()
        return cut((self.network.encode(targets).latent_dist.mode() - shift) * scale, self.patch)

    def decode(self, given: Tensor) -> Tensor:
        shift, scale = self._scale()
        return self.network.decode(joined(given, self.patch, self.grid) / scale + shift).sample

    def _scale(self) -> tuple[Any, Any]:
        """What is taken from latents, and what they are then multiplied by."""
        if self.seen is None:
            return self.network.config.shift_factor or 0.0, self.network.config.scaling_factor
        return self.seen.mean[:, None, None], self.seen.var[:, None, None].clamp(min=4e-4).rsqrt()
