"""A prefix that all rows of a batch share, run once. Decides that a system prompt costs one row, not a batch of them.

What a causal backbone makes of a position depends on nothing behind it, so rows that begin with the same tokens have the
same states there, and the same keys and values. They are computed for one row and read by all: exact up to the order of
sums, gradients included (a dropout inside the backbone is drawn once for the prefix, too).

    ids    S S S S ▢ ▢ a b          S S S S        run once
           S S S S ▢ ▢ c ·     ->         ▢ ▢ a b  run with the keys and values of S
           S S S S ▢ ▢ d e                ▢ ▢ c ·
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

SHORTEST = 8  # positions worth a call of their own


def hidden(lm: Any, start: Tensor, embeds: Tensor, mask: Tensor, positions: Tensor) -> Tensor:
    """Last hidden states [B, T, D] of `embeds` [B, T, D], of which `start` [1, P, D] stands first in every row and is
    padding in none. Given apart, for where nothing trains that it depends on, it needs no graph."""
    from transformers import DynamicCache

    cache = DynamicCache(config=lm.config)
    rows, shared = len(embeds), start.shape[1]
    first = lm.base_model(
        inputs_embeds=start,
        attention_mask=mask[:1, :shared],
        position_ids=positions[:1, :shared],
        past_key_values=cache,
        use_cache=True,
    )[0]
    cache.batch_repeat_interleave(rows)
    rest = lm.base_model(
        inputs_embeds=embeds[:, shared:],
        attention_mask=mask,
        position_ids=positions[:, shared:],
        past_key_values=cache,
        use_cache=True,
    )[0]
    return torch.cat([first.expand(rows, -1, -1), rest], 1)


def possible(lm: Any) -> bool:
    """Whether the states of a backbone, in inference, are the same either way: tried out on a few positions rather than
    looked up by family. Its cache must hold a row of keys and values for each position, without windows and without
    recurrent states."""
    from transformers import DynamicCache
    from transformers.cache_utils import DynamicLayer

    if any(type(layer) is not DynamicLayer for layer in DynamicCache(config=lm.config).layers):
        return False
    table = lm.get_input_embeddings()
    ids = torch.randint(table.num_embeddings, (2, 9), generator=torch.Generator().manual_seed(0)).to(lm.device)
    ids[1, :5] = ids[0, :5]
    mask = torch.ones_like(ids, dtype=torch.bool)
    mask[1, 7:] = False
    positions = torch.arange(9, device=ids.device).expand(2, -1)
    embeds = table(ids)
    plain = lm.base_model(inputs_embeds=embeds, attention_mask=mask, position_ids=positions, use_cache=False)[0]
    apart = (hidden(lm, embeds[:1, :5], embeds, mask, positions) - plain)[mask]
    return bool(apart.abs().max() <= torch.finfo(plain.dtype).eps ** 0.5 * plain.abs().max())
