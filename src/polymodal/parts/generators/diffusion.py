"""Pictures by diffusion: Stable Diffusion and its relatives, and transformers such as PixArt, over the latents of an
autoencoder or over pixels. Decides how a picture becomes latents, and what an autoencoder is fitted by."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from polymodal.errors import MediaError, RecipeError
from polymodal.parts.base import Positive, build
from polymodal.parts.generators import networks
from polymodal.parts.generators.denoising import Diffusion
from polymodal.parts.generators.text_conditions import TextConditions

CONDITIONS = {
    "texts": "polymodal.parts.generators.text_conditions.TextConditions",
    "pictures": "polymodal.parts.generators.image_conditions.ImageConditions",
}
SHARPNESS = 1.0  # of edges against colours in what an autoencoder is fitted by


class ImageDiffusion(Diffusion):
    """`path`: a Hub id or folder in the layout of diffusers, with its own text encoder; or `config`: `unet` or
    `transformer`, `vae` (none: pixels are denoised) and `scheduler`, random weights. `conditions`: `path` and `positions`
    of a text encoder (`TextConditions`), if not that of `path`. `steps` and `guidance` of `make`; `size` of its pictures in
    pixels. `drop` and `min_snr`: see `Diffusion`. `noise`: standard deviation of what `fit` adds to latents that are not
    drawn already, and `prior`: how much it holds them to a normal distribution. Networks that want more than one condition
    (Stable Diffusion XL) are refused."""

    modality = "image"

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
    ) -> None:
        if (path is None) == (config is None):
            raise RecipeError("generator 'diffusion' needs either 'path' (pretrained) or 'config' (random weights)")
        parts = _pretrained(path) if path is not None else _built(config or {})
        network = parts[next(name for name in networks.DENOISERS if name in parts)]
        if network.config.get("addition_embed_type") is not None:
            raise RecipeError(
                f"generator: this {type(network).__name__} wants a second condition, which has no source here"
            )
        conditions = dict(conditions or {})
        own = "text_encoder" in parts and not conditions.keys() & {"path", "config", "of"}
        if own:
            conditions = {"path": path, "pipeline": True, "positions": parts["text_encoder"]} | conditions
        if not isinstance(conditions.get("positions"), int):
            raise RecipeError("generator 'diffusion' needs 'conditions': the 'path' of a text encoder, and 'positions'")
        texts = _texts(conditions)
        super().__init__(network, parts["scheduler"], texts, texts.positions, steps, guidance, drop, min_snr)
        self.vae, self.noise, self.prior = parts.get("vae"), noise, prior
        self.channels, self.side = network.config.in_channels, network.config.sample_size
        self.stride = 1 if self.vae is None else 2 ** (len(_widths(self.vae)) - 1)
        if size is not None and size % self.stride:
            raise RecipeError(f"generator.size {size} is no multiple of {self.stride}, the pixels of one latent")
        self.side = self.side if size is None else size // self.stride
        if own:  # it was trained with what its text encoder makes of nothing
            self.unconditional.copy_(_texts(conditions)([""])[0])
        described = {
            name: networks.described(parts[name]) for name in (*networks.DENOISERS, "vae", "scheduler") if name in parts
        }
        self.options = {"config": described, "conditions": conditions, "steps": steps, "guidance": guidance, "size": size}
        self.options |= {"drop": drop, "min_snr": min_snr, "noise": noise, "prior": prior}

    def prepare(self, media: Any) -> Tensor:
        """A `PIL.Image` -> its middle square, float32 [3, size, size] of -1 to 1."""
        import numpy as np
        from PIL import Image, ImageOps

        if not isinstance(media, Image.Image):
            raise MediaError(f"a picture is wanted, not {type(media).__name__}")
        size = self.side * self.stride
        square = ImageOps.fit(media.convert("RGB"), (size, size), Image.Resampling.LANCZOS)
        return torch.from_numpy(np.array(square)).permute(2, 0, 1).float() / 127.5 - 1

    def loss(self, targets: Tensor, condition: Tensor) -> Tensor:
        """Pictures [S, 3, size, size], or their latents of `encode`, and [S, Q, Dg] -> [S]."""
        if targets.ndim == 3:
            latents = targets.transpose(1, 2).unflatten(2, (self.side, self.side))
        else:
            latents = self._latents(targets)
        return self.denoising(latents, condition)

    def fit(self, targets: Tensor) -> Tensor:
        """[S, 3, size, size] -> [S]: the mean distance in colours and in differences of neighbours, through latents with
        noise on them, and `prior` times their divergence from a normal distribution (but for a constant)."""
        if self.vae is None:
            return super().fit(targets)
        state = self.vae.encode(targets)
        if "latent_dist" in state:
            latents, prior = state.latent_dist.sample(), state.latent_dist.kl() / state.latent_dist.mean[0].numel()
        else:
            latents = _plain(state)
            prior = latents.square().flatten(1).mean(1) / 2
            latents = latents + self.noise * torch.randn_like(latents)
        error = self.vae.decode(latents).sample - targets
        edges = [error.diff(dim=axis).abs().flatten(1).mean(1) for axis in (-1, -2)]
        return error.abs().flatten(1).mean(1) + SHARPNESS * sum(edges) / 2 + self.prior * prior

    @torch.no_grad()
    def encode(self, targets: Tensor) -> Tensor:
        """[S, 3, size, size] -> latents [S, N, C], as the network has them. `loss` takes them in the pictures' place."""
        return self._latents(targets).flatten(2).transpose(1, 2)

    def make(
        self, given: Tensor | Sequence[str], random: torch.Generator, on_step: Callable[[int, int], None] | None = None
    ) -> list[Any]:
        """S conditions -> S `PIL.Image` of size x size."""
        from PIL import Image

        if not isinstance(given, Tensor):
            raise RecipeError("generator 'diffusion' makes pictures of conditions, not of texts")
        latents = self.denoised(given, (self.channels, self.side, self.side), random, on_step)
        with torch.no_grad():
            pictures = latents if self.vae is None else self.vae.decode(self._unscaled(latents)).sample
        pixels = (pictures.float().clamp(-1, 1) * 127.5 + 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).cpu()
        return [Image.fromarray(picture.numpy()) for picture in pixels]

    @torch.no_grad()
    def _latents(self, targets: Tensor) -> Tensor:
        if self.vae is None:
            return targets
        state = self.vae.encode(targets)
        latents = state.latent_dist.mode() if "latent_dist" in state else _plain(state)
        mean, scale = self._scaling(latents)
        return (latents - mean) / scale

    def _unscaled(self, latents: Tensor) -> Tensor:
        mean, scale = self._scaling(latents)
        return latents * scale + mean

    def _scaling(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the autoencoder's latents, [C, 1, 1] or scalars, as its config has them."""
        config = self.vae.config if self.vae is not None else {}
        mean, std = config.get("latents_mean"), config.get("latents_std")
        if mean is None or std is None:
            mean, std = config.get("shift_factor") or 0.0, 1.0
        scale = latents.new_tensor(std) / (config.get("scaling_factor") or 1.0)
        mean = latents.new_tensor(mean)
        return (mean.view(-1, 1, 1), scale.view(-1, 1, 1)) if mean.ndim else (mean, scale)


def _texts(conditions: dict[str, Any]) -> TextConditions:
    return build("generator.conditions", CONDITIONS, {"kind": "texts", **conditions})


def _plain(state: Any) -> Tensor:
    return state.latent if "latent" in state else state.latents


def _widths(vae: Any) -> Sequence[int]:
    return vae.config.get("block_out_channels") or vae.config["encoder_block_out_channels"]


def _built(config: dict[str, dict[str, Any]]) -> dict[str, Any]:
    known = (*networks.DENOISERS, "vae", "scheduler")
    if unknown := [name for name in config if name not in known]:
        raise RecipeError(f"generator.config has no '{unknown[0]}'; it has {', '.join(known)}")
    if sum(name in config for name in networks.DENOISERS) != 1 or "scheduler" not in config:
        raise RecipeError("generator.config needs a 'scheduler' and either a 'unet' or a 'transformer'")
    return {name: networks.built(name, options) for name, options in config.items()}


def _pretrained(path: str) -> dict[str, Any]:
    """The components of a pipeline; instead of its text encoder, how many tokens that reads."""
    found = networks.index(path)
    if not any(name in found for name in networks.DENOISERS) or "scheduler" not in found:
        raise RecipeError(f"generator.path '{path}' has no unet or transformer, or no scheduler")
    wanted = [name for name in (*networks.DENOISERS, "vae", "scheduler") if name in found]
    parts = {name: networks.pretrained(path, name, *found[name]) for name in wanted}
    if "text_encoder" in found:
        parts["text_encoder"] = networks.text_length(path)
    return parts
