"""The contracts of what makes media. Decides what an output projector and a generator promise.

    states [S, n, D] of a span  --output projector-->  condition [S, Q, Dg]  --generator-->  media

Shapes: `S` spans, `n` positions of a span, `D` backbone width, `Q` vectors of a condition, `Dg` their width, `N` codes or
latents of one item.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

Takes = Literal["condition", "codes", "latents", "text"]


@dataclass(frozen=True)
class Target:
    """What a span of a training sample should make. `caption`: what it shows, in words; `prepared`: the medium as the
    generator has it (`Generator.prepare`), None where a stage learns from captions alone. `source`: likewise, the medium
    that an `Editor` makes it from."""

    caption: str | None = None
    prepared: Tensor | None = None
    source: Tensor | None = None


class OutputProjector(nn.Module):
    """Maps the backbone's states at a span to the condition of a generator. The first four constructor arguments are n, D,
    Q and Dg."""

    @abstractmethod
    def forward(self, states: Tensor) -> Tensor:
        """[S, n, D] -> [S, Q, Dg]."""


class Generator(nn.Module):
    """A modality generator.

    `modality`: what it makes. `takes`: what a span has to hold for it: the `condition` of a diffusion model (vectors
    [Q, Dg]), the `codes` of a codec (ids [N] below `vocabulary`), its `latents` [N, Dg], or `text` for a tool that reads.
    `positions`: Q or N; `width`: Dg. `options`: what rebuilds this architecture without its source. `borrows`: the output
    whose generator lends it a part (`borrow`).
    """

    modality: str
    takes: Takes
    positions: int
    width: int
    vocabulary: int = 0  # of a codec
    options: dict[str, Any]
    borrows: str | None = None

    @abstractmethod
    def prepare(self, media: Any) -> Tensor:
        """ONE decoded medium (`media.load`) -> the target that `loss`, `fit` and `encode` take, of one shape for all.
        Raises `MediaError` for what does not fit."""

    def taught(self, caption: str) -> Tensor | None:
        """The target of a caption that has no medium, as `prepare` has it, of a generator whose teacher makes one; of any
        other None."""
        return None

    def condition(self, targets: Sequence[Target]) -> Tensor:
        """S targets -> [S, Q, Dg]: the generator's own condition for them, which projectors are aligned to. Of captions, or
        of the media themselves. Raises `DataError` for a target without what it is made of."""
        raise NotImplementedError(f"{type(self).__name__} has no condition encoder of its own")

    def loss(self, targets: Tensor, condition: Tensor) -> Tensor:
        """[S, ...] and [S, Q, Dg] -> [S]: how badly the generator, so conditioned, makes the targets. Noise comes from
        torch's own generator, which the training loop seeds. The gradient reaches the condition of a frozen generator."""
        raise NotImplementedError(f"{type(self).__name__} is not trained by conditions")

    def reduced(self, target: Tensor) -> Tensor | None:
        """What `loss` takes in the place of ONE target as `prepare` makes it, if that stays the same while the generator
        learns: latents of a frozen autoencoder, which training then makes but once."""
        return None

    def begins_as(self, other: nn.Module) -> nn.Module:
        """What of this has the weights of `other`, where a run begins from it: this, or of a generator that tells another
        one what to make, that one."""
        return self

    def borrow(self, other: Generator) -> None:
        """Called once by the composition: use a part of `other`, and own none like it. Raises `RecipeError` if `other` has
        no such part."""
        raise NotImplementedError(f"{type(self).__name__} borrows nothing")

    def fit(self, targets: Tensor) -> Tensor:
        """[S, ...] -> [S]: how badly its codec or autoencoder gives the targets back."""
        raise NotImplementedError(f"{type(self).__name__} has no codec to fit")

    def encode(self, targets: Tensor) -> Tensor:
        """[S, ...] -> codes [S, N] or latents [S, N, Dg]."""
        raise NotImplementedError(f"{type(self).__name__} has no codec")

    @abstractmethod
    def make(
        self, given: Tensor | Sequence[str], random: torch.Generator, on_step: Callable[[int, int], None] | None = None
    ) -> list[Any]:
        """S conditions, codes, latents or texts -> S media, as a `Part` takes them: pictures `PIL.Image`, recordings
        `(float32 samples, rate)`, clips `(list of PIL.Image, frames per second)`. All noise comes from `random` (on the
        CPU), so that a seed gives the same bytes. `on_step(done, of)` is told of its progress."""


Sources = Sequence[Tensor | None]  # of S media, what each is made from, as `prepare` or `reduced` has it; None: nothing


class Editor(Generator):
    """A generator that may be given a medium of its own modality to change. `edits`: whether this one is; otherwise it is
    called as any other."""

    edits = False

    def loss(self, targets: Tensor, condition: Tensor, source: Sources | None = None) -> Tensor:
        """As `Generator.loss`; `source`: what the targets are made from."""
        raise NotImplementedError(f"{type(self).__name__} is not trained by conditions")

    @abstractmethod
    def make(
        self,
        given: Tensor | Sequence[str],
        random: torch.Generator,
        on_step: Callable[[int, int], None] | None = None,
        source: Sources | None = None,
    ) -> list[Any]:
        """As `Generator.make`; `source`: what the media are made from. Absent, it is nothing for all."""
