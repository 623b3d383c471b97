"""An output of a model: one value for every published design. Decides what its parts are and how they fit, and how a span
is filled for training; how it is filled when the model speaks is in `model.filling`.

    grammar     opener, body, closer
    tokens      embeddings and head rows of its own ids
    tap         which states of the backbone
    projector   states -> what the generator takes
    generator   -> media
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from polymodal.errors import AssetError, DataError, RecipeError, nearest
from polymodal.model.config import OutputRecipe
from polymodal.model.grammar import TAKES, Codes, Grammar, Latents, Masked, Signals, Text
from polymodal.model.sequence import Made
from polymodal.parts.backbones import Backbone
from polymodal.parts.base import build
from polymodal.parts.generators import GENERATORS
from polymodal.parts.output import Editor, Generator, OutputProjector
from polymodal.parts.output_projectors import OUTPUT_PROJECTORS
from polymodal.parts.output_projectors.flow import FlowProjector
from polymodal.parts.own_tokens import OwnTokens


@dataclass
class Filled:
    """The spans of one output in a batch, filled for training. `spans`: their places in `batch.made`. `truth`: codes [S, N]
    or velocities [S, N, Dg]; `covered` [S, N]: which codes were; `rows` [S, N, D]: what stands there, where that is no
    id."""

    spans: list[int]
    truth: Tensor
    covered: Tensor | None = None
    rows: Tensor | None = None


class OutputDesign(nn.Module):
    """`generator` is None where it is `missing`: why it could not be had."""

    def __init__(
        self,
        recipe: OutputRecipe,
        grammar: Grammar,
        backbone: Backbone,
        projector: OutputProjector | None,
        generator: Generator | None,
        missing: str = "",
    ) -> None:
        super().__init__()
        self.modality, self.tap, self.seen = recipe.modality, recipe.tap, recipe.seen
        self.grammar, self.missing = grammar, missing
        self.tokens = OwnTokens(grammar.size, backbone)
        self.projector, self.generator = projector, generator

    @property
    def parts(self) -> dict[str, nn.Module]:
        """Tokens, projector and generator by name, those that there are and that have tensors."""
        parts = {"tokens": self.tokens, "projector": self.projector, "generator": self.generator}
        return {name: part for name, part in parts.items() if part is not None and part.state_dict()}

    def prepare(self, media: Any) -> Tensor:
        return self.made_by().prepare(media)

    def taught(self, caption: str) -> Tensor | None:
        return self.made_by().taught(caption)

    def made_by(self) -> Generator:
        """The generator. Raises `AssetError` if it is missing."""
        if self.generator is None:
            raise AssetError(self.missing)
        return self.generator

    @property
    def edits(self) -> bool:
        """Whether what it makes is made from the last medium of its kind before it."""
        return isinstance(self.generator, Editor) and self.generator.edits

    def make(
        self,
        given: Any,
        random: torch.Generator,
        on_step: Callable[[int, int], None] | None = None,
        source: Tensor | None = None,
    ) -> Any:
        """The medium of one span. `source`: as `prepare` has it, what an output that `edits` makes it from. Raises
        `AssetError` if the generator is missing."""
        generator = self.made_by()
        if isinstance(generator, Editor) and generator.edits:
            return generator.make(given, random, on_step, [source])[0]
        return generator.make(given, random, on_step)[0]

    def condition(self, states: Tensor) -> Tensor:
        """[S, n, D] -> [S, Q, Dg]."""
        assert self.projector is not None
        return self.projector(states.to(next(self.projector.parameters()).dtype))

    @torch.no_grad()
    def encode(self, prepared: Tensor) -> Tensor:
        """[S, ...] -> codes [S, N] or latents [S, N, Dg], by the generator as it is in inference."""
        generator = self.made_by()
        mode = generator.training
        generator.eval()
        try:
            return generator.encode(prepared)
        finally:
            generator.train(mode)

    def fill(self, made: Sequence[Made], spans: list[int]) -> Filled | None:
        """What `spans` of a batch hold in training; None where ids say it all. Noise and masks are torch's own. Raises
        `DataError` for a span that is to be learned without its medium."""
        if not isinstance(self.grammar.body, Codes | Masked | Latents):
            return None
        truth = self._truth([made[i] for i in spans])
        learned = torch.tensor([made[i].target is not None for i in spans], device=truth.device)
        if isinstance(self.grammar.body, Codes):
            return Filled(spans, truth)
        if isinstance(self.grammar.body, Masked):
            share = torch.cos(torch.rand(len(spans), 1, device=truth.device) * math.pi / 2)
            order = torch.rand(truth.shape, device=truth.device).argsort(-1).argsort(-1)
            covered = (order < (share * truth.shape[1]).ceil().clamp(min=1)) & learned[:, None]
            ids = torch.where(covered, self.grammar.vocabulary, truth)
            return Filled(spans, truth, covered, self.codes(ids))
        noise = torch.randn_like(truth)
        time = torch.where(learned, torch.sigmoid(torch.randn(len(spans), device=truth.device)), 1.0)
        mixed = noise + time[:, None, None] * (truth - noise)
        mixed = torch.where(learned[:, None, None], mixed, truth)  # which rounding would keep some of the noise in
        return Filled(spans, truth - noise, rows=self.flow.embed(mixed, time))

    def codes(self, ids: Tensor) -> Tensor:
        """Codes [...] (`vocabulary`: a covered one) -> the embeddings [..., D] that stand there."""
        return self.tokens.embedding[ids + 2]

    @property
    def flow(self) -> FlowProjector:
        assert isinstance(self.projector, FlowProjector)
        return self.projector

    def _truth(self, made: Sequence[Made]) -> Tensor:
        """Codes or latents of spans, known or encoded now."""
        device = self.tokens.embedding.device
        wanted = [i for i, span in enumerate(made) if span.content is None]
        ready = []
        for i in wanted:
            target = made[i].target
            if target is None or target.prepared is None:
                raise DataError(f"output '{made[i].output}' learns from media, and a sample has none")
            ready.append(target.prepared.to(device))
        encoded = iter(self.encode(torch.stack(ready))) if ready else iter(())
        return torch.stack([next(encoded) if span.content is None else span.content.to(device) for span in made])


def build_outputs(
    recipes: Mapping[str, OutputRecipe], backbone: Backbone, lenient: bool = False
) -> dict[str, OutputDesign]:
    """The outputs of a recipe; ids are given in its order. `lenient`: one whose generator's weights are not here is built
    without, if its ids can be told, and so is one that borrows of it. Raises `RecipeError` for parts that do not fit."""
    first = backbone.lm.get_input_embeddings().num_embeddings
    out: dict[str, OutputDesign] = {}
    for name, recipe in recipes.items():
        out[name] = _build(f"outputs.{name}", recipe, backbone, first, lenient)
        first += out[name].grammar.size
    for name, design in out.items():
        lender = None if design.generator is None else design.generator.borrows
        if design.generator is not None and lender is not None:
            if lender not in out or lender == name:
                raise RecipeError(f"outputs.{name}.generator: there is no other output '{lender}'{nearest(lender, out)}")
            if lenient and (why := out[lender].missing):
                design.generator, design.missing = None, why
            else:
                design.generator.borrow(out[lender].made_by())
    return out


def _build(role: str, recipe: OutputRecipe, backbone: Backbone, first: int, lenient: bool) -> OutputDesign:
    body = recipe.span
    missing, generator = "", None
    try:
        generator = build(f"{role}.generator", GENERATORS, recipe.generator)
    except AssetError as error:
        if not lenient or body.kind not in ("signals", "text"):
            raise
        missing = str(error)
    if generator is not None and generator.modality != recipe.modality:
        made = f"makes {generator.modality}, and the output {recipe.modality}"
        raise RecipeError(f"{role}.generator '{recipe.generator['kind']}' {made}: say which in '{role}.modality'")
    if generator is not None and generator.takes != TAKES[body.kind]:
        kinds = ", ".join(f"'{kind}'" for kind, takes in TAKES.items() if takes == generator.takes)
        raise RecipeError(
            f"{role}: a span of kind '{body.kind}' holds no {generator.takes}, which the generator takes: use {kinds}"
        )
    if backbone.seq2seq and isinstance(body, Masked | Latents):
        raise RecipeError(f"{role}.span '{body.kind}' needs a causal backbone; this one is seq2seq")
    if recipe.tap.layer is not None:
        _check_layer(role, recipe.tap.layer, backbone)
    if isinstance(body, Signals):
        grammar = Grammar(body, first, body.tokens)
    elif isinstance(body, Text):
        grammar = Grammar(body, first, body.cue)
    elif generator is None:
        grammar = Grammar(body, first)
    else:
        grammar = Grammar(body, first, generator.positions, generator.vocabulary)
    projector = None
    if generator is not None and body.kind in ("signals", "latents"):
        options = recipe.projector or ({"kind": "flow"} if isinstance(body, Latents) else None)
        if options is None:
            raise RecipeError(f"{role} needs a 'projector', from {body.kind} to the generator")
        sizes = grammar.length, backbone.width, generator.positions, generator.width
        projector = build(f"{role}.projector", OUTPUT_PROJECTORS, options, *sizes)
        if isinstance(projector, FlowProjector) != isinstance(body, Latents):
            raise RecipeError(f"{role}.projector '{options['kind']}' is not for a span of kind '{body.kind}'")
    elif recipe.projector is not None and generator is not None:
        raise RecipeError(f"{role}.projector: a span of kind '{body.kind}' holds ids, which need none")
    return OutputDesign(recipe, grammar, backbone, projector, generator, missing)


def _check_layer(role: str, layer: int, backbone: Backbone) -> None:
    """Raises `RecipeError` for a layer whose states cannot be tapped."""
    why = ""
    if backbone.seq2seq:
        why = "a seq2seq backbone has two sorts of layers"
    elif not 0 <= layer < len(backbone.layers):
        why = f"the backbone has {len(backbone.layers)} layers"
    elif (inside := getattr(backbone.lm.config, "hidden_size", backbone.width)) != backbone.width:
        why = f"this backbone is {inside} wide inside and {backbone.width} outside"
    if why:
        raise RecipeError(f"{role}.tap.layer {layer} cannot be tapped: {why}; remove it to tap the last states")
