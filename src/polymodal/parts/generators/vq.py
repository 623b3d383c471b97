"""Pictures as codes of a learned codebook (VQ-VAE, arXiv 1711.00937; VQGAN, 2012.09841): the `VQModel` of diffusers.
Decides that each cell of the grid is one code, row by row."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from polymodal.parts.base import Positive
from polymodal.parts.generators.codec_networks import config_of, grid, network
from polymodal.parts.generators.pictures import PictureCodec, squared


class VQ(PictureCodec):
    """`path` (a folder or Hub id, in it perhaps a `subfolder`: a pipeline's `vqvae` or `movq`) or `config`. `size`: of its
    pictures in pixels. `commitment`: how much more the codebook comes to the encoder than the encoder to it, the paper's
    beta. Raises `RecipeError` for a `size` that is no whole number of cells."""

    takes = "codes"

    def __init__(
        self,
        size: Positive,
        path: str | None = None,
        config: dict[str, Any] | None = None,
        subfolder: str | None = None,
        commitment: Annotated[float, Field(ge=0)] = 0.25,
    ) -> None:
        super().__init__()
        from diffusers import VQModel

        self.network = network(VQModel, path, config, subfolder)
        self.size, self.grid, self.commitment = size, grid(self.network, size), commitment
        self.positions, self.vocabulary = self.grid**2, self.network.config.num_vq_embeddings
        self.width = self.network.quantize.vq_embed_dim
        self.options = {"size": size, "config": config_of(self.network), "commitment": commitment}

    def fit(self, targets: Tensor) -> Tensor:
        """Of pixels [S, 3, size, size]: mean squared error, and how far encoder and codebook are apart."""
        found = self.network.encode(targets).latents
        near = self._vectors(self._nearest(found))
        apart = squared(near, found.detach()) + self.commitment * squared(found, near.detach())
        return squared(self._pixels(found + (near - found).detach()), targets) + apart  # the gradient passes the codes by

    @torch.no_grad()
    def encode(self, targets: Tensor) -> Tensor:
        return self._nearest(self.network.encode(targets).latents)

    def decode(self, given: Tensor) -> Tensor:
        return self._pixels(self._vectors(given))

    def _nearest(self, found: Tensor) -> Tensor:  # [S, Dg, grid, grid] -> [S, N]
        return self.network.quantize(found)[2][2].reshape(len(found), self.positions)

    def _vectors(self, codes: Tensor) -> Tensor:  # [S, N] -> [S, Dg, grid, grid]
        return self.network.quantize.get_codebook_entry(codes, (len(codes), self.grid, self.grid, self.width))

    def _pixels(self, vectors: Tensor) -> Tensor:
        spatial = vectors if self.network.config.norm_type == "spatial" else None  # MoVQ's decoder looks at them all along
        return self.network.decoder(self.network.post_quant_conv(vectors), spatial)
