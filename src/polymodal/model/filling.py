"""How a span is filled when the model speaks. Decides what is sampled and how, for every kind of body; behind each opener
one of these runs, and what it gives goes to the generator.

A span is filled with its own randomness, so that a seed gives the same media whatever else was sampled.
"""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import dataclass

import torch
from torch import Tensor

from polymodal.model.outputs import OutputDesign
from polymodal.model.row import Row


@dataclass
class Content:
    """`ids` of the body; `given`: what the generator takes [1, ...]; of a text, its `words` are that; `held`: what the span
    holds, where ids do not tell: latents [N, Dg]."""

    ids: list[int]
    given: Tensor | None = None
    held: Tensor | None = None
    words: str | None = None


Steps = Generator[None, None, Content]  # what is filled a step at a time: between two of them others may be served


def fill(design: OutputDesign, row: Row, free: Row | None, random: torch.Generator) -> Content:
    """Fill the span whose opener has been said and not run; all of it but its closer is then kept in `row`. `free`: a row
    that was asked nothing, for guidance."""
    steps = filling(design, row, free, random)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def filling(design: OutputDesign, row: Row, free: Row | None, random: torch.Generator) -> Steps:
    """As `fill`, a few runs of the backbone at a time. Without a graph: it is asked for the next step under `no_grad`."""
    grammar = design.grammar
    kind = grammar.body.kind
    opener = design.tokens.embedding[:1]
    if kind == "signals":
        return _signals(design, row)
    rows = [row] if free is None or grammar.body.guidance == 1 else [row, free]
    states = [each.keep(opener) for each in rows]
    yield
    if kind == "codes":
        return (yield from _codes(design, rows, [state[-1] for state in states], random))
    return (yield from (_masked if kind == "masked" else _latents)(design, rows, random))


def _signals(design: OutputDesign, row: Row) -> Content:
    ids, tap = design.grammar.ids()[:-1], design.tap
    rows = torch.cat([design.tokens.embedding[:1], design.tokens.embedding[2:]])
    states = row.states(rows, [] if tap.layer is None else [tap.layer])[tap.layer]
    states = states[1:] if tap.where == "at" else states[:-1]
    if tap.add_inputs:
        states = states + rows[1:]
    given = None if design.projector is None else design.condition(states[None])
    return Content(ids[1:], given)


def _codes(design: OutputDesign, rows: list[Row], states: list[Tensor], random: torch.Generator) -> Steps:
    body, codes = design.grammar.body, []
    for _ in range(design.grammar.length):
        logits = _guided(
            [_scores(design, row, state[None])[0] for row, state in zip(rows, states, strict=True)], body.guidance
        )
        if body.top_k:
            logits = logits.masked_fill(logits < logits.topk(min(body.top_k, len(logits))).values[-1], -torch.inf)
        codes.append(int(_drawn(logits, body.temperature, random)))
        embedding = design.codes(torch.tensor(codes[-1:], device=logits.device))
        states = [row.keep(embedding)[-1] for row in rows]
        yield
    given = torch.tensor([codes], device=rows[0].model.device)
    return Content([design.grammar.start + code for code in codes], given)


def _masked(design: OutputDesign, rows: list[Row], random: torch.Generator) -> Steps:
    """All are drawn at each step; the likeliest stay, as many as a cosine schedule says (arXiv 2202.04200)."""
    body, grammar = design.grammar.body, design.grammar
    ids = torch.full((grammar.length,), grammar.vocabulary, device=rows[0].model.device)
    for step in range(body.steps):
        embeddings = design.codes(ids)
        scores = [_scores(design, row, row.peek(embeddings, together=True)) for row in rows]
        logits = _guided(scores, body.guidance)
        covered = ids == grammar.vocabulary
        drawn = torch.where(covered, _drawn(logits, body.temperature, random), ids)
        sure = logits.log_softmax(-1).gather(1, drawn[:, None])[:, 0]
        noise = -torch.log(-torch.log(torch.rand(len(ids), generator=random).clamp(1e-9, 1 - 1e-9))).to(sure.device)
        done = (step + 1) / body.steps
        sure = torch.where(covered, sure + body.temperature * (1 - done) * noise, torch.inf)
        left = min(math.floor(math.cos(done * math.pi / 2) * len(ids)), max(int(covered.sum()) - 1, 0))
        kept = torch.zeros_like(covered).index_fill(0, sure.topk(len(ids) - left).indices, True)
        ids = torch.where(kept, drawn, grammar.vocabulary)
        yield
    for row in rows:
        row.keep(design.codes(ids), together=True)
    return Content((ids + grammar.start).tolist(), ids[None])


def _latents(design: OutputDesign, rows: list[Row], random: torch.Generator) -> Steps:
    """Euler's method along the flow, from noise at time 0 to latents at time 1."""
    body, flow = design.grammar.body, design.flow
    width = flow.leave.out_features
    z = torch.randn(1, design.grammar.length, width, generator=random).to(flow.leave.weight)
    for step in range(body.steps):
        embeddings = flow.embed(z, torch.full((1,), step / body.steps, device=z.device))[0]
        states = [row.peek(embeddings, together=True).to(z.dtype) for row in rows]
        z = z + _guided([flow(each) for each in states], body.guidance) / body.steps
        yield
    for row in rows:
        row.keep(flow.embed(z, torch.ones(1, device=z.device))[0], together=True)
    return Content([design.grammar.start] * design.grammar.length, z, z[0])


def _scores(design: OutputDesign, row: Row, states: Tensor) -> Tensor:
    """Logits [t, vocabulary] of the codes alone: whatever else could be said has probability zero."""
    start = design.grammar.start
    return row.backbone.head(states)[:, start : start + design.grammar.vocabulary].float()


def _guided(each: list[Tensor], guidance: float) -> Tensor:
    """What was asked for, `guidance` times as far from what is made of nothing (arXiv 2207.12598)."""
    return each[0] if len(each) == 1 else each[1] + guidance * (each[0] - each[1])


def _drawn(logits: Tensor, temperature: float, random: torch.Generator) -> Tensor:
    """Ids [...] drawn from logits [..., V]; the likeliest at temperature 0."""
    if not temperature:
        return logits.argmax(-1)
    shares = (logits / temperature).softmax(-1).cpu().reshape(-1, logits.shape[-1])
    return torch.multinomial(shares, 1, generator=random).view(logits.shape[:-1]).to(logits.device)
