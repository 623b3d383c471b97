"""How the next token is chosen from its logits. Decides it once, for `generate` and for serving: transformers' own logits
processors in its own order, and all that a checkpoint's generation_config says of sampling is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from polymodal.errors import SchemaError
from polymodal.model.constraint import Grammars
from polymodal.model.strict import Strict
from polymodal.parts.opening import Opening, Turn


class Sampling(Strict):
    """How tokens are chosen. `temperature: 0` is greedy. `beams` > 1 searches and cannot stream. `seed`: of what is drawn,
    noise of generators included; absent, another one each time. `most_media`: spans of media that one answer may hold.
    `json_schema`: what the answer is JSON of; nothing is made in it, and it is complete unless its tokens ran out."""

    max_new_tokens: int = Field(128, ge=1)
    temperature: float = Field(0.0, ge=0)
    top_p: float = Field(1.0, gt=0, le=1)
    top_k: int = Field(0, ge=0)
    repetition_penalty: float = Field(1.0, gt=0)
    beams: int = Field(1, ge=1)
    seed: int | None = None
    most_media: int = Field(8, ge=0)
    json_schema: dict[str, Any] | None = None

    @property
    def spans(self) -> int:
        """Spans of media that one answer may hold: within JSON there are none."""
        return 0 if self.json_schema is not None else self.most_media


class Begins:
    """A processor of the scores [B, V] where answers begin: an `opening` decides, by what it read of each `turn`, which of
    `openers` is said, and none is where it decides for none. Afterwards it changes nothing. `never`: as of `processors`."""

    def __init__(self, opening: Opening, turn: Turn, openers: Sequence[int], never: Sequence[int] = ()) -> None:
        self.opening, self.turn, self.openers, self.never = opening, turn, list(openers), never
        self._done = False

    def __call__(self, written: Tensor, scores: Tensor) -> Tensor:
        if self._done:
            return scores
        self._done = True
        scores = scores.clone()
        scores[:, self.openers] = -torch.inf
        may = [opener not in self.never for opener in self.openers]
        for row, number in enumerate(self.opening.decided(self.turn.read(), may)):
            if number is not None:
                scores[row] = -torch.inf
                scores[row, self.openers[number]] = 0
        return scores


def processors(sampling: Sampling, never: Sequence[int] = (), stops: int = 1, grammars: Grammars | None = None) -> Any:
    """transformers' processors of scores [B, V], given what has been written [B, t]. `never`: ids that are not said;
    `stops`: how many ids end an answer, so that a search keeps one that does not. `grammars`: of the tokenizer, where what
    is written is held to the sampling's schema. Raises `SchemaError`."""
    from transformers.generation import logits_process as of

    found = of.LogitsProcessorList()
    keep = stops + 1 if sampling.beams > 1 else 1
    if sampling.repetition_penalty != 1:
        found.append(of.RepetitionPenaltyLogitsProcessor(float(sampling.repetition_penalty)))
    if never:
        found.append(of.SuppressTokensLogitsProcessor(list(never)))
    if grammars is not None and sampling.json_schema is not None:
        if sampling.beams > 1:
            raise SchemaError("json_schema: a search is not held to a schema; use beams: 1")
        found.append(grammars.constraint(sampling.json_schema))
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
