"""P-Former: prompts learned from text alone, and a projector that learns to give them."""

from __future__ import annotations

import pytest
import torch

from polymodal.errors import RecipeError
from polymodal.model.composition import Composition
from polymodal.parts.p_former import PFormer
from polymodal.training.loop import train
from tests.training.runs import differing, recipe, rows_of, stage, weights, write_pictures, write_talk

SIZES = {"queries": 4, "depth": 1, "hidden": 16, "heads": 2}
LEARN = {"name": "text", "train": {"shared.prompts.*": 1e-2}, "data": {"talk": 1.0}, "objectives": {"prompt": 1.0}}
ALIGN = {"name": "pictures", "objectives": {"reference": 1.0}, "steps": 12}


@pytest.fixture
def model(tiny_recipe):
    made = tiny_recipe()
    del made["model"]["inputs"]["audio"]
    made["model"]["shared"] = {"prompts": {"kind": "p-former", "width": 32, **SIZES}}
    made["model"]["inputs"]["image"]["projector"] = {"kind": "q-former", **SIZES}
    return made


@pytest.fixture
def data(tmp_path):
    return {"pictures": write_pictures(tmp_path / "data"), "talk": write_talk(tmp_path / "talk")}


def test_prompts_are_learned_from_text_and_then_given_by_the_projector(model, data, tmp_path):
    """The first stage changes the P-Former alone, the second the projector alone, and both get better at what they do."""
    made = recipe(model, tmp_path / "run", data, stage(**LEARN, steps=12), stage(**ALIGN), save_every=100)
    before = weights(Composition.from_recipe(made.model.model_copy(deep=True)).model)
    trained = train(made).model
    changed = {".".join(name.split(".")[:3]) for name in differing(before, weights(trained))}
    assert {name for name in changed if not name.startswith("shared.prompts.")} == {"inputs.image.projector"}
    assert len(changed) > 1
    rows = rows_of(tmp_path / "run")
    for name, objective in (("text", "prompt/talk"), ("pictures", "reference/pictures")):
        losses = [row["loss"][objective] for row in rows if row["stage"] == name and "loss" in row]
        assert sum(losses[-3:]) < sum(losses[:3])


def test_a_sentence_alone_has_the_prompts_that_it_has_beside_longer_ones():
    torch.manual_seed(0)
    part = PFormer(8, **SIZES).eval()
    sentences = [torch.randn(n, 8) for n in (5, 2, 9)]
    together = part(sentences)
    assert together.shape == (3, 4, 8)
    for sentence, own in zip(sentences, together, strict=True):
        assert torch.allclose(part([sentence])[0], own, atol=1e-5)
    assert not torch.allclose(together[0], together[1], atol=1e-3)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"queries": 5}, "4 features for 5 prompts"),
        ({"width": 16}, "'width' is 16, but the backbone takes 32"),
        (None, "needs one part of kind 'p-former' in model.shared; there are 0"),
    ],
)
def test_what_does_not_fit_is_refused(change, said, model, data, tmp_path):
    model["model"]["shared"] = {"prompts": {**model["model"]["shared"]["prompts"], **change}} if change else {}
    with pytest.raises(RecipeError, match=said):
        train(recipe(model, tmp_path / "run", data, stage(**{**ALIGN, "steps": 1})))
