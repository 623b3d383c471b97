"""An answer held to a JSON schema. Decides that what is written is JSON of the schema from its first token on, or is
refused before anything is written.

llguidance reads the schema and says, before each token, which ones lead on (https://github.com/guidance-ai/llguidance). It
fetches no reference, bounds its own work, and refuses what it cannot hold an answer to (`not`, `uniqueItems`) by name.
"""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from polymodal.errors import SchemaError

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer

# As `json.dumps` writes: a model that may choose its blanks can go on with them for ever.
WRITTEN = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": ", "lenient": False}
STATES = 20_000  # of a lexer, 1 to 2 kB each
KEPT = 16  # schemas


class Constraint:
    """A processor of the scores [B, V] of answers, given what has been written [B, t]: each row goes on as its matcher, a
    copy of `matcher`, allows, until it says one of `stop_ids`. Raises `SchemaError` where it is too much to follow."""

    def __init__(self, matcher: LLMatcher, stop_ids: Sequence[int]) -> None:
        self._fresh, self._stops = matcher, set(stop_ids)
        self._rows: list[LLMatcher] = []
        self._ended: list[bool] = []  # by row: what a batch pads it with behind its stop is nobody's
        self._read = 0  # ids of each row that its matcher has seen

    def __call__(self, written: Tensor, scores: Tensor) -> Tensor:
        if not self._rows:  # what stands there already (a decoder's start) is not of the answer
            self._rows = [self._fresh.deep_copy() for _ in written]
            self._ended, self._read = [False] * len(written), written.shape[1]
        scores = scores.clone()
        for row, matcher in enumerate(self._rows):
            for token in written[row, self._read :].tolist():
                self._ended[row] = self._ended[row] or token in self._stops
                if not self._ended[row]:
                    matcher.consume_token(token)
            if not self._ended[row]:
                scores[row].masked_fill_(~_allowed(matcher, scores.shape[1]).to(scores.device), -torch.inf)
        self._read = written.shape[1]
        return scores


def _allowed(matcher: LLMatcher, width: int) -> Tensor:
    """[V] of the ids that may come next; none that the tokenizer does not know."""
    packed = torch.frombuffer(bytearray(matcher.compute_bitmask()), dtype=torch.uint8)
    if matcher.is_error():
        raise SchemaError(f"json_schema: an answer cannot be held to it any further: {matcher.get_error()}")
    known = ((packed[:, None] >> torch.arange(8, dtype=torch.uint8)) & 1).flatten()[:width].bool()
    return torch.nn.functional.pad(known, (0, width - len(known)))


class Grammars:
    """The schemas that a tokenizer's answers are held to, each read once. Any thread may ask."""

    def __init__(self, tokenizer: Any, stop_ids: Sequence[int]) -> None:
        self._tokenizer, self._stops = tokenizer, list(stop_ids)
        self._known: LLTokenizer | None = None
        self._matchers: OrderedDict[str, LLMatcher] = OrderedDict()
        self._lock = threading.Lock()

    def constraint(self, schema: dict[str, Any]) -> Constraint:
        """A processor for one answer, or a batch of them. Raises `SchemaError` for what is no schema, what nothing
        satisfies, and what an answer cannot be held to."""
        written = json.dumps(schema)
        with self._lock:
            if written not in self._matchers:
                self._matchers[written] = self._matcher(written)
            self._matchers.move_to_end(written)
            while len(self._matchers) > KEPT:
                self._matchers.popitem(last=False)
            return Constraint(self._matchers[written].deep_copy(), self._stops)

    def _matcher(self, written: str) -> LLMatcher:
        from llguidance import LLMatcher, LLParserLimits
        from llguidance.hf import from_tokenizer

        if self._known is None:
            try:
                self._known = from_tokenizer(self._tokenizer, eos_token=self._stops)
            except ValueError as error:
                raise SchemaError(f"json_schema: not with the tokenizer of this backbone: {error}") from error
        try:
            grammar = LLMatcher.grammar_from_json_schema(written, overrides=WRITTEN)  # type: ignore[arg-type]
        except ValueError as error:
            raise SchemaError(f"json_schema: {error}") from error
        limits = LLParserLimits(max_lexer_states=STATES, verbose_errors=False)
        matcher = LLMatcher(self._known, grammar, log_level=0, limits=limits)
        if not matcher.is_error():
            matcher.deep_copy().compute_bitmask()
        if matcher.is_error():
            raise SchemaError(f"json_schema: {' '.join(matcher.get_error().split())}")
        return matcher
