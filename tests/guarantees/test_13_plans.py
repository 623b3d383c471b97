"""Guarantee 13: a position is unchanged when anything outside of what it may see changes."""

from __future__ import annotations

import pytest
import torch
from tests.conftest import LLAMA, picture
from tests.outputs import with_output

from polymodal.content import assistant, image, user
from polymodal.errors import RecipeError
from polymodal.model.composition import Composition
from polymodal.model.sequence import blocks, collate
from polymodal.parts.tiny import FAMILIES as BACKBONES

CAUSAL = ["llama", "qwen2", "gpt2", "opt", "mistral", "gemma3", "granite"]


@pytest.mark.parametrize("packing", [None, 256], ids=["padded", "packed"])
@pytest.mark.parametrize("family", ["masked", "latents"])
@torch.no_grad()
def test_no_position_sees_outside_of_its_plan_and_every_one_sees_all_of_it(family, packing, tiny_recipe):
    composition = Composition.from_recipe(with_output(tiny_recipe, family))
    model, processor = composition.model, composition.processor
    turns = [[user("a"), assistant("b", image(picture(i, (8, 8))), image(picture(9, (8, 8))), "c" * i)] for i in (1, 2)]
    batch = collate([processor.encode(each) for each in turns], processor.pad_id, packing=packing)
    seen = blocks(batch)
    assert seen is not None
    embeds, (size, length) = model.embed(batch), batch.ids.shape
    base = model.backbone.hidden(embeds, batch.mask, positions=batch.positions, blocks=seen)
    for at in range(length):
        other = embeds.clone()
        other[:, at] += 1 + torch.rand(embeds.shape[-1])
        changed = (model.backbone.hidden(other, batch.mask, positions=batch.positions, blocks=seen) - base).abs().amax(
            -1
        ) > 1e-6
        for b in range(size):
            for i in range(length):
                if batch.segments[b, i] < 0:
                    continue  # padding is nobody's
                same = bool(batch.segments[b, i] == batch.segments[b, at])
                block = bool(seen[b, i] >= 0 and seen[b, i] == seen[b, at])
                assert bool(changed[b, i]) == (same and (at <= i or block)), (b, i, at)


@pytest.mark.parametrize("backbone", CAUSAL)
def test_usual_backbones_see_blocks(backbone, tiny_recipe):
    config = LLAMA if backbone == "llama" else BACKBONES[backbone]
    composition = Composition.from_recipe(with_output(tiny_recipe, "masked", config))
    example = composition.processor.encode([user("a"), assistant(image(picture(1, (8, 8))))])
    assert composition.model(collate([example], composition.processor.pad_id)).states[0].shape[0] == 16


def test_a_backbone_without_such_masks_is_refused(tiny_recipe):
    with pytest.raises(RecipeError, match="positions cannot see one another; use 'codes' or 'signals'"):
        Composition.from_recipe(with_output(tiny_recipe, "masked", BACKBONES["mamba2"]))
