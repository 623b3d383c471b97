"""What a model has written, to which more positions are added. Decides how a span is run: behind a cache where the
backbone has one that can be cut, and all over again where it has not (state-space and seq2seq models, windows)."""

from __future__ import annotations

from collections.abc import Collection
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from polymodal.model.modeling import MultimodalLM
from polymodal.model.sequence import Example, blocks, collate
from polymodal.parts import blockwise
from polymodal.parts.backbones import Backbone


class Row:
    """One example of a model, and behind it what is `keep`t. `cache`: holds all of the example, and is extended in place;
    absent, a row makes its own if it can. A row has its own cache: what is added to another changes nothing here."""

    def __init__(self, model: MultimodalLM, example: Example, cache: Any = None) -> None:
        self.model, self.backbone, self.cache = model, model.backbone, cache
        self._encoded: Tensor | None = None
        self._before = torch.empty(1, 0, model.backbone.width, device=model.device)
        if cache is not None:
            return
        batch = collate([example], pad_id=0)
        embeds = model.embed(batch)
        lm = self.backbone.lm
        if self.backbone.seq2seq:
            mask = batch.mask.to(model.device)
            self._encoded = lm.get_encoder()(inputs_embeds=embeds, attention_mask=mask).last_hidden_state
            self._before = self.backbone.embed(torch.tensor([[lm.config.decoder_start_token_id]], device=model.device))
        elif keeps(self.backbone):
            self.cache = prefilled(lm, embeds, blocks(batch), None, 0)
        else:
            self._before = embeds

    def keep(self, rows: Tensor, together: bool = False) -> Tensor:
        """Add positions [t, D]; their last states [t, D]. `together`: they see one another."""
        out = self._run(rows[None], together)
        if self.cache is None:
            self._before = torch.cat([self._before, rows[None].to(self._before.dtype)], 1)
        return out[0]

    def peek(self, rows: Tensor, together: bool = False) -> Tensor:
        """The last states [t, D] that positions would have; they are not added."""
        out = self._run(rows[None], together)
        if self.cache is not None:
            self.cache.crop(-len(rows))
        return out[0]

    def states(self, rows: Tensor, layers: Collection[int]) -> dict[int | None, Tensor]:
        """As `keep`; besides the last states (None) those of the layers of these numbers."""
        with self.backbone.watching(layers) as watched:
            last = self.keep(rows)
        return {None: last, **{layer: states[0, -len(rows) :] for layer, states in watched.items()}}

    def _run(self, rows: Tensor, together: bool) -> Tensor:
        lm = self.backbone.lm
        if self.cache is not None:
            # what an output owns is in float32, whatever the backbone computes in
            return blockwise.run(lm, rows.to(lm.get_input_embeddings().weight.dtype), self.cache, together)
        whole = torch.cat([self._before, rows.to(self._before.dtype)], 1)
        if self._encoded is not None:
            out = lm.get_decoder()(inputs_embeds=whole, encoder_hidden_states=self._encoded, use_cache=False)[0]
        else:
            out = self.backbone.hidden(whole, torch.ones(whole.shape[:2], dtype=torch.bool, device=whole.device))
        return out[:, -rows.shape[1] :]


def prefilled(lm: Any, embeds: Tensor, seen: Tensor | None, cache: Any, cached: int) -> Any:
    """A cache of all positions `embeds` [1, T, D], of which it holds the first `cached`. `seen` [1, T]: the numbers of
    spans whose positions see one another."""
    from transformers import DynamicCache

    cache = cache or DynamicCache(config=lm.config)
    numbers = [-1] * embeds.shape[1] if seen is None else seen[0].tolist()
    at = cached
    for number, run in groupby(numbers[cached:]):
        length = len(list(run))
        blockwise.run(lm, embeds[:, at : at + length], cache, together=number >= 0)
        at += length
    return cache


def keeps(backbone: Backbone) -> bool:
    """Whether a span can be run behind a cache of this backbone, which is cut back when it is run again."""
    from transformers import DynamicCache

    return not backbone.seq2seq and croppable(DynamicCache(config=backbone.lm.config)) and backbone.sees_blocks


def croppable(cache: Any) -> bool:
    """Whether the cache holds one row per position and can be cut back to a prefix: no recurrent or windowed layers."""
    from transformers.cache_utils import DynamicCache, DynamicLayer

    return isinstance(cache, DynamicCache) and all(type(layer) is DynamicLayer for layer in cache.layers)
