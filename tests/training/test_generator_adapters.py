"""A generator is tuned by a few weights beside it, or whole, as any other part is."""

from __future__ import annotations

import pytest
import torch

import polymodal
from polymodal.content import user
from polymodal.model.answering import opened
from polymodal.model.composing import compose
from polymodal.model.composition import Composition
from polymodal.model.generation import Sampling
from polymodal.parts import peft
from polymodal.training.loop import train
from polymodal.training.stage import train_recipe
from tests.outputs import with_output
from tests.parts.generators.contract import pixels_of
from tests.training.runs import raw_recipe, stage, write_drawings

NETWORK = "outputs.image.generator.network"
LORA = {f"{NETWORK}.*.to_[qv]": {"kind": "lora", "r": 2, "rate": 3e-2}}


def parameters(composition: Composition) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in peft.named_parameters(composition.model).items()}


def drawn(composition: Composition) -> torch.Tensor:
    example = composition.processor.encode([user("draw a cat")], generate=True)
    (picture,) = pixels_of([opened(composition, example, "image", Sampling(seed=1)).parts[0].media])
    return torch.from_numpy(picture.copy()).float()


@pytest.fixture(scope="module")
def tuned(tiny_recipe, tmp_path_factory):
    """What there was before, and the model and the folder of a run that tunes a generator by LoRA."""
    folder = tmp_path_factory.mktemp("lora")
    data = {"drawings": write_drawings(folder / "data")}
    told = {"objectives": {"generate": 1.0}, "data": {"drawings": 1.0}, "train": {}, "steps": 5, "batch": 3}
    raw = raw_recipe(with_output(tiny_recipe, "signals"), folder / "run", data, stage(peft=LORA, **told))
    settings = train_recipe(raw)
    before = peft.named_parameters(compose(settings.model))
    return {name: value.detach().clone() for name, value in before.items()}, train(settings), folder / "run" / "model"


def test_only_the_adapters_of_a_generator_learn(tuned):
    before, composition, _ = tuned
    after = parameters(composition)
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    own = after.keys() - before.keys()
    assert own
    assert all(name.startswith(NETWORK) and ".lora_" in name for name in own)
    assert all(bool(after[name].any()) for name in own)  # lora_B began at zero


def test_a_tuned_generator_is_loaded_with_its_adapters_and_merged_into_a_plain_one(tuned, tmp_path):
    _, composition, folder = tuned
    again = polymodal.load(folder)
    theirs, ours = parameters(again), parameters(composition)
    assert theirs.keys() == ours.keys()
    assert all(torch.equal(theirs[name], value) for name, value in ours.items())
    assert torch.equal(drawn(again), drawn(composition))
    again.save(tmp_path / "merged", merge=True)
    merged = polymodal.load(tmp_path / "merged")
    assert not peft.weights(merged.model)
    assert (drawn(merged) - drawn(again)).abs().max() <= 1  # of 255: sums are taken in another order
    with peft.detached(again.model):
        assert not torch.equal(drawn(again), drawn(merged))  # what was merged is not nothing


def test_only_adapters_have_gradients_and_conditions_are_dropped_for_them(tuned):
    """What they stand beside runs as in inference, and still they learn what is made of nothing."""
    from polymodal.training.loop import _freeze_statistics
    from polymodal.training.stage import Stage, select

    _, composition, _ = tuned
    model = composition.model
    generator = model.designs["image"].made_by()
    learning = Stage(name="a", data={"a": 1.0}, peft=LORA, steps=1)
    select(model, {}, learning.peft)
    model.train()
    _freeze_statistics(model)
    assert not generator.training
    assert generator.learns
    targets = torch.randn(4, 3, 8, 8)
    generator.loss(targets, torch.randn(4, 5, 12)).sum().backward()
    found = {name for name, value in peft.named_parameters(model).items() if value.grad is not None}
    assert found == set(peft.weights(model))
    select(model, {"outputs.image.projector.*": 1e-3})
    model.train()
    _freeze_statistics(model)
    assert not generator.learns
    model.eval().requires_grad_(False)
