"""The rows that are written together, and their cache. Decides how a row joins and leaves between two steps.

    row 0   · · · k k k k k k k     every row ends in the last column; what is shorter begins later
    row 1   · · · · · · · k k k     (left padding, which positions and the mask leave out)
    row 2   k k k k k k k k k k

A step writes one column into room that is there already. When the longest row leaves, the columns that nobody uses any more
are given back.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from polymodal.model.generation import embeds_behind, encode_media, features_behind
from polymodal.model.modeling import MultimodalLM
from polymodal.model.row import croppable, prefilled
from polymodal.model.sequence import Example, blocks, collate
from polymodal.parts.backbones import Backbone

ROOM = 64  # columns by which a cache grows


class Growing(DynamicLayer):
    """Keys and values [B, H, T, D] of one layer, in tensors that have room for more columns than T."""

    def __init__(self, keys: Tensor, values: Tensor) -> None:
        super().__init__()
        self.lazy_initialization(keys, values)
        self._whole = keys, values
        self.show(0)

    def show(self, width: int) -> None:
        self.keys, self.values = (whole[:, :, :width] for whole in self._whole)

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Write behind what is there."""
        held = self.get_seq_length()
        width = held + key_states.shape[2]
        if width > self._whole[0].shape[2]:
            more = [whole.new_zeros(*whole.shape[:2], width + ROOM, whole.shape[3]) for whole in self._whole]
            for new, old in zip(more, self._whole, strict=True):
                new[:, :, :held] = old[:, :, :held]
            self._whole = more[0], more[1]
        for whole, states in zip(self._whole, (key_states, value_states), strict=True):
            whole[:, :, held:width] = states
        self.show(width)
        return self._whole[0][:, :, :width], self._whole[1][:, :, :width]


class Rows:
    """B rows of a backbone. `lengths`: positions of each. All states are float as the backbone's."""

    def __init__(self, backbone: Backbone) -> None:
        self.backbone = backbone
        self.lengths: list[int] = []
        self.cache: Any = None

    @property
    def width(self) -> int:
        return max(self.lengths, default=0)

    def change(self, stay: Sequence[int], join: Sequence[Any] = ()) -> None:
        """Keep the rows of these numbers, in this order, and behind them join caches of one row each. Every column that no
        row uses is given back."""
        before, old = self.width, self.cache
        self.lengths = [self.lengths[b] for b in stay] + [cache.get_seq_length() for cache in join]
        if not self.lengths:
            self.cache = None
            return
        width = self.width
        layers = []
        for number in range(len((join[0] if join else old).layers)):
            pairs = []
            for name in ("keys", "values"):
                parts = [getattr(cache.layers[number], name) for cache in join]
                kept = getattr(old.layers[number], name) if stay else None
                like = parts[0] if kept is None else kept
                whole = like.new_zeros(len(self.lengths), like.shape[1], width + ROOM, like.shape[3])
                if kept is not None:
                    held = min(before, width)
                    whole[: len(stay), :, width - held : width] = kept[list(stay), :, before - held :]
                for b, part in enumerate(parts, len(stay)):
                    whole[b, :, width - part.shape[2] : width] = part[0]
                pairs.append(whole)
            layers.append(Growing(*pairs))
            layers[-1].show(width)
        self.cache = DynamicCache()
        self.cache.layers = layers

    def taken(self, row: int) -> Any:
        """A cache of its own of one row; the row stays until it is left out by `change`."""
        return part_of(self.cache, row, self.width - self.lengths[row], self.width)

    def step(self, embeds: Tensor) -> Tensor:
        """One more position [B, D] for every row; their last states [B, D]."""
        columns = torch.arange(self.width + 1, device=embeds.device)
        lengths = torch.tensor(self.lengths, device=embeds.device)
        mask = columns >= (self.width - lengths)[:, None]
        states = run(self.backbone, embeds[:, None], mask, lengths[:, None], self.cache)
        self.lengths = [length + 1 for length in self.lengths]
        return states[:, 0]

    @property
    def nbytes(self) -> int:
        return 0 if self.cache is None else sum(whole.nbytes for layer in self.cache.layers for whole in layer._whole)


def run(backbone: Backbone, embeds: Tensor, mask: Tensor, positions: Tensor, cache: Any) -> Tensor:
    """Last hidden states [B, t, D] of positions behind a cache, which grows by them. `mask` [B, held + t]."""
    places = {"position_ids": positions} if backbone.takes_positions else {}
    embeds = embeds.to(backbone.lm.get_input_embeddings().weight.dtype)
    return backbone.lm.base_model(
        inputs_embeds=embeds, attention_mask=mask.long(), past_key_values=cache, use_cache=True, **places
    )[0]


def part_of(cache: Any, row: int, start: int, end: int) -> DynamicCache:
    """A copy of columns [start, end) of one row, as a cache of one row."""
    found = DynamicCache()
    for layer in cache.layers:
        own = DynamicLayer()
        own.lazy_initialization(layer.keys, layer.values)
        own.keys, own.values = (x[row : row + 1, :, start:end].clone() for x in (layer.keys, layer.values))
        found.layers.append(own)
    return found


def nbytes(cache: Any) -> int:
    return sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers)


Prefill = Generator[int, None, tuple[Any, Tensor]]


def prefilling(model: MultimodalLM, example: Example, cache: Any, chunk: Callable[[], int]) -> Prefill:
    """Run what a cache does not hold of an example, `chunk()` positions at a time; between two of them others may be
    served. Says how many were run; ends in the cache and the last state [D]. Media are encoded here if they are not."""
    backbone, cached = model.backbone, 0 if cache is None else cache.get_seq_length()
    encode_media(model, example)
    embeds = embeds_behind(model, example, features_behind(model, example, cached), cached)
    cache = DynamicCache(config=backbone.lm.config) if cache is None else cache
    seen = blocks(collate([example], 0))
    if seen is not None and seen[:, cached:].max() >= 0:
        cache = prefilled(backbone.lm, embeds[:, :-1], seen[:, :-1], cache, cached)
        yield len(example) - 1 - cached
        cached = len(example) - 1
    while True:
        end = min(cached + max(chunk(), 1), len(example))
        mask = torch.ones(1, end, dtype=torch.bool, device=embeds.device)
        positions = torch.arange(cached, end, device=embeds.device)[None]
        states = run(backbone, embeds[:, cached:end], mask, positions, cache)
        yield end - cached
        cached = end
        if cached == len(example):
            return cache, states[0, -1]


@torch.no_grad()
def possible(backbone: Backbone) -> bool:
    """Whether rows of a backbone are what they are alone: tried out on a few positions rather than looked up by family. Its
    cache must hold a row of keys and values for each position, and padding on the left must change nothing."""
    if backbone.seq2seq or not croppable(DynamicCache(config=backbone.lm.config)):
        return False
    ids = torch.randint(
        backbone.lm.get_input_embeddings().num_embeddings, (2, 9), generator=torch.Generator().manual_seed(0)
    )
    table = backbone.embed(ids.to(backbone.lm.device))
    rows, alone, caches = Rows(backbone), [], []
    for row, length in zip(table, (4, 8), strict=True):
        cache = DynamicCache(config=backbone.lm.config)
        everything = torch.ones(1, 9, dtype=torch.bool, device=table.device)
        places = torch.arange(9, device=table.device)[None]
        run(backbone, row[None, :length], everything[:, :length], places[:, :length], cache)
        caches.append(part_of(cache, 0, 0, length))
        where = places[:, length : length + 1]
        alone.append(run(backbone, row[None, length : length + 1], everything[:, : length + 1], where, cache)[0, 0])
    rows.change([], caches)
    together = rows.step(torch.stack([table[0, 4], table[1, 8]]))
    expected = torch.stack(alone)
    return bool((together - expected).abs().max() <= torch.finfo(expected.dtype).eps ** 0.5 * expected.abs().max())
