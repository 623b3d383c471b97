"""How the next token is chosen from its logits. Decides it once, for `generate` and for serving: transformers' own logits
processors in its own order, and all that a checkpoint's generation_config says of sampling is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from polymodal.model.strict import Strict


class Sampling(Strict):
    """How tokens are chosen. `temperature: 0` is greedy. `beams` > 1 searches and cannot stream. `seed`: of what is drawn,
    noise of generators included; absent, another one each time. `most_media`: spans of media that one answer may hold."""

    max_new_tokens: int = Field(128, ge=1)
    temperature: float = Field(0.0, ge=0)
    top_p: float = Field(1.0, gt=0, le=1)
    top_k: int = Field(0, ge=0)
    repetition_penalty: float = Field(1.0, gt=0)
    beams: int = Field(1, ge=1)
    seed: int | None = None
    most_media: int = Field(8, ge=0)


def processors(sampling: Sampling, never: Sequence[int] = (), stops: int = 1) -> Any:
    """transformers' processors of scores [B, V], given what has been written [B, t]. `never`: ids that are not said;
    `stops`: how many ids end an answer, so that a search keeps one that does not."""
    from transformers.generation import logits_process as of

    found = of.LogitsProcessorList()
    keep = stops + 1 if sampling.beams > 1 else 1
    if sampling.repetition_penalty != 1:
        found.append(of.RepetitionPenaltyLogitsProcessor(float(sampling.repetition_penalty)))
    if never:
        found.append(of.SuppressTokensLogitsProcessor(list(never)))
    if sampling.temperature > 0:
        if sampling.temperature != 1:
            found.append(of.TemperatureLogitsWarper(float(sampling.temperature)))
        if sampling.top_k:
            found.append(of.TopKLogitsWarper(sampling.top_k, min_tokens_to_keep=keep))
        if sampling.top_p < 1:
            found.append(of.TopPLogitsWarper(sampling.top_p, min_tokens_to_keep=keep))
    return found


def scored(each: Any, written: Tensor, logits: Tensor) -> Tensor:
    """Logits [V] as `processors` make scores [V] of them, behind what has been `written` [t]."""
    scores = logits[None].float()
    for processor in each:  # one by one: called as a list, they look up their signatures at every token
        scores = processor(written[None], scores)
    return scores[0]


def drawn(scores: Tensor, sampling: Sampling, random: torch.Generator) -> int:
    """One id by processed scores [V]: what `generate` draws of them with torch's generator in the same state."""
    if not sampling.temperature:
        return int(scores.argmax(-1))
    return int(torch.multinomial(scores[None].softmax(-1), 1, generator=random))
