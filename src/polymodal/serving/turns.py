"""The turns of the model's thread. Decides what is run next, of jobs that say what they want.

A turn prefills up to `chunk` positions of the prompts that wait, does one step of each answer that is not among the rows,
and runs one token of all rows: whoever joins or leaves does so between two turns, and nobody waits for more than one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import Any

import torch

from polymodal.errors import PolymodalError
from polymodal.model.composition import Composition
from polymodal.model.generation import encode_media
from polymodal.serving import alone
from polymodal.serving.items import Items
from polymodal.serving.prefixes import Prefixes
from polymodal.serving.requests import Halted, Limits, Request, fitting
from polymodal.serving.rows import Rows, part_of, possible, prefilling
from polymodal.serving.tickets import Failed, Reason
from polymodal.serving.writing import Answer, Job, Leave, Token

log = logging.getLogger(__name__)
COUNTED = ("done", "failed", "generated", "prefilled", "steps", "row_steps")


@dataclass(frozen=True)
class _Room:
    """What a prompt wants before it is prefilled: room for so many rows of so many positions."""

    rows: int
    positions: int


@dataclass(eq=False)
class _Run:
    """A job of a request, and what it wants next. `answer`: absent, it is the prompt's."""

    request: Request
    job: Job
    answer: Answer | None = None
    wanted: Any = 0


class Turns:
    """Requests that have been taken up. Everything here is called by one thread, without a graph. `maker`: another thread,
    for what generators make; `wake`: called, by any thread, when a job that waits can go on."""

    def __init__(
        self, composition: Composition, limits: Limits, items: Items, maker: Executor, wake: Callable[[], None]
    ) -> None:
        self.composition, self.limits, self.items = composition, limits, items
        self._maker, self._wake = maker, wake
        model = composition.model
        attends = any(part.fusion.attends for part in model.modalities.values())
        self.together = not attends and possible(model.backbone)
        self.prefixes = Prefixes(limits.prefix_bytes)
        self.rows = Rows(model.backbone)
        self.counts = dict.fromkeys(COUNTED, 0)
        self.active: list[Request] = []
        self.mean = 1.0  # seconds that a request takes
        self._prompts: list[_Run] = []  # in the order of their requests
        self._answers: list[_Run] = []
        self._seated: list[_Run | None] = []  # by row; None of one that has left and is not compacted yet

    def takes(self, request: Request) -> bool:
        """Whether there are rows for one more request."""
        return not self.active or sum(each.answers for each in self.active) + request.answers <= self.limits.rows

    def take(self, request: Request) -> None:
        """Begin with a request."""
        request.usage.seconds["waited"] = request.elapsed
        self.active.append(request)
        run = _Run(request, self._prompt(request))
        self._prompts.append(run)
        self._advance(run)

    def turn(self) -> bool:
        """Whether anything was done."""
        return any([self._run_prompts(), self._run_answers(), self._step()])

    def halt(self, request: Request, why: Reason) -> None:
        """End a request with what there is of its answers."""
        for run in self._of(request):
            if isinstance(run.wanted, Future):
                run.wanted.cancel()
            self._advance(run, error=Halted(why))

    def fail(self, request: Request, error: Exception) -> None:
        """End a request with an error; what is no `PolymodalError` is logged."""
        if not isinstance(error, PolymodalError):
            log.error("a request failed by a defect", exc_info=error)
        for run in self._of(request):
            self._drop(run)
            run.job.close()
        request.ended = True
        request.ticket.put(Failed(error))
        self.counts["failed"] += 1
        if request in self.active:
            self.active.remove(request)

    def reset(self) -> None:
        """Forget all rows: nobody wants them, or after a defect nobody can trust them."""
        self.rows, self._seated = Rows(self.composition.model.backbone), []

    def _prompt(self, request: Request) -> Job:
        """From a conversation to its answers, whose jobs are begun at the end."""
        model, processor = self.composition.model, self.composition.processor
        yield request.read
        example = processor.encode(request.messages, generate=True, prepared=request.shelf, name="the request")
        request.sampling = fitting(len(example), request.sampling, self.limits, model.backbone.lm)
        usage, before = request.usage, model.encoded
        usage.prompt, usage.media = len(example), sum(span.length for span in example.spans)
        if not self.together:
            alone.answer(self.composition, request, example)
            usage.encoded = model.encoded - before
            return
        yield _Room(request.answers, len(example) + request.sampling.max_new_tokens)
        before = model.encoded
        encode_media(model, example)
        usage.encoded = model.encoded - before
        if usage.encoded:
            self.items.trim()
            yield self.limits.chunk  # an encoder's run is turn enough
        cache, usage.cached = self.prefixes.take(request.salt, example.identity())
        cache, state = yield from self._counted(prefilling(model, example, cache, self._chunk))
        usage.prefilled = len(example) - usage.cached
        for number in range(request.answers):
            own = cache if number == request.answers - 1 else part_of(cache, 0, 0, len(example))
            answer = Answer(
                *(self.composition, request, number, example, own, state, self._maker, self._chunk),
                keep=lambda identity, kept: self.prefixes.put(request.salt, identity, kept),
            )
            self._answers.append(_Run(request, answer.job(), answer))

    def _counted(self, prefill: Job) -> Job:
        """Count the positions that are run."""
        while True:
            try:
                ran = next(prefill)
            except StopIteration as end:
                return end.value
            self.counts["prefilled"] += ran
            yield ran

    def _chunk(self) -> int:
        """Positions that may be run before others are served: all, where there are no others."""
        return self.limits.chunk if self._answers else self.limits.positions

    def _run_prompts(self) -> bool:
        """Prefill, the first that came first, until a chunk of positions has been run."""
        ran = 0
        for run in list(self._prompts):
            while run in self._prompts and ran < self.limits.chunk:
                if isinstance(run.wanted, _Room) and not self._fits(run.wanted):
                    return ran > 0  # nobody behind it overtakes it
                if isinstance(run.wanted, Future):
                    if not run.wanted.done():
                        break
                    self._resolve(run)
                else:
                    self._advance(run)
                ran += run.wanted if isinstance(run.wanted, int) and run in self._prompts else 1
        return ran > 0

    def _fits(self, room: _Room) -> bool:
        longest = [run.answer.longest for run in self._answers if run.answer is not None]
        return not longest or (len(longest) + room.rows) * max(*longest, room.positions) <= self.limits.positions

    def _run_answers(self) -> bool:
        """One step of each that is not among the rows: of one that begins, fills a span or waits for what is made."""
        ran = False
        for run in list(self._answers):
            if run not in self._answers or isinstance(run.wanted, Token):
                continue
            if not isinstance(run.wanted, Future):
                self._advance(run)
            elif run.wanted.done():
                self._resolve(run)
            else:
                continue
            ran = True
        return ran

    def _step(self) -> bool:
        """One token of every row."""
        ready = [run for run in self._answers if isinstance(run.wanted, Token)]
        if not ready:
            if self._seated:  # who was there has left
                self.reset()
            return False
        try:
            join = [run for run in ready if run.answer is not None and not run.answer.seated]
            stay = [row for row, run in enumerate(self._seated) if run is not None]
            if join or len(stay) < len(self._seated):
                self.rows.change(stay, [run.answer.cache for run in join if run.answer is not None])
                self._seated = [*(self._seated[row] for row in stay), *join]
                for run in join:
                    assert run.answer is not None
                    run.answer.cache, run.answer.seated = None, True
            backbone = self.composition.model.backbone
            ids = torch.tensor([run.wanted.id for run in self._seated if run is not None], device=backbone.lm.device)
            logits = backbone.head(self.rows.step(backbone.embed(ids)))
        except Exception as error:  # what one row breaks is broken for all that share its tensors
            for run in ready:
                self.fail(run.request, error)
            self.reset()
            return True
        self.counts["steps"] += 1
        self.counts["row_steps"] += len(ids)
        for seated, row in zip(list(self._seated), logits, strict=True):
            if seated is not None and seated in self._answers:
                self._advance(seated, row)
        if not any(self._seated):
            self.reset()
        return True

    def _resolve(self, run: _Run) -> None:
        """Go on with what a future came to."""
        future: Future[Any] = run.wanted
        error = None if future.cancelled() else future.exception()
        if future.cancelled():
            self._advance(run, error=Halted("cancelled"))
        elif error is not None:
            self._advance(run, error=error)
        else:
            self._advance(run, future.result())

    def _advance(self, run: _Run, value: Any = None, error: BaseException | None = None) -> None:
        """Let a job go on until it wants something that is not there yet."""
        try:
            if error is not None:
                run.wanted = run.job.throw(error)
            else:
                run.wanted = run.job.send(value)
            while isinstance(run.wanted, Leave):
                run.wanted = run.job.send(self._leave(run))
        except StopIteration:
            self._drop(run)
        except Halted as halted:  # of a prompt, which has no answer to end
            self._drop(run)
            run.request.halt(halted.reason)
        except Exception as broken:
            self.fail(run.request, broken)
        else:
            if isinstance(run.wanted, Future):
                run.wanted.add_done_callback(lambda _: self._wake())
        if run.request.ended:
            self._finished(run.request)

    def _leave(self, run: _Run) -> Any:
        assert run.answer is not None
        row = self._seated.index(run)
        self._seated[row], run.answer.seated = None, False
        return self.rows.taken(row)

    def _drop(self, run: _Run) -> None:
        """Forget a job, and free its row."""
        if run.answer is not None:
            run.answer.halted = True  # what is being made for it stops at its next step
        if run in self._seated:
            self._seated[self._seated.index(run)] = None
        for runs in (self._prompts, self._answers):
            if run in runs:
                runs.remove(run)

    def _of(self, request: Request) -> list[_Run]:
        return [run for run in [*self._prompts, *self._answers] if run.request is request]

    def _finished(self, request: Request) -> None:
        if request not in self.active:
            return
        self.active.remove(request)
        self.counts["done"] += 1
        self.counts["generated"] += request.usage.generated
        self.mean += 0.2 * (request.elapsed - request.usage.seconds["waited"] - self.mean)
