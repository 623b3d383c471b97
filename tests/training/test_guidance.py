"""What a generator is guided away from is what training showed it: the empty condition, in a share of the spans."""

from __future__ import annotations

import pytest
import torch

from polymodal.content import user
from polymodal.model.answering import opened
from polymodal.model.composition import Composition
from polymodal.model.generation import Sampling
from polymodal.model.sequence import collate
from polymodal.training.loop import _freeze_statistics
from polymodal.training.objectives import objective
from polymodal.training.stage import select
from polymodal.training.step import Step
from tests.outputs import DIFFUSION, SIGNALS, drawing, with_output

PROJECTOR, NETWORK = "outputs.image.projector.*", "outputs.image.generator.network.*"
SPANS = 300


def composed(tiny_recipe, **generator) -> Composition:
    torch.manual_seed(0)
    recipe = with_output(tiny_recipe, "signals")
    recipe["model"]["outputs"] = {"image": {**SIGNALS, "generator": {**DIFFUSION, **generator}}}
    return Composition.from_recipe(recipe)


def told(composition: Composition, monkeypatch) -> list[torch.Tensor]:
    """The conditions [S, Q, Dg] of each call of the network, from now on."""
    found: list[torch.Tensor] = []
    kind = type(composition.model.designs["image"].made_by())
    predicted = kind.predicted
    monkeypatch.setattr(kind, "predicted", lambda self, *args: found.append(args[2]) or predicted(self, *args))
    return found


@pytest.mark.parametrize(
    ("learns", "name", "share"),
    [
        ((PROJECTOR, NETWORK), "diffusion", 0.25),  # end to end: requests become nothing
        ((NETWORK,), "generate", 0.25),
        ((PROJECTOR,), "diffusion", 0.0),  # what is frozen learns nothing of nothing
    ],
)
def test_a_share_of_conditions_is_the_empty_one_where_the_generator_learns(learns, name, share, tiny_recipe, monkeypatch):
    composition = composed(tiny_recipe, drop=0.25)
    model, generator = composition.model, composition.model.designs["image"].made_by()
    generator.unconditional.normal_()  # as of a text encoder
    select(model, dict.fromkeys(learns, 1e-3))
    model.train()
    _freeze_statistics(model)
    found = told(composition, monkeypatch)
    batch = collate([composition.processor.encode(drawing())] * SPANS, composition.processor.pad_id)
    objective(name)(Step(model, batch)).each.sum().backward()
    (conditions,) = found
    empty = (conditions == generator.unconditional).flatten(1).all(1)
    assert empty.float().mean().item() == pytest.approx(share, abs=0.07 if share else 0)
    if PROJECTOR in learns:
        assert all(p.grad is not None for p in model.designs["image"].projector.parameters())


def drawn(composition: Composition) -> bytes:
    example = composition.processor.encode([user("draw a cat")], generate=True)
    return opened(composition, example, "image", Sampling(seed=1)).parts[0].media.tobytes()


def test_guidance_of_one_is_none_and_more_steers_away_from_the_empty_condition(tiny_recipe, monkeypatch):
    pictures = {}
    for guidance in (1.0, 3.0):
        composition = composed(tiny_recipe, guidance=guidance)
        generator = composition.model.designs["image"].made_by()
        with torch.no_grad():
            for parameter in generator.network.parameters():
                torch.nn.init.normal_(parameter, std=0.2, generator=torch.Generator().manual_seed(3))
        with monkeypatch.context() as patched:
            found = told(composition, patched)
            pictures[guidance] = drawn(composition)
        asked = found[0][-1:]
        empty = [generator.unconditional[None]] if guidance > 1 else []
        assert all(torch.equal(each, torch.cat([*empty, asked])) for each in found)  # at 1, nothing else is run
        before = pictures[guidance]
        generator.unconditional += 1
        assert (drawn(composition) != before) == (guidance > 1)
    assert pictures[1.0] != pictures[3.0]
