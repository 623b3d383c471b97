"""A generator of clips that uses the autoencoder of the one of pictures: there is one of it, and those own it."""

from __future__ import annotations

import copy

import pytest
import torch
from tests.outputs import DIFFUSION, UNET
from tests.parts.generators.test_diffusion import KL
from tests.parts.generators.test_video_diffusion import WAN, clip

import polymodal
from polymodal.errors import AssetError, RecipeError
from polymodal.model.composing import compose
from polymodal.model.composition import Composition
from polymodal.parts.generators import diffusion
from polymodal.parts.output import Target
from polymodal.training.stage import select

PICTURES = {**DIFFUSION["config"], "unet": {**UNET, "in_channels": 2, "out_channels": 2}, "vae": KL}
CLIPS = {"transformer": WAN, "vae": KL, "scheduler": DIFFUSION["config"]["scheduler"]}


@pytest.fixture
def recipe(tiny_recipe):
    """Both are told in words what to make."""

    def of(kind: str, config: dict, **more) -> dict:
        told = {"conditions": DIFFUSION["conditions"], "steps": 2, **more}
        return {"span": {"kind": "text"}, "generator": {"kind": "prompted", "of": {"kind": kind, "config": config, **told}}}

    made = tiny_recipe()
    clips = of("video-diffusion", CLIPS, frames=2, size=[12, 8], autoencoder_of="image")
    made["model"]["outputs"] = {"video": clips, "image": of("diffusion", PICTURES)}
    return made


def made(composition: Composition) -> list[bytes]:
    ((frames, _),) = composition.model.designs["video"].made_by().make(["a cat"], torch.Generator().manual_seed(0))
    return [frame.tobytes() for frame in frames]


def test_there_is_one_autoencoder_and_the_pictures_own_it(recipe):
    model = Composition.from_recipe(recipe).model
    lender, borrower = (model.designs[name].made_by().of for name in ("image", "video"))
    assert borrower.vae is lender.vae
    names = [name for name, _ in model.named_parameters(remove_duplicate=False) if ".vae." in name]
    assert names
    assert all(name.startswith("outputs.image.generator.") for name in names)
    other = copy.deepcopy(model).designs
    assert other["video"].made_by().of.vae is other["image"].made_by().of.vae is not lender.vae


def test_a_clip_is_learned_without_it(recipe):
    model = Composition.from_recipe(recipe).model
    select(model, {"outputs.video.generator.*": 1e-3})
    generator = model.designs["video"].made_by().of
    targets = generator.prepare(clip())[None]
    assert generator.reduced(targets[0]) is not None
    generator.loss(targets, generator.condition([Target("a cat")])).sum().backward()
    assert any(p.grad is not None for p in generator.network.parameters())
    assert all(p.grad is None for p in generator.vae.parameters())


def test_a_checkpoint_holds_it_once(recipe, tmp_path):
    composition = Composition.from_recipe(recipe)
    composition.save(tmp_path / "model")
    again = polymodal.load(tmp_path / "model")
    assert made(again) == made(composition)
    with torch.no_grad():
        for parameter in again.model.designs["image"].made_by().of.vae.parameters():
            parameter.mul_(2)
    assert made(again) != made(composition)
    again.save(tmp_path / "again")
    assert made(polymodal.load(tmp_path / "again")) == made(again)


def test_what_cannot_be_borrowed_is_refused(recipe):
    clips = recipe["model"]["outputs"]["video"]["generator"]["of"]
    clips["config"] = {**CLIPS, "vae": {**KL, "scaling_factor": 2.0}}
    with pytest.raises(RecipeError, match="generator.autoencoder_of: 'image' has no autoencoder like that in 'config.vae'"):
        Composition.from_recipe(recipe)
    for name in ("images", "video"):
        clips["autoencoder_of"] = name
        with pytest.raises(RecipeError, match=f"outputs.video.generator: there is no other output '{name}'"):
            Composition.from_recipe(recipe)


def test_where_the_lender_is_missing_both_are_done_without(recipe, monkeypatch):
    composition = Composition.from_recipe(recipe)

    def absent(*args, **options):
        raise AssetError("the generator of pictures is not here; fetch it")

    monkeypatch.setattr(diffusion, "components", absent)
    with pytest.raises(AssetError, match="fetch it"):
        compose(composition.recipe)
    designs = compose(composition.recipe, lenient=True).designs
    assert [design.generator for design in designs.values()] == [None, None]
    assert {design.missing for design in designs.values()} == {"the generator of pictures is not here; fetch it"}
