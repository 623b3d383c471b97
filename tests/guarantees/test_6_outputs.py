"""Guarantee 6, of what is made: a frozen generator gets no gradient and does not change, the gradient passes it to the
backbone, and each objective changes only what its stage declares."""

from __future__ import annotations

from fnmatch import fnmatchcase

import pytest
import torch
from tests.guarantees.test_6_frozen import matching
from tests.outputs import drawing, with_output
from tests.training.runs import differing, raw_recipe, stage, weights, write_drawings

from polymodal.content import Part, assistant
from polymodal.errors import DataError, RecipeError
from polymodal.model.composing import compose
from polymodal.model.composition import Composition
from polymodal.model.sequence import collate
from polymodal.training.loop import train
from polymodal.training.objectives import objective
from polymodal.training.stage import select, train_recipe
from polymodal.training.step import COUNTS, Step, Whole

TOKENS, PROJECTOR, GENERATOR = ("outputs.image.tokens.*", "outputs.image.projector.*", "outputs.image.generator.*")
LAYER = "backbone.*.layers.1.mlp.*"
CASES = {
    # family, objective, patterns of what learns, patterns of what must change
    "opener": ("signals", "lm", (TOKENS, PROJECTOR), (TOKENS,)),
    "condition": ("signals", "condition", (TOKENS, PROJECTOR), ("*.tokens.embedding", PROJECTOR)),
    "diffusion, all but the generator": ("signals", "diffusion", (PROJECTOR, LAYER), (PROJECTOR, LAYER)),
    "diffusion, the generator as well": ("signals", "diffusion", (PROJECTOR, GENERATOR), (PROJECTOR, GENERATOR)),
    "regression": ("signals", "regression", (PROJECTOR,), (PROJECTOR,)),
    "contrast": ("signals", "contrast", (PROJECTOR,), (PROJECTOR,)),
    "the generator alone": ("signals", "generate", (GENERATOR, PROJECTOR), (GENERATOR,)),
    "codes": ("codes", "lm", (TOKENS, GENERATOR), (TOKENS,)),
    "the codec alone": ("codes", "autoencode", (GENERATOR, TOKENS), (GENERATOR,)),
    "masked codes": ("masked", "masked", (TOKENS, LAYER), (TOKENS, LAYER)),
    "flow": ("latents", "flow", (PROJECTOR, LAYER), (PROJECTOR, LAYER)),
}
# Nothing depends on a bias of keys, which a softmax forgets; what is made of nothing is no weight.
UNREACHABLE = ("*.to_k.bias", "*.in_proj_bias", "*.generator.unconditional")


@pytest.fixture(scope="module")
def drawings(tmp_path_factory):
    return {"drawings": write_drawings(tmp_path_factory.mktemp("drawings"))}


@pytest.mark.parametrize("case", CASES)
def test_an_objective_changes_what_its_stage_declares_and_nothing_else(case, tiny_recipe, drawings, tmp_path):
    family, name, patterns, reached = CASES[case]
    learn = stage(objectives={name: 1.0}, data={"drawings": 1.0}, train=dict.fromkeys(patterns, 1e-2), steps=6, batch=3)
    raw = raw_recipe(with_output(tiny_recipe, family), tmp_path / "run", drawings, learn)
    before = weights(compose(train_recipe(raw).model))
    after = weights(train(train_recipe(raw)).model)
    declared = matching(before, patterns)
    for parameter in declared:  # at its end a run rounds what it declares to float16, but for the backbone
        if parameter.startswith("outputs."):
            before[parameter] = before[parameter].half().to(before[parameter].dtype)
    changed = differing(before, after)
    assert changed <= declared
    wanted = {n for n in matching(before, reached) if not any(fnmatchcase(n, p) for p in UNREACHABLE)} & declared
    assert changed >= wanted, wanted - changed


def stepped(tiny_recipe, family: str, name: str, patterns: tuple[str, ...]):
    """A model after one backward pass of an objective."""
    torch.manual_seed(0)
    composition = Composition.from_recipe(with_output(tiny_recipe, family))
    select(composition.model, dict.fromkeys(patterns, 1e-3))
    examples = [composition.processor.encode(drawing(i)) for i in range(3)]
    step = Step(composition.model, collate(examples, composition.processor.pad_id))
    objective(name)(step).each.sum().backward()
    return composition.model


def test_the_gradient_of_a_frozen_generator_reaches_the_backbone(tiny_recipe):
    model = stepped(tiny_recipe, "signals", "diffusion", (LAYER, TOKENS, PROJECTOR))
    generator = model.designs["image"].generator
    assert generator is not None
    assert all(p.grad is None for p in generator.parameters())
    reached = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    for pattern in (LAYER, "outputs.image.tokens.embedding", PROJECTOR):
        assert any(fnmatchcase(n, pattern) and bool(g.abs().sum() > 0) for n, g in reached.items()), pattern


@pytest.mark.parametrize("name", ["generate", "autoencode"])
def test_a_generator_by_itself_is_trained_without_the_backbone(name, tiny_recipe, monkeypatch):
    def never(*args, **options):
        raise AssertionError("the backbone was run")

    monkeypatch.setattr("polymodal.parts.backbones.Backbone.hidden", never)
    model = stepped(tiny_recipe, "signals" if name == "generate" else "codes", name, (GENERATOR,))
    assert any(p.grad is not None for p in model.designs["image"].generator.parameters())


EACH = [("signals", "condition"), ("signals", "regression"), ("masked", "masked"), ("latents", "flow"), ("codes", "lm")]


@pytest.mark.parametrize(("family", "name"), EACH)
def test_counts_are_known_before_the_model_runs_and_spans_weigh_alike(family, name, tiny_recipe):
    composition = Composition.from_recipe(with_output(tiny_recipe, family))
    turns = [drawing(0), [*drawing(1), *drawing(2)], drawing(3, "a dog")]
    batch = collate([composition.processor.encode(each) for each in turns], composition.processor.pad_id)
    whole = Whole.of([batch], [name], composition.model.backbone)
    loss = objective(name)(Step(composition.model, batch, whole))
    assert loss.counts.sum() == whole.counts[name] == COUNTS[name](batch)
    if name != "lm":
        assert (loss.counts / loss.counts[0]).tolist() == [1, 2, 1]


def test_what_cannot_be_learned_is_refused(tiny_recipe):
    composition = Composition.from_recipe(with_output(tiny_recipe, "codes"))
    batch = collate([composition.processor.encode(drawing())], composition.processor.pad_id)
    for name in ("condition", "masked", "flow"):
        with pytest.raises(RecipeError, match=f"objective '{name}'.*outputs.image.*'codes'"):
            objective(name)(Step(composition.model, batch))
    captions = [drawing()[0], assistant(Part("image", caption="a cat"))]
    batch = collate([composition.processor.encode(captions)], composition.processor.pad_id)
    with pytest.raises(DataError, match="learns from media, and a sample has none"):
        objective("lm")(Step(composition.model, batch))


def test_what_a_frozen_autoencoder_makes_of_a_medium_is_made_once_and_never_kept_while_it_learns(tiny_recipe, monkeypatch):
    from tests.parts.generators.test_diffusion import KL, UNET

    raw = with_output(tiny_recipe, "signals")
    generator = raw["model"]["outputs"]["image"]["generator"]
    config = {**generator["config"], "unet": UNET, "vae": KL}
    raw["model"]["outputs"]["image"]["generator"] = {**generator, "config": config}
    composition = Composition.from_recipe(raw)
    design = composition.model.designs["image"]
    generator = design.made_by()
    reduced: dict[str, torch.Tensor] = {}
    examples = [composition.processor.encode(drawing(i)) for i in (0, 1, 0)]
    encoded = []
    encode = type(generator).encode
    monkeypatch.setattr(type(generator), "encode", lambda self, x: encoded.append(len(x)) or encode(self, x))

    def loss(order: list[int]) -> list[float]:
        torch.manual_seed(0)
        batch = collate([examples[i] for i in order], composition.processor.pad_id)
        return objective("generate")(Step(composition.model, batch, reduced=reduced)).each.tolist()

    select(composition.model, {"outputs.image.generator.network.*": 1e-3})
    first = loss([0, 1, 2])
    assert encoded == [1, 1]  # the third shows what the first does
    assert loss([0, 1, 2]) == first
    assert encoded == [1, 1]
    reduced.clear()  # as at the beginning of a stage
    select(composition.model, {"outputs.image.generator.*": 1e-3})
    assert torch.allclose(torch.tensor(loss([0, 1, 2])), torch.tensor(first), atol=1e-4)
    assert not reduced
