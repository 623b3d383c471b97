"""An answer: text, and what is made in it. Decides when text is written and when a span is filled.

    text ... <opener>            written by `generation`, to which openers are stop tokens
             body                filled by `filling`, behind the same cache
             <closer> text ...   written again

What is made is made at once: the model may be shown it before it goes on. If a generator fails, its part says why, and the
answer goes on.
"""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch

from polymodal import media
from polymodal.content import Part, text, user
from polymodal.errors import PolymodalError
from polymodal.model.filling import Content, fill
from polymodal.model.generation import Generation, generate
from polymodal.model.outputs import OutputDesign
from polymodal.model.row import Row, croppable, keeps
from polymodal.model.sampling import Sampling
from polymodal.model.sequence import Example, Made, MediaItem, Span
from polymodal.model.spans import latest, made_key

if TYPE_CHECKING:
    from polymodal.model.composition import Composition

Progress = Callable[[str, int, int], None]  # (output, steps done, of)


@dataclass
class Reply:
    """`parts` of an answer. `example`: the prompt and all of the answer but its stop token; `cache` holds it but for what
    was not run. `seconds`, `prefilled`: as of a `Generation`; `generated`: ids. `seed`: of what was drawn for media."""

    example: Example
    parts: list[Part]
    seconds: dict[str, float]
    prefilled: int
    generated: int = 0
    finished: bool = True
    cache: Any = None
    seed: int = 0
    written: list[int] = field(default_factory=list)  # by a seq2seq backbone's decoder


@torch.no_grad()
def respond(
    composition: Composition,
    example: Example,
    sampling: Sampling,
    *,
    cache: Any = None,
    cached: int = 0,
    prepared: MutableMapping[str, MediaItem] | None = None,
    on_token: Callable[[int], None] | None = None,
    on_step: Progress | None = None,
) -> Reply:
    """Answer one example, encoded with `generate=True`. `cache`, `cached`, `on_token`: as of `generate`. `prepared` is
    given what was made, so that the next turn reads what was written and not what can be read of the media. `on_step` is
    told of the progress of generators."""
    model, processor = composition.model, composition.processor
    seed = sampling.seed if sampling.seed is not None else int(torch.seed() % 2**31)
    openers, own = model.openers, model.own_ids
    reply = Reply(example, [], {}, 0, seed=seed)
    spans = 0
    while True:
        left = sampling.max_new_tokens - reply.generated
        open_now = openers if spans < sampling.spans else {}
        out = generate(
            model,
            [reply.example],
            sampling.model_copy(update={"max_new_tokens": max(left, 1)}),
            [*processor.stop_ids, *open_now],
            processor.pad_id,
            cache=cache,
            cached=cached,
            on_token=on_token,
            never=[i for i in own if i not in open_now],
            written=reply.written,
            begins=not reply.generated and not spans,
            grammars=processor.grammars,
        )
        _wrote(reply, out, processor)
        name = open_now.get(out.ended[0]) if out.ended[0] is not None else None
        if name is None or left <= len(out.ids[0]):
            reply.finished = out.ended[0] in processor.stop_ids
            return reply
        spans += 1
        random = torch.Generator().manual_seed(seed + spans - 1)
        usable = reply.cache if croppable(reply.cache) and keeps(model.backbone) and sampling.beams == 1 else None
        cache, cached = _span(composition, reply, name, usable, sampling, random, prepared, on_step)
        if sampling.beams > 1:  # each beam has a cache of its own
            cache, cached = None, 0


@torch.no_grad()
def opened(composition: Composition, example: Example, output: str, sampling: Sampling | None = None) -> Reply:
    """One span of an output behind an example, encoded with `generate=True`, as if the model had just opened it."""
    sampling = sampling or Sampling()
    seed = sampling.seed if sampling.seed is not None else int(torch.seed() % 2**31)
    reply = Reply(example, [], {}, 0, seed=seed)
    _span(composition, reply, output, None, sampling, torch.Generator().manual_seed(seed), None, None)
    return reply


def _wrote(reply: Reply, out: Generation, processor: Any) -> None:
    """Add what was written to the reply."""
    (ids,) = out.ids
    for name, seconds in out.seconds.items():
        if name != "first" or not reply.parts:
            reply.seconds[name] = reply.seconds.get(name, 0.0) + seconds
    reply.prefilled += out.prefilled
    reply.cache = out.cache
    said(reply, ids, processor)


def said(reply: Reply, ids: list[int], processor: Any) -> None:
    """Add ids of text to a reply."""
    reply.generated += len(ids)
    reply.parts += [part for part in processor.decode(ids) if part.text]
    extend(reply, ids, processor.seq2seq)


def extend(reply: Reply, ids: list[int], seq2seq: bool = False) -> None:
    """Add ids to what has been written, whatever they stand for."""
    if seq2seq:
        reply.written = [*reply.written, *ids]
        return
    before = reply.example
    more = torch.tensor(ids, dtype=before.ids.dtype)
    reply.example = replace(
        before,
        ids=torch.cat([before.ids, more]),
        supervised=torch.cat([before.supervised, torch.zeros(len(ids), dtype=torch.bool)]),
    )


def _span(
    composition: Composition,
    reply: Reply,
    name: str,
    cache: Any,
    sampling: Sampling,
    random: torch.Generator,
    prepared: MutableMapping[str, MediaItem] | None,
    on_step: Progress | None,
) -> tuple[Any, int]:
    """Fill and make the span of the output `name`, which has just been opened. The cache, and the positions it holds."""
    model, processor = composition.model, composition.processor
    design = model.designs[name]
    grammar = design.grammar
    at = len(reply.example) + 1
    if grammar.body.kind == "text":
        content, cache = _words(composition, reply, design, cache, sampling)
    else:
        row = Row(model, reply.example, cache)
        if row.cache is None:
            for start in range(0, len(reply.written), 256):
                row.keep(model.backbone.embed(torch.tensor(reply.written[start : start + 256], device=model.device)))
        content = fill(design, row, free(composition, grammar.body), random)
        cache = row.cache
        extend(reply, [grammar.opener, *content.ids, grammar.closer], processor.seq2seq)
    part = make(composition, name, content, random, on_step, changed(reply, design))
    hold(composition, reply, part, content, at, prepared)
    return cache, 0 if cache is None else cache.get_seq_length()


def changed(reply: Reply, design: OutputDesign) -> Part | None:
    """What an output that edits makes its medium from: the last one of its kind."""
    shown = (part for message in reply.example.messages for part in message.parts)
    return latest([*shown, *reply.parts], design.modality) if design.edits else None


def hold(
    composition: Composition,
    reply: Reply,
    part: Part,
    content: Content,
    at: int,
    prepared: MutableMapping[str, MediaItem] | None,
) -> None:
    """Add what was made to the reply: what its span holds, whose body begins at position `at`, and what the model is shown
    of it."""
    name, seq2seq = part.output or "", composition.processor.seq2seq
    design = composition.model.designs[name]
    grammar = design.grammar
    reply.parts.append(part)
    held = content.held if content.held is not None else content.given
    if grammar.body.kind not in ("signals", "text") and held is not None:
        key = made_key(part, name)
        item = held if held.ndim == 2 and content.held is not None else held[0]
        if prepared is not None:
            prepared[key] = MediaItem(design.modality, key, grammar.length, encoded=item.cpu())
        if not seq2seq:
            span = Made(at, grammar.length, name, None, item.cpu(), key, grammar.blocks)
            reply.example = replace(reply.example, made=[*reply.example.made, span])
    if design.seen and part.media is not None and not seq2seq:
        _show(composition, reply, part, prepared)


def _words(
    composition: Composition, reply: Reply, design: OutputDesign, cache: Any, sampling: Sampling
) -> tuple[Content, Any]:
    """A text between opener and closer, written as all text is; what closes it is said or, after `most`, given."""
    model, processor, grammar = composition.model, composition.processor, design.grammar
    extend(reply, [grammar.opener, *grammar.cue], processor.seq2seq)
    out = generate(
        model,
        [reply.example],
        sampling.model_copy(update={"max_new_tokens": grammar.body.most}),
        [grammar.closer],
        processor.pad_id,
        cache=cache,
        cached=0 if cache is None else cache.get_seq_length(),
        never=[i for i in [*model.own_ids, *processor.stop_ids] if i != grammar.closer],
        written=reply.written,
    )
    reply.generated += len(out.ids[0])
    extend(reply, [*out.ids[0], grammar.closer], processor.seq2seq)
    usable = out.cache if croppable(out.cache) and sampling.beams == 1 else None
    return worded(out.ids[0], processor), usable


def worded(ids: list[int], processor: Any) -> Content:
    """A span of text."""
    return Content(ids, words="".join(part.text or "" for part in processor.decode(ids)).strip())


def make(
    composition: Composition,
    name: str,
    content: Content,
    random: torch.Generator,
    on_step: Progress | None,
    source: Part | None,
) -> Part:
    """The part that a span becomes. What a user can mend does not end the answer: the part says what failed."""
    design = composition.model.designs[name]
    caption = content.words
    given: Any = content.given if caption is None else [caption]
    told = None if on_step is None else lambda done, of: on_step(name, done, of)
    try:
        before = None if source is None else design.prepare(media.load(source))
        medium = design.make(given, random, told, before)
    except PolymodalError as error:
        return Part(design.modality, caption=caption, output=name, failed=str(error))
    return Part(design.modality, media=medium, caption=caption, output=name)


def _show(composition: Composition, reply: Reply, part: Part, prepared: MutableMapping[str, MediaItem] | None) -> None:
    """Let the model see what it made, behind the span."""
    item = composition.processor.item(Part(part.type, media=part.media), prepared)
    if item.projected is None:  # kept: neither what is written next nor a later turn encodes it again
        (item.projected,) = composition.model.features([item])
        item.inputs = None
    example, length = reply.example, item.length
    extend(reply, [composition.processor.pad_id] * length, seq2seq=False)
    span = Span(len(example), length, len(example.media))
    reply.example = replace(reply.example, spans=[*example.spans, span], media=[*example.media, item])


def free(composition: Composition, body: Any) -> Row | None:
    """A row that was asked nothing, where a body is guided away from what is made of nothing."""
    if getattr(body, "guidance", 1.0) == 1.0:
        return None
    example = composition.processor.encode([user(text(""))], generate=True, name="nothing")
    if not len(example):  # a seq2seq backbone's encoder has to read something
        example = replace(example, ids=torch.tensor([composition.processor.stop_ids[0]]), supervised=torch.tensor([False]))
    return Row(composition.model, example)
