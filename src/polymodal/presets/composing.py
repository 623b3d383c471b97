"""Presets as models. Decides that a published system can be looked at without its weights (at its own size, on no device)
and run without them (at tiny width, with random ones), by two replacements of the same recipe.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from tempfile import TemporaryDirectory
from typing import Any

import torch

from polymodal.content import Part, assistant, text, user
from polymodal.errors import RecipeError
from polymodal.model.answering import opened
from polymodal.model.composing import compose
from polymodal.model.composition import Composition
from polymodal.model.config import ModelRecipe, model_recipe
from polymodal.model.generation import Sampling
from polymodal.model.modeling import MultimodalLM
from polymodal.model.report import blank, describe, prepared, samples
from polymodal.model.sequence import collate
from polymodal.parts import peft, tiny, tiny_generators
from polymodal.parts.base import build
from polymodal.parts.checkpoints import SEVERAL, unfetched, unfetched_generator
from polymodal.parts.encoders import ENCODERS
from polymodal.parts.shared import names
from polymodal.presets import Preset, file
from polymodal.training.stage import Rates, Stage, plan, read_stages


def recipe(preset: Preset) -> tuple[ModelRecipe, list[Stage]]:
    """What a preset says, validated. Raises `RecipeError` for a system that is not there yet, naming what it lacks."""
    if preset.model is None:
        raise RecipeError(f"{preset.about.name} cannot be composed yet; what is missing: {', '.join(preset.lacks)}")
    data, where = preset.model_dump(include={"model", "stages"}), file(preset.id).name
    return model_recipe(data, where), read_stages(data, where)


def published(preset: Preset, tokenizer: str) -> ModelRecipe:
    """The recipe at the size of the paper, with `config` in place of every checkpoint and a tokenizer that is at hand."""
    model, _ = recipe(preset)
    model.backbone = {**unfetched(model.backbone), "tokenizer": tokenizer}
    model.shared = {name: _reading(options, tokenizer) for name, options in model.shared.items()}
    for part in model.inputs.values():
        part.encoder, part.projector = unfetched(part.encoder), _reading(part.projector, tokenizer)
    for output in model.outputs.values():
        output.generator = _stored(unfetched_generator(output.generator), tokenizer)
    return model


def shrunk(preset: Preset, tokenizer: str) -> ModelRecipe:
    """The recipe at tiny width, with random weights. Parts, options, queries and patterns stay as they are, and so
    do layers that a pattern names one by one; a backbone is as deep as a fusion counts. Codes and latents are few, and
    sampled in few steps. `tokenizer`: the folder of one; what else has to lie somewhere is put into it."""
    model, stages = recipe(preset)
    patterns = [pattern for stage in stages for pattern in (*stage.train, *stage.peft)]

    def small(part: dict[str, Any], name: str, layers: int | None = None) -> dict[str, Any]:
        if part.get("kind") in SEVERAL:
            return {**part, "of": {key: small(each, f"{name}.of.{key}") for key, each in part["of"].items()}}
        said = unfetched(part)
        config = said.get("of", said).get("config", {})
        if any(re.match(rf"{re.escape(name)}.*layers\.[\d\[]", pattern) for pattern in patterns):
            layers = config["num_hidden_layers"]
        return tiny.part(part, config.get("model_type"), layers)

    fusions = [each.fusion for each in model.inputs.values()]
    deep = [fusion[key] for fusion in fusions for key in ("every", "layers") if key in fusion]
    model.backbone = {**small(model.backbone, "backbone", max(deep, default=None)), "tokenizer": tokenizer}
    for name, each in model.inputs.items():
        each.encoder = small(each.encoder, f"inputs.{name}.encoder")
        each.projector = _reading(tiny.projector(each.projector), tokenizer)
    for output in model.outputs.values():
        output.generator = tiny_generators.generator(output.generator, tokenizer)
        if output.projector is not None:
            output.projector = tiny_generators.projector(output.projector)
        few = {"steps": 2, "most": 8}
        output.span = output.span.model_copy(update={k: n for k, n in few.items() if k in type(output.span).model_fields})
        if output.tap.layer is not None:
            output.tap.layer = 1
    for name, options in model.shared.items():
        users = [each.encoder for each in model.inputs.values() if name in names(each.projector)]
        width = build("encoder", ENCODERS, users[0]).width if users else 0
        model.shared[name] = _reading(tiny.shared(options, model.backbone, width), tokenizer)
    return model


def _reading(projector: dict[str, Any], tokenizer: str) -> dict[str, Any]:
    """The recipe of a projector with a tokenizer that is at hand, where it reads questions; of one that is shared, too."""
    if projector["kind"] == "projector":
        return {**projector, "of": _reading(projector["of"], tokenizer)}
    return {**projector, "tokenizer": tokenizer} if "tokenizer" in projector else projector


def _stored(generator: dict[str, Any], folder: str) -> dict[str, Any]:
    """The recipe of a generator with a store that is at hand, where it hands out what is stored."""
    if "of" in generator and generator["kind"] == "prompted":
        return {**generator, "of": _stored(generator["of"], folder)}
    if generator["kind"] != "retrieval":
        return generator
    config = generator.get("conditions", {}).get("config", {})
    width = config.get("projection_dim") or config.get("hidden_size")
    return {**generator, "store": tiny_generators.store(folder, generator, width)}


@contextmanager
def composed_tiny(preset: Preset) -> Iterator[Composition]:
    """A preset at tiny width; its tokenizer, of bytes, lies in a folder that is removed afterwards."""
    with TemporaryDirectory() as folder:
        yield Composition.from_recipe(shrunk(preset, tiny.save_tokenizer(folder)))


@dataclass
class Anatomy:
    """A preset at its own size. `report`: as `polymodal compose` gives it. `features`: {modality: (N, De)} that an encoder
    makes of a sample. `projected`: how many the projector makes of them. `width`: of the backbone. `learning`: of each
    stage, {part: {learning rate: parameters}}, where the adapters of a part are `PART.peft`."""

    report: dict[str, Any]
    features: dict[str, tuple[int, int]]
    projected: dict[str, int]
    width: int
    stages: list[Stage]
    learning: list[dict[str, dict[float, int]]]

    def size(self, part: str) -> int:
        return next(row["parameters"] for row in self.report["parts"] if row["part"] == part)

    def kind(self, part: str) -> str:
        return next(row["kind"] for row in self.report["parts"] if row["part"] == part)


def anatomy(preset: Preset) -> Anatomy:
    """Compose a preset at its own size without memory for weights (on torch's `meta` device), and look at it."""
    _, stages = recipe(preset)
    with TemporaryDirectory() as folder:
        model = published(preset, tiny.save_tokenizer(folder))
        with torch.device("meta"):
            composition = Composition(compose(model), model)
            rates = plan(composition.model, composition.recipe, stages)
    features, projected = {}, {}
    for name, part in samples(composition).items():
        modality = composition.model.modalities[name]
        features[name] = modality.encoder.length(prepared(part, composition)), modality.encoder.width
        projected[name] = modality.projector.length(features[name][0])
    report = describe(composition, rates)
    learning = [_learning(composition.model, each) for each in rates]
    return Anatomy(report, features, projected, composition.model.backbone.width, stages, learning)


def _learning(model: MultimodalLM, rates: Rates) -> dict[str, dict[float, int]]:
    """{part: {learning rate: how many parameters have it}} in one stage. The last pattern that matches decides."""
    adapters = peft.weights(model)
    patterns = {pattern: rate for pattern, rate in rates.items() if pattern not in adapters}
    out: dict[str, dict[float, int]] = defaultdict(lambda: defaultdict(int))
    for name, parameter in peft.named_parameters(model).items():
        matching = [rate for pattern, rate in patterns.items() if fnmatchcase(name, pattern)]
        if name in rates or matching:
            part = next(part for part in model.parts if name.startswith(f"{part}."))
            rate = rates[name] if name in rates else matching[-1]
            out[part + (".peft" if name in adapters else "")][rate] += parameter.numel()
    return out


def walk(composition: Composition, tokens: int = 4) -> list[tuple[str, str]]:
    """Show a composition one item of each modality, run it forward and have it answer: [(step, shape)]. B batch, T
    positions, N features, D width, S supervised tokens, V words."""
    model, processor = composition.model, composition.processor
    media = list(samples(composition).values())
    question = user(*media, text("What is this?"))
    example = processor.encode([question, assistant("A cat.")])
    steps = []
    with torch.no_grad():
        for item, span in zip(example.media, example.spans, strict=True):
            inputs = ", ".join(f"{key} {list(value.shape)}" for key, value in (item.inputs or {}).items())
            (features,) = model.encode([item])
            (projected,) = model.project([item], [features], [span.question])
            steps += [
                (f"{item.modality}: prepared", inputs),
                (f"{item.modality}: features [N, D]", str(list(features.shape))),
                (f"{item.modality}: positions [N, D]", str(list(projected.shape))),
            ]
        batch = collate([example], processor.pad_id)
        steps.append(("prompt and answer [B, T, D]", str(list(model.embed(batch).shape))))
        steps.append(("logits [S, V]", str(list(model(batch).logits.shape))))
    answer = composition.chat(sampling=Sampling(max_new_tokens=tokens)).say(question)
    steps.append(("tokens generated", str(answer.tokens["generated"])))
    return [*steps, *(step for name in model.designs for step in _making(composition, name))]


@torch.no_grad()
def _making(composition: Composition, name: str) -> list[tuple[str, str]]:
    """Learn from a medium of one output, and make one: [(step, shape)]. Q vectors, Dg their width."""
    model, processor, design = composition.model, composition.processor, composition.model.designs[name]
    asked = user(text("Make a cat."))
    wanted = Part(design.modality, media=blank()[design.modality], caption="a cat", output=name)
    example = processor.encode([asked, assistant(wanted)])
    ids = int((example.ids >= design.grammar.first).sum()) if example.target is None else len(example.target)
    steps = [(f"{name}: learned from, opener to closer [T]", str([ids]))]
    out = model(collate([example], processor.pad_id))
    if design.projector is not None and design.grammar.body.kind == "signals":
        steps.append((f"{name}: condition [Q, Dg]", str(list(design.condition(out.states[0][None])[0].shape))))
    (made,) = opened(composition, processor.encode([asked], generate=True), name, Sampling(seed=0)).parts
    return [*steps, (f"{name}: made", made.failed or _size(made.media))]


def _size(medium: Any) -> str:
    """Of what was made: a picture, `(samples, rate)` or `(pictures, frames per second)`."""
    if not isinstance(medium, tuple):
        return "{} x {} pixels".format(*medium.size)
    first, rate = medium
    if isinstance(first, list):
        return f"{len(first)} pictures of {first[0].width} x {first[0].height} pixels, {rate:g} a second"
    return f"{len(first)} samples, {rate:,} a second"
