"""One answer, as it is written beside others. Decides the turns of text and span, as `model.answering` does for an answer
alone, and of the same pieces.

An answer is a generator that says what it wants next and is sent it by the engine:

    Token(id)   to be run one position further, among the rows: the logits [V] behind it
    Leave()     its own cache back from among the rows
    a Future    what comes of it
    a number    nothing: that many positions have been run for it alone, and others may be served now
"""

from __future__ import annotations

from collections.abc import Collection, Generator
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from polymodal.content import Part, text
from polymodal.model.answering import Reply, changed, extend, free, hold, make, said, worded
from polymodal.model.filling import filling
from polymodal.model.printing import Printer
from polymodal.model.row import Row, keeps
from polymodal.model.sampling import Begins, drawn, processors, scored
from polymodal.parts.opening import Turn
from polymodal.serving.requests import Halted, Request
from polymodal.serving.rows import prefilling
from polymodal.serving.tickets import Answered, Ended, Making, PartMade, Reason, Wrote

if TYPE_CHECKING:
    from collections.abc import Callable

    from polymodal.model.composition import Composition
    from polymodal.model.sequence import Example


@dataclass(frozen=True)
class Token:
    id: int


class Leave:
    """What an answer says that wants its cache back."""


Job = Generator[Any, Any, Any]


class Answer:
    """Answer `number` of a request. `cache`: holds all of the prompt, while the answer is not among the rows (`seated`);
    `state` [D]: the last of the prompt; `turn`: what the model's opening reads of it. `longest`: positions that it may come
    to have."""

    def __init__(
        self,
        composition: Composition,
        request: Request,
        number: int,
        example: Example,
        cache: Any,
        state: Tensor,
        turn: Turn | None,
        maker: Executor,
        chunk: Callable[[], int],
        keep: Callable[[list[Any], Any], None],
    ) -> None:
        self.composition, self.request, self.number = composition, request, number
        self.cache, self._state, self._turn = cache, state, turn
        self._maker, self._chunk, self._keep = maker, chunk, keep
        self.sampling = request.sampling_of(number)
        self.seated, self.halted = False, False
        self.longest = len(example) + self.sampling.max_new_tokens
        self.reply = Reply(example, [], {}, 0, seed=request.seed + number)
        self._ids: list[int] = []  # of the text that is being written
        self._printer: Printer | None = None  # of an answer's text; none of a caption

    def job(self) -> Job:
        """Write all of it. Ends when the last event of the answer has been told."""
        reply, intact = self.reply, True  # whether the cache holds what the reply does
        try:
            reason = yield from self._turns()
        except Halted as halted:
            self.halted, reason = True, halted.reason
            intact = self._printer is not None
            self._close_text()
        cache = (yield Leave()) if self.seated else self.cache
        if cache is not None and intact and self.number == 0:
            self._keep(reply.example.identity()[: cache.get_seq_length()], cache)
        self._tell(Ended(self.number, reason))
        parts = tuple(reply.parts or [text("")])
        self.request.answer(self.number, Answered(parts, reason, reply.generated, reply.seed))

    def _turns(self) -> Generator[Any, Any, Reason]:
        """As `answering.respond`."""
        model, processor, sampling = self.composition.model, self.composition.processor, self.sampling
        openers, own, state, spans = model.openers, model.own_ids, self._state, 0
        while True:
            left = sampling.max_new_tokens - self.reply.generated
            open_now = openers if spans < sampling.spans else {}
            self._printer = printer = Printer(processor, self._wrote, self.request.stops)
            stops, never = {*processor.stop_ids, *open_now}, [i for i in own if i not in open_now]
            begins, self._turn = self._turn, None
            ended = yield from self._text(state, max(left, 1), stops, never, begins)
            written = len(self._ids)
            self._close_text()
            name = None if ended is None else open_now.get(ended)
            if printer.stopped or name is None or left <= written:
                return "stop" if printer.stopped or ended in processor.stop_ids else "length"
            spans += 1
            state = yield from self._span(name, torch.Generator().manual_seed(self.reply.seed + spans - 1))

    def _text(
        self, state: Tensor, most: int, stops: Collection[int], never: list[int], begins: Turn | None = None
    ) -> Generator[Any, Any, int | None]:
        """Write into `_ids` until something of `stops` is said, which is returned, or there are as many as may be.
        `begins`: what was read of the turn, where the answer begins."""
        model = self.composition.model
        grammars = self.composition.processor.grammars if self._printer is not None else None  # none of a caption
        choose = processors(self.sampling, never, len(stops), grammars)
        if begins is not None and model.opening is not None:
            choose.insert(0, Begins(model.opening, begins, [*model.openers], never))
        random = torch.Generator(model.device).manual_seed(self.reply.seed)  # as `generate` begins each text
        self._ids = []
        logits = model.backbone.head(state[None])[0]
        while True:
            written = torch.tensor(self._ids, dtype=torch.long, device=logits.device)
            token = drawn(scored(choose, written, logits), self.sampling, random)
            self.request.began_to_speak()
            if token in stops:
                return token
            self._ids.append(token)
            if self._printer is not None:
                self._printer(token)
            if len(self._ids) >= most or (self._printer is not None and self._printer.stopped):
                return None
            logits = yield Token(token)

    def _span(self, name: str, random: torch.Generator) -> Generator[Any, Any, Tensor]:
        """Fill and make the span that has just been opened; the state behind it."""
        composition, reply = self.composition, self.reply
        model, processor = composition.model, composition.processor
        design = model.designs[name]
        grammar, at = design.grammar, len(reply.example) + 1
        self.cache = (yield Leave()) if self.seated else self.cache
        if grammar.body.kind == "text":
            extend(reply, [grammar.opener, *grammar.cue])
            state = yield from self._prefill()
            never = [i for i in [*model.own_ids, *processor.stop_ids] if i != grammar.closer]
            yield from self._text(state, grammar.body.most, {grammar.closer}, never)
            ids, self._ids = self._ids, []
            reply.generated += len(ids)
            extend(reply, [*ids, grammar.closer])
            content = worded(ids, processor)
            self.cache = (yield Leave()) if self.seated else self.cache
        else:
            cache, self.cache = self.cache, None  # while it is filled it holds what the reply does not
            row = Row(model, reply.example, cache if keeps(model.backbone) else None)
            content = yield from filling(design, row, free(composition, grammar.body), random)
            extend(reply, [grammar.opener, *content.ids, grammar.closer])
            self.cache = row.cache
        source = changed(reply, design)
        part: Part = yield self._maker.submit(self._make, name, content, random, source)
        hold(composition, reply, part, content, at, self.request.shelf)
        self._tell(PartMade(self.number, part))
        return (yield from self._prefill())

    @torch.no_grad()
    def _make(self, name: str, content: Any, random: torch.Generator, source: Part | None) -> Part:
        """By the thread that makes."""
        return make(self.composition, name, content, random, self._step, source)

    def _step(self, output: str, done: int, of: int) -> None:
        if self.halted:
            raise Halted("cancelled")
        self._tell(Making(self.number, output, done, of))

    def _prefill(self) -> Generator[Any, Any, Tensor]:
        """Run what the cache does not hold; the last state [D]."""
        cache, self.cache = self.cache, None
        self.cache, state = yield from prefilling(self.composition.model, self.reply.example, cache, self._chunk)
        return state

    def _close_text(self) -> None:
        """What is being written, if anything is, becomes part of the reply."""
        if self._printer is None:
            return
        printer, self._printer = self._printer, None
        printer.flush()
        parts = list(self.reply.parts)
        said(self.reply, self._ids, self.composition.processor)
        if printer.stopped:
            self.reply.parts = [*parts, *([text(printer.text)] if printer.text else [])]
        self._ids = []

    def _wrote(self, piece: str) -> None:
        self._tell(Wrote(self.number, piece))

    def _tell(self, event: Any) -> None:
        self.request.ticket.put(event)
