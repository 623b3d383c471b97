"""Classifiers over the names of a tags projector: the encoder's own, or one that learns names of a feature or of a clip."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from polymodal.errors import RecipeError
from polymodal.parts.input_projectors.standardize import Standardize
from polymodal.parts.sources import read_tensor


class Frozen(nn.Module):
    """The last layer of an image classifier, `_fc` of the `model.safetensors` in `folder`. It never learns."""

    weight: Tensor
    bias: Tensor

    def __init__(self, folder: Path, names: int, width: int) -> None:
        super().__init__()
        for key, shape in (("weight", (names, width)), ("bias", (names,))):
            tensor = read_tensor(folder / "model.safetensors", f"_fc.{key}").float()
            if tuple(tensor.shape) != shape:
                raise RecipeError(f"projector 'tags': the classifier in {folder} has {len(tensor)} classes, names {names}")
            self.register_buffer(key, tensor)

    def forward(self, x: Tensor) -> Tensor:  # [M, De] -> [M, names]
        return x.float() @ self.weight.T + self.bias


class Cosine(nn.Module):
    """Nearest name by angle, after the square root of each value: features of a convolutional network are mostly small with
    few large values that say more of the style than of the thing (power normalisation; Perronnin et al., ECCV 2010)."""

    def __init__(self, width: int, names: int, rank: int) -> None:
        super().__init__()
        self.standardize = Standardize(width)
        self.enter = nn.Linear(width, rank, bias=False)
        self.keys = nn.Parameter(torch.randn(names, rank) * 0.05)
        self.sharpness = nn.Parameter(torch.tensor(16.0))

    def forward(self, x: Tensor) -> Tensor:  # [M, De] -> [M, names]
        x = self.enter(self.standardize(x.sign() * x.abs().sqrt()))
        return self.sharpness * normalize(x, dim=-1) @ normalize(self.keys, dim=-1).T


class Ordered(nn.Module):
    """Names of what happens in a clip: each of its `features` is brought to `rank` numbers by one layer that all share, and
    a hidden layer reads them side by side, so that it knows which frame and which cell each is of."""

    def __init__(self, width: int, features: int, names: int, rank: int, hidden: int = 256, dropout: float = 0.2) -> None:
        super().__init__()
        self.standardize = Standardize(width)
        self.enter = nn.Linear(width, rank, bias=False)
        self.mix = nn.Linear(features * rank, hidden)
        self.leave = nn.Linear(hidden, names)
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:  # [M, N, De] -> [M, names]
        rows = self.standardize((x.sign() * x.abs().sqrt()).flatten(0, 1))
        joined = self.drop(self.enter(rows).reshape(len(x), -1))
        return self.leave(self.drop(nn.functional.gelu(self.mix(joined))))
