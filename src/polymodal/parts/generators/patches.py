"""Pictures as latents without a network: patches of pixels (Fuyu's, made instead of read). Decides the order of what
stands at a position, which the latents of an autoencoder have, too: channel by channel, row by row."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from polymodal.parts.base import Positive
from polymodal.parts.generators.codec_networks import cells
from polymodal.parts.generators.pictures import PictureCodec


def cut(maps: Tensor, patch: int) -> Tensor:
    """[S, C, H, W] -> [S, H / patch * W / patch, C * patch^2]."""
    return functional.pixel_unshuffle(maps, patch).flatten(2).transpose(1, 2)


def joined(rows: Tensor, patch: int, height: int) -> Tensor:
    """What was `cut` out of maps of this height, as it was."""
    return functional.pixel_shuffle(rows.transpose(1, 2).unflatten(2, (height // patch, -1)), patch)


class Patches(PictureCodec):
    """`size`: of its pictures in pixels; `patch`: the side of a patch. N = (size / patch)^2, Dg = 3 patch^2, from -1 to 1.
    Nothing in it learns. Raises `RecipeError` if some patch is not whole."""

    takes = "latents"

    def __init__(self, size: Positive, patch: Positive) -> None:
        super().__init__()
        self.size, self.patch, self.positions, self.width = size, patch, cells(size, patch) ** 2, 3 * patch**2
        self.options = {"size": size, "patch": patch}

    def encode(self, targets: Tensor) -> Tensor:
        return cut(targets, self.patch)

    def decode(self, given: Tensor) -> Tensor:
        return joined(given, self.patch, self.size)
