"""A network that is also given the picture it changes (InstructPix2Pix, arXiv 2211.09800). Decides that its latents stand
behind the noisy ones, in channels of their own, and that no picture is zeros there."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from polymodal.errors import RecipeError

_ENTRANCES = ("conv_in", "pos_embed.proj")  # of UNets, of transformers over patches


def widened(network: Any, channels: int) -> Any:
    """A network of diffusers that takes twice `channels`. One that takes them once is given as many more, whose weights are
    zero: at first it makes what it made. Raises `RecipeError` for any other."""
    has = network.config.in_channels
    if has == 2 * channels:
        return network
    name = next((name for name in _ENTRANCES if _is_entrance(network, name, channels)), None)
    if has != channels or name is None:
        raise RecipeError(
            f"generator.source: this {type(network).__name__} takes {has} channels and cannot be given a picture of "
            f"{channels} beside as many of noise: use one of {2 * channels} 'in_channels', or a UNet of {channels}"
        )
    conv: Any = copy.deepcopy(network.get_submodule(name))
    conv.weight = nn.Parameter(torch.cat([conv.weight, torch.zeros_like(conv.weight)], 1).detach())
    conv.in_channels = 2 * channels
    holder, _, key = name.rpartition(".")
    setattr(network.get_submodule(holder), key, conv)
    out = network.config.get("out_channels") or channels  # absent, it would be as many as go in
    network.register_to_config(in_channels=2 * channels, out_channels=out)
    return network


def channels_of(vae: Any) -> int | None:
    """Of the latents of an autoencoder, if its config says it; of pixels without one."""
    return 3 if vae is None else vae.config.get("latent_channels")


def _is_entrance(network: nn.Module, name: str, channels: int) -> bool:
    try:
        module = network.get_submodule(name)
    except AttributeError:
        return False
    return isinstance(module, nn.Conv2d) and module.in_channels == channels and module.groups == 1
