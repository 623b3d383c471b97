"""Diffusion over the latents of an autoencoder, whatever the medium. Decides how a generator is put together from a folder
or from configs, how a medium becomes latents, and what an autoencoder is fitted by.

Shapes: a prepared medium [..., C, H, W] and latents [c, ..., h, w]; what stands in the dots (frames of a clip) the
autoencoder sees one by one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from polymodal.errors import RecipeError
from polymodal.parts.base import build
from polymodal.parts.generators import networks
from polymodal.parts.generators.denoising import Diffusion
from polymodal.parts.generators.generated_texts import GeneratedTexts, widths
from polymodal.parts.generators.paired_texts import PairedTexts, sums
from polymodal.parts.output import Generator

CONDITIONS = {
    "texts": "polymodal.parts.generators.text_conditions.TextConditions",
    "pictures": "polymodal.parts.generators.image_conditions.ImageConditions",
    "paired-texts": "polymodal.parts.generators.paired_texts.PairedTexts",
    "generated-texts": "polymodal.parts.generators.generated_texts.GeneratedTexts",
}
TWICE: dict[str, type] = {"paired-texts": PairedTexts, "generated-texts": GeneratedTexts}  # of networks that want two
SHARPNESS = 1.0  # of edges against colours in what an autoencoder is fitted by


class LatentDiffusion(Diffusion):
    """`parts`: what `components` found. `conditions`: `path` and `positions` of a text encoder (`TextConditions`), if not
    that of `source`, the generator's `path`. `noise`: standard deviation of what `fit` adds to latents that are not drawn
    already, and `prior`: how much it holds them to a normal distribution. Networks that want a second condition (Stable
    Diffusion 3 as released) are refused, but for those whose `conditions` make both (`TWICE`). A class states `kind`,
    the recipe's name for it, and `shape` [c, ..., h, w] of its latents; `stride`: pixels of one latent, along a side."""

    network: Any  # of diffusers, as is the autoencoder
    vae: Any
    kind: str
    shape: tuple[int, ...]

    def __init__(
        self,
        parts: Mapping[str, Any],
        source: str | None,
        conditions: dict[str, Any] | None,
        steps: int,
        guidance: float,
        drop: float = 0.0,
        min_snr: bool = False,
        noise: float = 0.1,
        prior: float = 1e-3,
        clean: bool = False,
        source_guidance: float = 1.0,
    ) -> None:
        network = parts[next(name for name in networks.DENOISERS if name in parts)]
        pooled = network.config.get("pooled_projection_dim")  # one vector: the mean of the condition, if it fits
        fits = pooled is None or pooled == network.config.get("joint_attention_dim")
        if network.config.get("addition_embed_type") not in (None, "text_time") or not fits:
            raise RecipeError(
                f"generator: this {type(network).__name__} wants a second condition, which has no source here"
            )
        conditions = dict(conditions or {})
        own = "text_encoder" in parts and not conditions.keys() & {"path", "config", "of"}
        if own:
            conditions = {"path": source, **parts["text_encoder"]} | conditions
        if not isinstance(conditions.get("positions"), int):
            raise RecipeError(f"generator '{self.kind}' needs 'conditions': the 'path' of a text encoder, and 'positions'")
        wanted = "paired-texts" if sums(network) else "generated-texts" if widths(network) else "texts"
        texts = build("generator.conditions", CONDITIONS, {"kind": wanted, **conditions})
        if next((kind for kind, made in TWICE.items() if isinstance(texts, made)), "texts") != wanted:
            wants = f"conditions of kind '{wanted}'" if wanted in TWICE else "conditions of one text encoder"
            raise RecipeError(f"generator.conditions: this {type(network).__name__} wants {wants}")
        told = network, parts["scheduler"], texts, texts.positions
        super().__init__(*told, steps, guidance, drop, min_snr, clean, source_guidance=source_guidance)
        self.vae, self.noise, self.prior = parts.get("vae"), noise, prior
        self.stride = 1 if self.vae is None else 2 ** (len(_widths(self.vae)) - 1)
        if own and not getattr(texts, "zeros", False):  # it was trained with what its text encoder makes of nothing
            self.unconditional.copy_(texts([""])[0])
        described = {name: networks.described(part) for name, part in parts.items() if name != "text_encoder"}
        self.options = {"config": described, "conditions": conditions, "steps": steps, "guidance": guidance}
        self.options |= {"drop": drop, "min_snr": min_snr}

    def borrow(self, other: Generator) -> None:
        """Use the autoencoder of another generator. It is learned, moved and stored with that one alone."""
        lender = other if isinstance(other, LatentDiffusion) else getattr(other, "of", None)  # of one that reads prompts
        theirs = lender.vae if isinstance(lender, LatentDiffusion) else None
        if theirs is None or self.vae is None or networks.described(theirs) != networks.described(self.vae):
            raise RecipeError(f"generator.autoencoder_of: '{self.borrows}' has no autoencoder like that in 'config.vae'")
        del self.vae
        self.__dict__["vae"] = theirs  # past nn.Module, which would own it

    def loss(self, targets: Tensor, condition: Tensor) -> Tensor:
        """What `prepare` makes, stacked, or its latents of `encode`, and [S, Q, Dg] -> [S]."""
        return self.denoising(self._as_latents(targets), condition)

    def reduced(self, target: Tensor) -> Tensor | None:
        if self.vae is None or any(p.requires_grad for p in self.vae.parameters()):
            return None
        return self.encode(target[None])[0]

    def fit(self, targets: Tensor) -> Tensor:
        """[S, ..., C, H, W] -> [S]: the mean distance in colours and in differences of neighbours, through latents with
        noise on them, and `prior` times their divergence from a normal distribution (but for a constant)."""
        if self.vae is None:
            return super().fit(targets)
        flat = targets.flatten(0, -4)
        state = self.vae.encode(flat)
        if "latent_dist" in state:
            latents, prior = state.latent_dist.sample(), state.latent_dist.kl() / state.latent_dist.mean[0].numel()
        else:
            latents = _plain(state)
            prior = latents.square().flatten(1).mean(1) / 2
            latents = latents + self.noise * torch.randn_like(latents)
        error = self.vae.decode(latents).sample - flat
        edges = [error.diff(dim=axis).abs().flatten(1).mean(1) for axis in (-1, -2)]
        each = error.abs().flatten(1).mean(1) + SHARPNESS * sum(edges) / 2 + self.prior * prior
        return each.unflatten(0, (len(targets), -1)).mean(1)

    @torch.no_grad()
    def encode(self, targets: Tensor) -> Tensor:
        """[S, ..., C, H, W] -> latents [S, N, c], as the network has them. `loss` takes them in the media's place."""
        return self._latents(targets).flatten(2).transpose(1, 2)

    def _as_latents(self, targets: Tensor) -> Tensor:
        """What `prepare` makes, stacked, or its latents of `encode` -> [S, c, ..., h, w]."""
        return targets.transpose(1, 2).unflatten(2, self.shape[1:]) if targets.ndim == 3 else self._latents(targets)

    @torch.no_grad()
    def _latents(self, targets: Tensor) -> Tensor:
        """[S, ..., C, H, W] -> [S, c, ..., h, w]."""
        if self.vae is None:
            latents = targets
        else:
            state = self.vae.encode(targets.flatten(0, -4))
            latents = state.latent_dist.mode() if "latent_dist" in state else _plain(state)
            mean, scale = self._scaling(latents)
            latents = ((latents - mean) / scale).unflatten(0, targets.shape[:-3])
        return latents.movedim(-3, 1)

    @torch.no_grad()
    def _decoded(self, latents: Tensor) -> Tensor:
        """[S, c, ..., h, w] -> [S, ..., C, H, W]."""
        latents = latents.movedim(1, -3)
        if self.vae is None:
            return latents
        mean, scale = self._scaling(latents)
        flat = (latents * scale + mean).flatten(0, -4)
        return self.vae.decode(flat).sample.unflatten(0, latents.shape[:-3])

    def _scaling(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the autoencoder's latents, [c, 1, 1] or scalars, as its config has them."""
        config = self.vae.config if self.vae is not None else {}
        mean, std = config.get("latents_mean"), config.get("latents_std")
        if mean is None or std is None:
            mean, std = config.get("shift_factor") or 0.0, 1.0
        scale = latents.new_tensor(std) / (config.get("scaling_factor") or 1.0)
        mean = latents.new_tensor(mean)
        return (mean.view(-1, 1, 1), scale.view(-1, 1, 1)) if mean.ndim else (mean, scale)


def components(
    kind: str,
    path: str | None,
    config: dict[str, dict[str, Any]] | None,
    also: Sequence[str] = (),
    usual: str | None = None,
) -> dict[str, Any]:
    """The components of a pipeline at `path`, or built of `config` with random weights; instead of a pipeline's text
    encoder, what `TextConditions` needs to know of it. `also`: components that there have to be beside the denoiser and the
    scheduler. `usual`: the class of a `unet` whose config names none. Raises `RecipeError` naming what is missing."""
    if (path is None) == (config is None):
        raise RecipeError(f"generator '{kind}' needs either 'path' (pretrained) or 'config' (random weights)")
    known = (*networks.DENOISERS, "vae", "scheduler", *also)
    if path is not None:
        found = networks.index(path)
        if not any(name in found for name in networks.DENOISERS) or not {"scheduler", *also} <= found.keys():
            needs = ", ".join(("no unet or transformer", *(f"no {name}" for name in ("scheduler", *also))))
            raise RecipeError(f"generator.path '{path}' has {needs.replace(', no s', ', or no s')}")
        parts = {name: networks.pretrained(path, name, *found[name]) for name in known if name in found}
        if "text_encoder" in found:
            parts["text_encoder"] = networks.text_encoder(path)
        return parts
    config = dict(config or {})
    if unknown := [name for name in config if name not in known]:
        raise RecipeError(f"generator.config has no '{unknown[0]}'; it has {', '.join(known)}")
    if sum(name in config for name in networks.DENOISERS) != 1 or "scheduler" not in config:
        raise RecipeError("generator.config needs a 'scheduler' and either a 'unet' or a 'transformer'")
    if missing := [name for name in also if name not in config]:
        raise RecipeError(f"generator.config of kind '{kind}' needs a '{missing[0]}'")
    if usual is not None and "unet" in config:
        config["unet"] = {"_class_name": usual} | config["unet"]
    return {name: networks.built(name, options) for name, options in config.items()}


def _plain(state: Any) -> Tensor:
    return state.latent if "latent" in state else state.latents


def _widths(vae: Any) -> Sequence[int]:
    return vae.config.get("block_out_channels") or vae.config["encoder_block_out_channels"]
