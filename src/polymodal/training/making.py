"""Objectives of what a model makes: the survey's output alignment and latent diffusion losses, and those of codecs and
flows. Each is summed over the spans that are to be learned.

* `condition`: distance of what a projector makes of the tapped states from the generator's own condition for the caption or
  medium, not squared, a mean over the vectors of a condition (NExT-GPT, GILL, MiniGPT-5).
* `regression`: the same, squared (SEED-X).
* `contrast`: that condition should be the nearest among those of the micro-batch, and the other way round (GILL's InfoNCE).
* `diffusion`: the generator's own loss, so conditioned. Its gradient passes a frozen generator (DreamLLM, MiniGPT-5).
* `masked`: cross-entropy of covered codes (Show-o). Codes that are said one after another are learned by `lm`.
* `flow`: the velocity from noise to latents (Transfusion).
* `generate`, `autoencode`: the generator by itself, from its own condition, and its codec or autoencoder. The backbone
  rests.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from polymodal.errors import DataError, RecipeError
from polymodal.model.grammar import Latents, Masked
from polymodal.model.outputs import OutputDesign
from polymodal.model.sequence import Batch, Made
from polymodal.parts.output import Editor, Generator, Target

if TYPE_CHECKING:
    from polymodal.training.step import Step

Each = Callable[[OutputDesign, list[Made], list[int]], Tensor]  # losses [S] of spans of one output, and their numbers
SHARPNESS = 1 / 0.07  # of GILL's contrast


def condition(step: Step) -> tuple[Tensor, Tensor]:
    def each(design: OutputDesign, made: list[Made], spans: list[int]) -> Tensor:
        made_of, own = _conditions(step, design, made, spans, "condition")
        return (made_of - own).norm(dim=-1).mean(-1)

    return _summed(step, each)


def regression(step: Step) -> tuple[Tensor, Tensor]:
    def each(design: OutputDesign, made: list[Made], spans: list[int]) -> Tensor:
        made_of, own = _conditions(step, design, made, spans, "regression")
        return (made_of - own).pow(2).mean((1, 2))

    return _summed(step, each)


def contrast(step: Step) -> tuple[Tensor, Tensor]:
    def each(design: OutputDesign, made: list[Made], spans: list[int]) -> Tensor:
        made_of, own = (F.normalize(side.flatten(1), dim=-1) for side in _conditions(step, design, made, spans, "contrast"))
        scores, right = SHARPNESS * made_of @ own.T, torch.arange(len(made), device=own.device)
        ways = [F.cross_entropy(way, right, reduction="none") for way in (scores, scores.T)]
        return torch.stack(ways).mean(0)

    return _summed(step, each)


def diffusion(step: Step) -> tuple[Tensor, Tensor]:
    def each(design: OutputDesign, made: list[Made], spans: list[int]) -> Tensor:
        states = torch.stack([step.out.states[i] for i in spans])
        return _loss(step, design, made, design.condition(states))

    return _summed(step, each)


def masked(step: Step) -> tuple[Tensor, Tensor]:
    """Each span counts as its N codes, however many of them were covered."""

    def each(design: OutputDesign, made: list[Made], spans: list[int]) -> Tensor:
        filled, grammar = step.out.filled[made[0].output], design.grammar
        if not isinstance(grammar.body, Masked) or filled.covered is None:
            raise RecipeError(f"objective 'masked': the span of outputs.{made[0].output} is of kind '{grammar.body.kind}'")
        at = [filled.spans.index(i) for i in spans]
        covered, truth = filled.covered[at], filled.truth[at]
        states = torch.stack([step.out.states[i] for i in spans])[covered]
        logits = step.model.backbone.head(states)[:, grammar.start : grammar.start + grammar.vocabulary]
        token = F.cross_entropy(logits.float(), truth[covered], reduction="none")
        share = truth.shape[1] / covered.sum(1, keepdim=True).expand_as(covered)[covered]
        owner = torch.arange(len(spans), device=token.device)[:, None].expand_as(covered)[covered]
        return token.new_zeros(len(spans)).index_add(0, owner, token * share)

    return _summed(step, each, lambda design: design.grammar.length)


def flow(step: Step) -> tuple[Tensor, Tensor]:
    def each(design: OutputDesign, made: list[Made], spans: list[int]) -> Tensor:
        if not isinstance(design.grammar.body, Latents):
            kind = design.grammar.body.kind
            raise RecipeError(f"objective 'flow': the span of outputs.{made[0].output} is of kind '{kind}'")
        filled = step.out.filled[made[0].output]
        states = torch.stack([step.out.states[i] for i in spans])
        velocities = design.flow(states.to(design.flow.leave.weight.dtype))
        wanted = filled.truth[[filled.spans.index(i) for i in spans]]
        return (velocities.float() - wanted.float()).pow(2).mean((1, 2))

    return _summed(step, each)


def generate(step: Step) -> tuple[Tensor, Tensor]:
    def each(design: OutputDesign, made: list[Made], spans: list[int]) -> Tensor:
        return _loss(step, design, made, _own(design.made_by(), made))

    return _summed(step, each)


def autoencode(step: Step) -> tuple[Tensor, Tensor]:
    def each(design: OutputDesign, made: list[Made], spans: list[int]) -> Tensor:
        return design.made_by().fit(_prepared(made, design.tokens.embedding.device))

    return _summed(step, each)


def spans_of(batch: Batch) -> int:
    """How many spans a batch has that are to be learned."""
    return sum(made.target is not None for made in batch.made)


def positions_of(batch: Batch) -> int:
    """How many positions they have."""
    return sum(made.length for made in batch.made if made.target is not None)


def _summed(step: Step, each: Each, count: Callable[[OutputDesign], int] = lambda design: 1) -> tuple[Tensor, Tensor]:
    """Losses and counts [B] of the examples of a batch, from those of their spans."""
    size = len(step.batch.names)
    losses, counts = (torch.zeros(size, device=step.model.device) for _ in range(2))
    for design, spans in _learned(step):
        made = [step.batch.made[i] for i in spans]
        owner = torch.tensor([span.owner for span in made], device=losses.device)
        losses = losses.index_add(0, owner, each(design, made, spans).float())
        counts = counts.index_add(0, owner, torch.full((len(made),), float(count(design)), device=losses.device))
    return losses, counts


def _learned(step: Step) -> Iterator[tuple[OutputDesign, list[int]]]:
    """Each output and the numbers of its spans that are to be learned."""
    for name, design in step.model.designs.items():
        spans = [i for i, made in enumerate(step.batch.made) if made.output == name and made.target is not None]
        if spans:
            yield design, spans


def _conditions(
    step: Step, design: OutputDesign, made: list[Made], spans: list[int], objective: str
) -> tuple[Tensor, Tensor]:
    """[S, Q, Dg] twice: what the projector makes of the states, and the generator's own."""
    if design.projector is None or design.grammar.body.kind != "signals":
        kind = design.grammar.body.kind
        raise RecipeError(
            f"objective '{objective}': outputs.{made[0].output} has no condition, its span is of kind '{kind}'"
        )
    states = torch.stack([step.out.states[i] for i in spans])
    return design.condition(states).float(), _own(design.made_by(), made).float()


def _own(generator: Generator, made: list[Made]) -> Tensor:
    with torch.no_grad():
        return generator.condition([made.target or Target() for made in made]).detach()


def _loss(step: Step, design: OutputDesign, made: list[Made], given: Tensor) -> Tensor:
    """[S]: the generator's own, so conditioned, and of what its media are made from if it changes media."""
    generator, device = design.made_by(), design.tokens.embedding.device
    media = zip((span.key for span in made), _prepared(made, device), strict=True)
    targets = torch.stack([_reduced(step, generator, *medium) for medium in media])
    if not isinstance(generator, Editor) or not generator.edits:
        return generator.loss(targets, given)
    sources = [(span.source, span.target.source if span.target else None) for span in made]
    changed = [None if it is None else _reduced(step, generator, key, it.to(device)) for key, it in sources]
    return generator.loss(targets, given, changed)


def _reduced(step: Step, generator: Generator, key: str, prepared: Tensor) -> Tensor:
    """A medium as the generator's loss takes it; what does not change is made once for each."""
    if key not in step.reduced:
        found = generator.reduced(prepared)
        if found is None:
            return prepared
        step.remember(key, found)
    return step.reduced[key].to(prepared.device)


def _prepared(made: list[Made], device: torch.device) -> Tensor:
    for span in made:
        if span.target is None or span.target.prepared is None:
            raise DataError(f"output '{span.output}': a sample has no medium, and an objective learns from it")
    return torch.stack(
        [span.target.prepared.to(device) for span in made if span.target and span.target.prepared is not None]
    )
