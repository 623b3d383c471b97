"""Spans whose positions see one another, in a causal backbone (Transfusion's attention, Show-o's). Decides how a backbone
is run over them: in training, all at once; and behind a cache, a span at a time.

    text    x . . . . .
            x x . . . .
    span    x x x x x .     the three positions of the span see all of it, and what is before
            x x x x x .
            x x x x x .
    text    x x x x x x
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def hidden(lm: Any, embeds: Tensor, mask: Tensor, positions: Tensor, blocks: Tensor) -> Tensor:
    """Last hidden states [B, T, D]. `mask` [B, T]: what is not padding, which stands on the right; `positions` [B, T]: 0
    where an example begins; `blocks` [B, T]: the number of the span of a position, -1 for none."""
    columns = torch.arange(blocks.shape[1], device=embeds.device)
    blocks, example = blocks.to(embeds.device), (positions == 0).cumsum(-1)
    seen = columns[None, :, None] >= columns[None, None, :]
    seen = seen | ((blocks[:, :, None] == blocks[:, None, :]) & (blocks >= 0)[:, :, None])
    seen = seen & (example[:, :, None] == example[:, None, :]) & mask[:, None, :]
    seen = seen | torch.eye(len(columns), dtype=torch.bool, device=embeds.device)  # padding sees itself, or nothing at all
    return lm.base_model(
        inputs_embeds=embeds, attention_mask=added(seen[:, None], embeds), position_ids=positions, use_cache=False
    )[0]


def added(seen: Tensor, like: Tensor) -> Tensor:
    """A mask as what is added to scores: 0 where something is seen. Every way of attending takes it."""
    return torch.zeros(seen.shape, dtype=like.dtype, device=like.device).masked_fill(~seen, torch.finfo(like.dtype).min)


def run(lm: Any, embeds: Tensor, cache: Any, together: bool) -> Tensor:
    """Last hidden states [1, t, D] of positions behind a cache, which grows by them. `together`: they see one another."""
    held, new = cache.get_seq_length(), embeds.shape[1]
    seen = torch.ones(1, 1, new, held + new, dtype=torch.bool, device=embeds.device)
    if not together:
        seen = seen.tril(held)
    positions = torch.arange(held, held + new, device=embeds.device)[None]
    return lm.base_model(
        inputs_embeds=embeds,
        attention_mask=added(seen, embeds),
        position_ids=positions,
        past_key_values=cache,
        use_cache=True,
    )[0]


def possible(lm: Any) -> bool:
    """Whether a backbone, in inference, heeds such a mask: tried out on a few positions rather than looked up by family. A
    change behind the span must change nothing in it or before it, one inside must change all of it and nothing before."""
    table = lm.get_input_embeddings()
    ids = torch.randint(table.num_embeddings, (1, 9), generator=torch.Generator().manual_seed(0)).to(lm.device)
    places = torch.arange(9, device=ids.device)[None]
    blocks = torch.tensor([[-1, -1, -1, 0, 0, 0, 0, -1, -1]])
    plain = table(ids)

    def moved(at: int) -> list[bool]:
        other = plain.clone()
        other[0, at] = other[0, at].flip(-1) + 1
        states = [hidden(lm, e, torch.ones_like(ids, dtype=torch.bool), places, blocks) for e in (plain, other)]
        change = (states[0] - states[1])[0].abs().amax(-1)
        return (change > torch.finfo(plain.dtype).eps ** 0.5 * states[0].abs().max()).tolist()

    return moved(8) == [False] * 8 + [True] and moved(6) == [False] * 3 + [True] * 6
