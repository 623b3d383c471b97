"""Pictures as codes without a codebook (finite scalar quantisation, arXiv 2309.15505), between the convolutional
encoder and decoder of diffusers' autoencoders. Decides what a code is: the levels of a cell's numbers as digits, the
first the lowest.

Each number of a cell is squashed to -1..1 and rounded to one of L even levels; the gradient passes the rounding by. For
odd L that is the paper's; for even L the paper moves the levels by half a step, which what is learned undoes."""

from __future__ import annotations

from itertools import accumulate
from math import prod
from operator import mul
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from polymodal.errors import RecipeError
from polymodal.parts.base import Positive
from polymodal.parts.generators.codec_networks import cells
from polymodal.parts.generators.pictures import PictureCodec, squared

Levels = Annotated[tuple[Annotated[int, Field(ge=2)], ...], Field(min_length=1)]
Channels = Annotated[tuple[Positive, ...], Field(min_length=1)]


class FSQ(PictureCodec):
    """`size`: of its pictures in pixels. `levels`: of each number of a cell; the vocabulary is their product. `channels`:
    of each block of the encoder (the decoder's, backwards), which halves between them; `groups` of them are normalised
    together. `layers`: residual layers of a block. `patch`: the side of what the network takes for one pixel; what costs
    most is at full size. A cell is patch * 2^(blocks - 1) pixels. Raises `RecipeError` for what does not divide."""

    takes = "codes"
    levels: Tensor
    digits: Tensor

    def __init__(
        self,
        size: Positive,
        levels: Levels = (8, 5, 5, 5),
        channels: Channels = (32, 64, 64),
        layers: Positive = 1,
        groups: Positive = 8,
        patch: Positive = 1,
    ) -> None:
        super().__init__()
        from diffusers.models.autoencoders.vae import Decoder, Encoder

        if any(width % groups for width in channels):
            raise RecipeError(f"generator 'fsq': {groups} groups do not divide its channels {list(channels)}")
        self.size, self.patch, self.width = size, patch, len(levels)
        self.grid = cells(size, patch * 2 ** (len(channels) - 1))
        self.positions, self.vocabulary = self.grid**2, prod(levels)
        sizes = {"layers": layers, "groups": groups, "patch": patch}
        self.options = {"size": size, "levels": list(levels), "channels": list(channels), **sizes}
        worth = list(accumulate([1, *levels[:-1]], mul))  # of one level of each number, in a code
        self.register_buffer("levels", torch.tensor(levels)[:, None], persistent=False)
        self.register_buffer("digits", torch.tensor(worth)[:, None], persistent=False)
        plain: dict[str, Any] = {"layers_per_block": layers, "norm_num_groups": groups, "mid_block_add_attention": False}
        down, up = (((f"{way}Block2D",) * len(channels)) for way in ("DownEncoder", "UpDecoder"))
        self.encoder = Encoder(3 * patch**2, self.width, down, tuple(channels), double_z=False, **plain)
        self.decoder = Decoder(self.width, 3 * patch**2, up, tuple(channels), **plain)

    def fit(self, targets: Tensor) -> Tensor:
        """Of pixels [S, 3, size, size]: mean squared error."""
        found = self._found(targets)
        return squared(self._pixels(found + (found.round() - found).detach()), targets)

    @torch.no_grad()
    def encode(self, targets: Tensor) -> Tensor:
        return (self._found(targets).round().long() * self.digits).sum(1)

    def decode(self, given: Tensor) -> Tensor:
        return self._pixels(given[:, None] // self.digits % self.levels)

    def _found(self, targets: Tensor) -> Tensor:  # [S, 3, size, size] -> levels to be [S, Dg, N], from 0 to L - 1
        return (self.encoder(functional.pixel_unshuffle(targets, self.patch)).flatten(2).tanh() + 1) * (self.levels - 1) / 2

    def _pixels(self, levels: Tensor) -> Tensor:  # [S, Dg, N] -> [S, 3, size, size]
        numbers = (2 * levels / (self.levels - 1) - 1).to(self.decoder.conv_in.weight.dtype)
        made = self.decoder(numbers.unflatten(2, (self.grid, self.grid)))
        return functional.pixel_shuffle(made, self.patch)
