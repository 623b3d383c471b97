"""Classifiers over the names of a tags projector: the encoder's own, or one that learns names of a feature or of a clip, by
gradients or by counting."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.functional import normalize

from polymodal.errors import RecipeError
from polymodal.parts.input_projectors.running import Running
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


class Discriminant(Running):
    """Linear discriminant analysis: the nearest mean of a name's features, where those of one name differ from each other
    as they were seen to (Fisher 1936; a share `shrink` of their covariance is that of equal and independent values,
    Friedman 1989). Of few examples it makes more than gradients do (docs/log.md). By gradients it learns only how sure it
    may be."""

    weight: Tensor
    bias: Tensor
    seen: Tensor

    def __init__(self, width: int, names: int, shrink: float) -> None:
        super().__init__()
        self.shrink = shrink
        self.sharpness = nn.Parameter(torch.tensor(0.02))
        self.register_buffer("weight", torch.zeros(names, width))
        self.register_buffer("bias", torch.zeros(names))
        # of each name how many and their sum, behind them the sum of outer products: exact, and not part of the model
        self.register_buffer("seen", torch.zeros(names + width, 1 + width, dtype=torch.float64), persistent=False)

    def forward(self, x: Tensor) -> Tensor:  # [M, De] -> [M, names]
        return self.sharpness * (x @ self.weight.T + self.bias)

    def example(self, x: Tensor, name: Tensor) -> None:
        """Features [M, De] and which name each has [M]. Raises `RecipeError` where a finished model would begin anew."""
        if bool(self.weight.any()) and not bool(self.seen.any()):
            raise RecipeError(
                "a discriminant is learned whole: begin its training without one (run.init_from), or leave it"
            )
        rows, seen = functional.pad(x.detach().double(), (1, 0), value=1.0), self.nothing()
        seen[: len(self.bias)].index_add_(0, name, rows)
        seen[len(self.bias) :] = rows[:, 1:].T @ rows
        self.see(seen)

    def nothing(self) -> Tensor:
        return torch.zeros_like(self.seen)

    def learn(self, seen: Tensor) -> None:
        self.held = None
        self.seen += seen
        sums, outer = self.seen[: len(self.bias)], self.seen[len(self.bias) :, 1:]
        count, total = sums[:, :1], sums[:, 0].sum()
        if not total:
            return
        mean, means = sums[:, 1:].sum(0) / total, sums[:, 1:] / count.clamp(min=1)
        scale = (outer.diagonal() / total - mean**2).clamp(min=1e-6).sqrt()
        within = (outer - (means * count).T @ means) / total / scale[:, None] / scale
        plain = torch.eye(len(scale), dtype=within.dtype, device=within.device)
        within = within + 1e-6 * plain  # of one example of each name it is nothing
        within = within.lerp(within.diagonal().mean() * plain, self.shrink)
        apart = (means - mean) / scale
        weight = torch.linalg.solve(within, apart.T).T
        bias = -0.5 * (weight * apart).sum(1) - (weight / scale) @ mean
        self.weight.copy_(weight / scale)
        self.bias.copy_(bias.masked_fill(count[:, 0] == 0, -1e4))  # a name without examples is not said


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
