"""Spans and the index map. This is the only place where media placeholders become positions.

An `Example` is one rendered conversation: token ids, the supervised mask built with them, and spans that say which
positions belong to which media item. A `Batch` holds the *index map*: for each position, the row of the table
`[token embeddings ; projected features]` that stands there. Placing media is one gather over that map.

    ids        <s>  U  ▢  ▢  ▢  what  ?  A  a  cat </s>         ▢: placeholder (the padding id, never looked at)
    supervised  0   0  0  0  0   0    0  0  1   1   1
    index_map   0   1 11 12 13   5    6  7  8   9  10           rows 11.. are features

A row of a batch holds one example and padding, or, packed, several examples one after another. `segments` says which
example each position belongs to, and whatever is counted per example is counted by it:

    segments    0   0  0  0  0   0    1  1  1   1  -1           positions restart where a segment begins
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from polymodal.content import Message
from polymodal.errors import CountMismatch, DataError
from polymodal.model.config import Tap
from polymodal.parts.base import Inputs
from polymodal.parts.output import Target


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
    """Positions [start, start + length) of an example hold media item `index` of its `media` list. `question`: the text
    that stands with it there, where what is made of the item depends on it."""

    start: int
    length: int
    index: int
    question: str | None = None


@dataclass(frozen=True)
class Made:
    """Positions [start, start + length) hold the body of a span of the output called `output`: of an example, or of row
    `row` of a batch, where it is of example `owner`. `target`: what it should make, where it is learned; `content`: codes
    [N] or latents [N, Dg] that it is known to hold. `key`, `source`: fingerprints of what it makes, and makes it from;
    `blocks`: its positions see one another in both directions."""

    start: int
    length: int
    output: str
    target: Target | None = None
    content: Tensor | None = None
    key: str = ""
    blocks: bool = False
    row: int = 0
    owner: int = 0
    source: str = ""


@dataclass
class Example:
    """One conversation, rendered. `ids` and `supervised` are [T]; `target` [U] is the decoder's side of a seq2seq
    backbone (then nothing in `ids` is supervised, and `made` counts in `target`), `learned` [U] what is learned of it.
    `name` identifies it in errors. `turns`: of each answer, given or about to be, where what it answers begins, behind the
    answer and the medium before it, and where it does itself."""

    ids: Tensor
    supervised: Tensor
    spans: list[Span]
    media: list[MediaItem]
    messages: list[Message] = field(default_factory=list)
    target: Tensor | None = None
    name: str = "sample"
    made: list[Made] = field(default_factory=list)
    learned: Tensor | None = None
    turns: list[tuple[int, int]] = field(default_factory=list)

    @property
    def turn(self) -> int:
        """Where what is to be answered last begins."""
        return self.turns[-1][0] if self.turns else 0

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def supervised_count(self) -> int:
        return int(self.supervised.sum() if self.target is None or self.learned is None else self.learned.sum())

    def identity(self) -> list[tuple[str, int] | int]:
        """What stands at each position: a token id, or (media key and question, offset). Equal identities have equal
        embeddings."""
        out: list[tuple[str, int] | int] = self.ids.tolist()
        for span in self.spans:
            item = self.media[span.index]
            shown = f"{item.modality}:{item.key}" + ("" if span.question is None else f"?{span.question}")
            out[span.start : span.start + span.length] = [(shown, j) for j in range(span.length)]
        for made in self.made if self.target is None else ():
            if made.content is not None and made.content.ndim == 2:  # latents, which no id tells apart
                out[made.start : made.start + made.length] = [(made.key, j) for j in range(made.length)]
        return out


@dataclass
class Batch:
    """E examples in B rows. `ids`, `supervised`, `index_map`: [B, T]. `segments` [B, T]: the example at each position, -1
    at padding. `names`: of the examples. `media`: the items of all examples in order, `owner` the example each belongs to,
    `questions` the text that stands with each, where its projector reads it. `positions` [B, T], within the segment, of
    packed rows only. `target`, `target_mask`: [B, U] for seq2seq backbones. `made`: the spans of all examples; `turns`: of
    each answer of theirs the row, where what it answers begins, and where it does."""

    ids: Tensor
    segments: Tensor
    supervised: Tensor
    index_map: Tensor
    media: list[MediaItem]
    owner: list[int]
    names: list[str]
    positions: Tensor | None = None
    target: Tensor | None = None
    target_mask: Tensor | None = None
    questions: list[str | None] = field(default_factory=list)
    made: list[Made] = field(default_factory=list)
    turns: list[tuple[int, int, int]] = field(default_factory=list)

    @property
    def mask(self) -> Tensor:
        """[B, T]: what is not padding."""
        return self.segments >= 0


def collate(examples: Sequence[Example], pad_id: int, side: str = "right", packing: int | None = None) -> Batch:
    """One example per row, padded to the longest: on the right to train, on the left to generate. With `packing`, as many
    examples in a row as fit into that many positions."""
    rows = [[e] for e in range(len(examples))] if packing is None else packed([len(e) for e in examples], packing)
    length = max(sum(len(examples[e]) for e in row) for row in rows)
    shape = (len(rows), length)
    ids, segments = torch.full(shape, pad_id), torch.full(shape, -1)
    supervised, positions = torch.zeros(shape, dtype=torch.bool), torch.zeros(shape, dtype=torch.long)
    index_map = torch.arange(ids.numel()).reshape(shape)
    place: dict[int, tuple[int, int]] = {}  # of each example: its row and where it begins there
    for b, row in enumerate(rows):
        at = length - len(examples[row[0]]) if side == "left" else 0
        for e in row:
            place[e] = b, at
            at += len(examples[e])
    media: list[MediaItem] = []
    owner: list[int] = []
    questions: list[str | None] = []
    first = ids.numel()  # the next feature's row in the table
    for e, example in enumerate(examples):
        b, at = place[e]
        here = slice(at, at + len(example))
        ids[b, here], segments[b, here], supervised[b, here] = example.ids, e, example.supervised
        positions[b, here] = torch.arange(len(example))
        for span in example.spans:
            start = at + span.start
            index_map[b, start : start + span.length] = torch.arange(first, first + span.length)
            media.append(example.media[span.index])
            owner.append(e)
            questions.append(span.question)
            first += span.length
    seq2seq = examples[0].target is not None
    made = [
        replace(span, row=e if seq2seq else place[e][0], start=span.start + (0 if seq2seq else place[e][1]), owner=e)
        for e, example in enumerate(examples)
        for span in example.made
    ]
    names = [e.name for e in examples]
    batch = Batch(ids, segments, supervised, index_map, media, owner, names, questions=questions, made=made)
    for e, (b, at) in place.items():
        batch.turns += [(b, at + start, at + begin) for start, begin in examples[e].turns]
    if packing is not None:
        batch.positions = positions
    if seq2seq:
        targets = [e.target for e in examples if e.target is not None]
        batch.target = torch.nn.utils.rnn.pad_sequence(targets, batch_first=True, padding_value=pad_id)
        learned = [e.learned for e in examples if e.learned is not None]
        batch.target_mask = torch.nn.utils.rnn.pad_sequence(learned, batch_first=True, padding_value=False)
    return batch


def packed(lengths: Sequence[int], room: int) -> list[list[int]]:
    """Indices of examples of these lengths, in rows of at most `room` positions: best-fit decreasing (the longest first,
    each into the fullest row that still takes it), at most 11/9 of the fewest rows and a few more (Johnson 1973). Depends
    on nothing but its arguments. An example longer than `room` gets a row of its own."""
    rows: list[tuple[int, list[int]]] = []  # (positions left, examples)
    for e in sorted(range(len(lengths)), key=lambda e: -lengths[e]):
        fitting = [r for r, (left, _) in enumerate(rows) if left >= lengths[e]]
        if not fitting:
            rows.append((room - lengths[e], [e]))
            continue
        best = min(fitting, key=lambda r: rows[r][0])
        rows[best] = rows[best][0] - lengths[e], [*rows[best][1], e]
    return [members for _, members in rows]


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


def put(batch: Batch, spans: Sequence[int], ids: Tensor) -> Batch:
    """The batch with `ids` [S, N] in the bodies of the spans of these numbers."""
    side = "ids" if batch.target is None else "target"
    out = getattr(batch, side).clone()
    for i, row in zip(spans, ids.to(out.device), strict=True):
        made = batch.made[i]
        out[made.row, made.start : made.start + made.length] = row
    return replace(batch, **{side: out})


def standing_in(embeds: Tensor, made: Sequence[Made], rows: Tensor) -> Tensor:
    """Embeddings [B, T, D] with `rows` [S, N, D] in the bodies of spans."""
    starts = torch.tensor([span.row * embeds.shape[1] + span.start for span in made], device=embeds.device)
    index = (starts[:, None] + torch.arange(rows.shape[1], device=embeds.device)).flatten()
    return embeds.flatten(0, 1).index_copy(0, index, rows.flatten(0, 1).to(embeds.dtype)).view_as(embeds)


def tapped(states: Tensor, table: Tensor, made: Made, tap: Tap, lag: int) -> Tensor:
    """The states [n, D] of a span among those of a batch [B, T, D], and what stands there among `table` [B, T, D]. `lag`:
    by how much a state comes before the position that it predicts: 1; 0 of a decoder's, which are shifted."""
    first = made.start - (lag if tap.where == "predicting" else lag - 1)
    out = states[made.row, first : first + made.length]
    return out + table[made.row, made.start : made.start + made.length] if tap.add_inputs else out


def blocks(batch: Batch) -> Tensor | None:
    """[B, T]: the number of the span whose positions see one another, -1 elsewhere; None if there is no such span."""
    out = torch.full_like(batch.ids, -1)
    spans = [span for span in batch.made if span.blocks]
    for number, span in enumerate(spans):
        out[span.row, span.start : span.start + span.length] = number
    return out if spans else None


def standing(batch: Batch, modality: str) -> Tensor:
    """[B, T]: which of the batch's items of a modality stands at each position, by its number among them; -1 for none."""
    numbers: list[int] = []  # of each row of the table of features
    count = 0
    for item in batch.media:
        own = item.modality == modality
        numbers += [count if own else -1] * item.length
        count += own
    if not count:
        return torch.full_like(batch.ids, -1)
    row = batch.index_map - batch.ids.numel()
    return torch.where(row >= 0, torch.tensor(numbers)[row.clamp(min=0)], -1)


def latest(batch: Batch, modality: str) -> Tensor:
    """[B, T]: which of them each position looks at: the last that begins at or before it in the same example."""
    here = standing(batch, modality)
    column = torch.where(here >= 0, torch.arange(here.shape[1]), -1).cummax(-1).values
    found = column.clamp(min=0)
    known = (column >= 0) & (batch.segments.gather(1, found) == batch.segments)
    return torch.where(known, here.gather(1, found), -1)


def shared_prefix(batch: Batch) -> int:
    """Number of leading positions that hold the same token in every row: the system prompt, mostly. 0 of packed rows, of a
    single one, and where media or padding stand first."""
    if batch.positions is not None or len(batch.ids) < 2:
        return 0
    text = batch.index_map == torch.arange(batch.ids.numel()).view_as(batch.ids)
    same = ((batch.ids == batch.ids[:1]) & text & batch.mask).all(0)
    return min(int(same.long().cumprod(0).sum()), len(same) - 1)


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
