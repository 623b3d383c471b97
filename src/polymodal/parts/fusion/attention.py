"""Features that the backbone's layers look at. Decides what a position sees, and how that is known inside a layer.

An item takes one position, a learned marker. Every position sees the features of the item that stands last at or before it
in its own example, and of no other (Flamingo, arXiv 2204.14198, section 2.1):

    ids      <s>  U  ▢  what  ?  A  a  cat  U  ▢  and  this  ?
    latest   -1  -1  0   0    0  0  0   0   0  1   1    1    1

Columns behind the prompt are generated and see what its last one sees.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from polymodal.parts.backbones import Backbone
from polymodal.parts.base import FILLER
from polymodal.parts.fusion.inside import Inside


class Media:
    """The items of a batch. `rows` [B, S, D]: the features of each example row, one item behind the other."""

    def __init__(self, features: list[Tensor], latest: Tensor) -> None:
        members = [row[row >= 0].unique().tolist() for row in latest]
        sizes = [[torch.full((len(features[i]),), i) for i in own] for own in members]
        of = pad_sequence([torch.cat([latest.new_empty(0), *own]) for own in sizes], batch_first=True, padding_value=-2)
        self.rows = pad_sequence([torch.cat([features[0][:0], *(features[i] for i in own)]) for own in members], True)
        self._of, self._latest = of.to(self.rows.device), latest.to(self.rows.device)
        self._kept: dict[nn.Module, Tensor] = {}

    def __len__(self) -> int:
        """B."""
        return len(self.rows)

    def seen(self, first: int, count: int) -> Tensor:
        """[B, count, S]: which features the columns from `first` on see."""
        columns = torch.arange(first, first + count, device=self._latest.device).clamp(max=self._latest.shape[1] - 1)
        return self._latest[:, columns, None] == self._of[:, None]

    def once(self, of: nn.Module, compute: Callable[[Tensor], Tensor]) -> Tensor:
        """What a layer computes of the rows. In inference once, however many tokens are generated."""
        if torch.is_grad_enabled():
            return compute(self.rows)
        if of not in self._kept:
            self._kept[of] = compute(self.rows)
        return self._kept[of]


class Attention(Inside):
    """What fusions by attention share. A subclass hooks its layers into the backbone's; `running` says what of."""

    stands = False

    def __init__(self, backbone: Backbone) -> None:
        super().__init__(backbone)
        with torch.no_grad():
            filler = backbone.embed(torch.tensor(backbone.ids(FILLER)[-1:], device=backbone.lm.device))[0]
        self.marker = nn.Parameter(filler.detach().float().clone())  # a token that a backbone reads past

    def length(self, n: int) -> int:
        return 1

    def placed(self, features: Tensor) -> Tensor:
        return self.marker[None]

    @contextmanager
    def attending(self, features: list[Tensor], latest: Tensor, own: Tensor) -> Iterator[None]:
        with self.giving(Media(features, latest) if features else None):
            yield
