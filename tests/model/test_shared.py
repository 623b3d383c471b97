"""Parts that several inputs share: there is one of each, whoever uses it."""

from __future__ import annotations

import copy
import json

import pytest
import torch
from tests.conftest import make_tokenizer, picture, sound

import polymodal
from polymodal.content import assistant, audio, image, user
from polymodal.errors import RecipeError
from polymodal.model.composition import Composition
from polymodal.model.sequence import collate
from polymodal.parts.base import Features
from polymodal.training.stage import select

UPM = {"kind": "upm", "tokens": 3, "experts": "shared:experts"}
TURNS = [user(image(picture(1)), audio(sound(0.5)), "what is this?"), assistant("a cat")]


@pytest.fixture
def recipe(tiny_recipe):
    made = tiny_recipe()
    made["model"]["shared"] = {"experts": {"kind": "upm-experts", "width": 16, "experts": 2, "depth": 1, "heads": 2}}
    for part in made["model"]["inputs"].values():
        part["projector"] = dict(UPM)
    return made


@pytest.fixture
def composition(recipe):
    return Composition.from_recipe(recipe)


def logits(composition: Composition) -> torch.Tensor:
    batch = collate([composition.processor.encode(TURNS)], composition.processor.pad_id)
    with torch.no_grad():
        return composition.model(batch).logits


def test_both_projectors_use_the_experts_and_neither_owns_them(composition):
    model = composition.model
    used = {id(part.projector.experts) for part in model.modalities.values()}
    assert used == {id(model.shared.experts)}
    names = [name for name, _ in model.named_parameters(remove_duplicate=False) if "experts" in name]
    assert names
    assert all(name.startswith("shared.experts.") for name in names)


def test_experts_learn_from_both(composition):
    model = composition.model
    select(model, {"shared.experts.*": 1e-3})
    assert not any(p.requires_grad for p in model.inputs.parameters())
    grads = []
    for turn in ([user(image(picture(1)), "?"), TURNS[1]], [user(audio(sound(0.5)), "?"), TURNS[1]], TURNS):
        model.zero_grad()
        out = model(collate([composition.processor.encode(turn)], composition.processor.pad_id))
        torch.nn.functional.cross_entropy(out.logits, out.labels).backward()
        grads.append(model.shared.experts[0][0].mlp.up_proj.weight.grad.clone())
    assert all(grad.abs().max() > 0 for grad in grads)
    assert not torch.allclose(grads[0], grads[1], atol=1e-9)


def test_a_checkpoint_holds_them_once(composition, tmp_path):
    composition.save(tmp_path / "model")
    files = {file.name: file.stat().st_size for file in (tmp_path / "model").glob("*.safetensors")}
    assert files["shared.experts.safetensors"] > files["inputs.image.projector.safetensors"]
    again = polymodal.load(tmp_path / "model")
    assert torch.equal(logits(again), logits(composition))
    with torch.no_grad():
        again.model.shared.experts[0][0].mlp.up_proj.weight.add_(1)
    assert not torch.allclose(logits(again), logits(composition), atol=1e-6)
    again.save(tmp_path / "again")
    assert torch.equal(logits(polymodal.load(tmp_path / "again")), logits(again))
    (tmp_path / "model" / "shared.experts.safetensors").unlink()
    with pytest.raises(polymodal.errors.CheckpointError, match="shared.experts.safetensors"):
        polymodal.load(tmp_path / "model")


def test_a_copy_shares_its_own(composition):
    clone = copy.deepcopy(composition.model)
    (mine,) = {id(part.projector.experts) for part in clone.modalities.values()}
    assert mine == id(clone.shared.experts) != id(composition.model.shared.experts)


def test_a_process_without_media_has_their_gradient_too(composition):
    """Of all that some process uses: see `MultimodalLM.zero`."""
    model = composition.model
    select(model, {"shared.experts.*": 1e-3})
    model.zero({"inputs.image.projector"}).backward()
    assert all(p.grad is not None for p in model.shared.parameters())


def test_a_name_that_nothing_has_is_refused(recipe):
    recipe["model"]["inputs"]["image"]["projector"]["experts"] = "shared:expert"
    with pytest.raises(RecipeError, match=r"projector.experts: nothing is shared by the name 'expert' \(did you mean 'exp"):
        Composition.from_recipe(recipe)


def test_a_kind_that_cannot_be_shared_is_refused(recipe):
    recipe["model"]["shared"]["experts"]["kind"] = "upm"
    with pytest.raises(RecipeError, match="shared.experts.kind 'upm' is not known"):
        Composition.from_recipe(recipe)


WORDS = json.loads(make_tokenizer().backend_tokenizer.to_str())
READER = {"kind": "q-former", "queries": 2, "depth": 2, "hidden": 16, "heads": 2, "tokenizer": WORDS}


def one_for_both(tiny_recipe, of: dict) -> dict:
    """A recipe whose two inputs have one projector; both encoders are 24 wide, the backbone 32."""
    made = tiny_recipe()
    made["model"]["shared"] = {"one": {"kind": "projector", "of": of, "width_in": 24, "width_out": 32}}
    for part in made["model"]["inputs"].values():
        part["projector"] = {"kind": "shared", "of": "shared:one"}
    return made


@pytest.mark.parametrize("of", [{"kind": "mlp"}, READER], ids=["mlp", "q-former"])
def test_one_projector_stands_behind_two_encoders_and_goes_into_a_checkpoint_once(tiny_recipe, tmp_path, of):
    composition = Composition.from_recipe(one_for_both(tiny_recipe, of))
    assert {part.reads_question for part in composition.model.modalities.values()} == {"tokenizer" in of}
    composition.save(tmp_path / "model")
    again = polymodal.load(tmp_path / "model")
    assert torch.equal(logits(again), logits(composition))
    with torch.no_grad():
        [*again.model.shared.one.parameters()][-1].add_(1)
    assert not torch.allclose(logits(again), logits(composition), atol=1e-6)


def test_what_is_learned_from_pictures_changes_what_is_heard(tiny_recipe):
    composition = Composition.from_recipe(one_for_both(tiny_recipe, {"kind": "linear"}))
    model = composition.model
    select(model, {"shared.one.*": 1e-3})
    batch = collate([composition.processor.encode([user(image(picture(1)), "?"), TURNS[1]])], composition.processor.pad_id)
    out = model(batch)
    torch.nn.functional.cross_entropy(out.logits, out.labels).backward()
    (weight, bias) = model.shared.one.of.layers[0].parameters()
    (heard,) = model.inputs.audio.projector(Features([torch.ones(1, 24)]))
    with torch.no_grad():
        for parameter in (weight, bias):
            parameter.sub_(parameter.grad)
    (after,) = model.inputs.audio.projector(Features([torch.ones(1, 24)]))
    assert torch.allclose(heard - after, weight.grad.sum(1) + bias.grad, atol=1e-5)
    assert (heard - after).abs().max() > 0


def test_a_projector_of_other_widths_than_it_stands_between_is_refused(tiny_recipe):
    made = one_for_both(tiny_recipe, {"kind": "linear"})
    made["model"]["shared"]["one"]["width_in"] = 23
    with pytest.raises(RecipeError, match="shared from width 23 to 32, but stands between 24 and 32"):
        Composition.from_recipe(made)
