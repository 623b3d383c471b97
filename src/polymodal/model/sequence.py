"""Spans and the index map. This is the only place where media placeholders become positions.

An `Example` is one rendered conversation: token ids, the supervised mask built with them, and spans that say which
positions belong to which media item. A `Batch` holds the *index map*: for each position, the row of the table
`[token embeddings ; projected features]` that stands there. Placing media is one gather over that map.

    ids        <s>  U  ▢  ▢  ▢  what  ?  A  a  cat </s>         ▢: placeholder (the padding id, never looked at)
    supervised  0   0  0  0  0   0    0  0  1   1   1
    index_map   0   1 11 12 13   5    6  7  8   9  10           rows 11.. are features
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from polymodal.content import Message
from polymodal.errors import CountMismatch, DataError
from polymodal.parts.base import Inputs


@dataclass
class MediaItem:
    """One media item on its way into the sequence. `key`: fingerprint of its bytes. `length`: positions it takes.
    `inputs`: the encoder's; `encoded`: its features [N, De] if they are already known; `projected`: [length, D] likewise
    (a conversation keeps them)."""

    modality: str
    key: str
    length: int
    inputs: Inputs | None = None
    encoded: Tensor | None = None
    projected: Tensor | None = None


@dataclass(frozen=True)
class Span:
    """Positions [start, start + length) of an example hold media item `index` of its `media` list."""

    start: int
    length: int
    index: int


@dataclass
class Example:
    """One conversation, rendered. `ids` and `supervised` are [T]; `target` [U] is the decoder's side of a seq2seq
    backbone (then nothing in `ids` is supervised). `name` identifies it in errors."""

    ids: Tensor
    supervised: Tensor
    spans: list[Span]
    media: list[MediaItem]
    messages: list[Message] = field(default_factory=list)
    target: Tensor | None = None
    name: str = "sample"

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def supervised_count(self) -> int:
        return int(self.supervised.sum()) if self.target is None else len(self.target)

    def identity(self) -> list[tuple[str, int] | int]:
        """What stands at each position: a token id, or (media key, offset). Equal identities have equal embeddings."""
        out: list[tuple[str, int] | int] = self.ids.tolist()
        for span in self.spans:
            item = self.media[span.index]
            out[span.start : span.start + span.length] = [(f"{item.modality}:{item.key}", j) for j in range(span.length)]
        return out


@dataclass
class Batch:
    """B examples. `ids`, `mask`, `supervised`, `index_map`: [B, T]. `media`: the items of all examples in order, `owner`
    the row each belongs to. `target`, `target_mask`: [B, U] for seq2seq backbones."""

    ids: Tensor
    mask: Tensor
    supervised: Tensor
    index_map: Tensor
    media: list[MediaItem]
    owner: list[int]
    names: list[str]
    target: Tensor | None = None
    target_mask: Tensor | None = None


def collate(examples: Sequence[Example], pad_id: int, side: str = "right") -> Batch:
    """Pads to the longest example: on the right to train, on the left to generate."""
    length = max(map(len, examples))
    shape = (len(examples), length)
    ids = torch.full(shape, pad_id)
    mask, supervised = torch.zeros(shape, dtype=torch.bool), torch.zeros(shape, dtype=torch.bool)
    index_map = torch.arange(ids.numel()).reshape(shape)
    media: list[MediaItem] = []
    owner: list[int] = []
    row = ids.numel()  # the first feature's row in the table
    for b, example in enumerate(examples):
        offset = length - len(example) if side == "left" else 0
        here = slice(offset, offset + len(example))
        ids[b, here], mask[b, here], supervised[b, here] = example.ids, True, example.supervised
        for span in example.spans:
            start = offset + span.start
            index_map[b, start : start + span.length] = torch.arange(row, row + span.length)
            media.append(example.media[span.index])
            owner.append(b)
            row += span.length
    batch = Batch(ids, mask, supervised, index_map, media, owner, [e.name for e in examples])
    if examples[0].target is not None:
        targets = [e.target for e in examples if e.target is not None]
        batch.target = torch.nn.utils.rnn.pad_sequence(targets, batch_first=True, padding_value=pad_id)
        lengths = torch.tensor([len(t) for t in targets])
        batch.target_mask = torch.arange(batch.target.shape[1]) < lengths[:, None]
    return batch


def place(text: Tensor, features: Sequence[Tensor], batch: Batch) -> Tensor:
    """Token embeddings [B, T, D] and one [N', D] per media item -> input embeddings [B, T, D].

    Raises `CountMismatch` naming the sample, the item and both numbers if an item has not the features it was given
    positions for.
    """
    for i, (item, rows) in enumerate(zip(batch.media, features, strict=True)):
        if len(rows) != item.length:
            name = batch.names[batch.owner[i]]
            raise CountMismatch(f"{name}: {item.modality} {i} has {item.length} positions but {len(rows)} features")
    if not batch.media:
        return text
    table = torch.cat([text.flatten(0, 1), *(rows.to(text.dtype) for rows in features)])
    return table[batch.index_map]


def common_prefix(a: Sequence, b: Sequence) -> int:
    """Number of leading positions two identities share."""
    for i, (x, y) in enumerate(zip(a, b, strict=False)):
        if x != y:
            return i
    return min(len(a), len(b))


def require_supervised(example: Example) -> Example:
    """Raises `DataError` if nothing in the example would be learned: the loss would be 0.0 and the run would go on."""
    if not example.supervised_count:
        raise DataError(f"{example.name}: nothing is supervised; a training sample needs an assistant turn")
    return example
