"""Encoders one behind the other: whose a feature is can be told from it alone."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from polymodal.errors import RecipeError
from polymodal.model.composition import Composition
from polymodal.parts.base import Features, build
from polymodal.parts.input_projectors import INPUT_PROJECTORS
from polymodal.parts.tiny import RELEASED, VISION
from polymodal.parts.tiny_encoders import GROUNDING_DINO
from tests.conftest import LLAMA, picture
from tests.parts.encoders.contract import check_lengths_and_neighbours, check_options_rebuild, features, make
from tests.parts.encoders.test_channel_concat import SPEECH
from tests.parts.test_input_projectors import awake

CLIP = {"kind": "vision", "config": dict(VISION["clip"])}
SAM = {"kind": "vision", "config": dict(VISION["sam-hq"])}
OF = {"picture": CLIP, "boxes": {"kind": "grounding-dino", **GROUNDING_DINO}, "masks": SAM}
OF |= {"tags": {"kind": "ram-plus", "config": RELEASED["ram-plus"]}}
PICTURES = [picture(1), picture(2, (60, 28))]
GROUPS = {"visual": {"queries": 2, "reads": [0]}, "objects": {"queries": 3, "reads": [1]}}


def former(width: int, **options):
    torch.manual_seed(0)
    recipe = {"kind": "mq-former", "groups": GROUPS, "hidden": 16, "heads": 2, **options}
    return build("projector", INPUT_PROJECTORS, recipe, width, 8).eval()


def test_length_is_what_is_emitted_and_options_rebuild():
    """The four encoders of Lyrics, whose numbers and widths are all different."""
    encoder = make("sequence-append", of=OF)
    check_lengths_and_neighbours(encoder, PICTURES)
    check_options_rebuild(encoder, "sequence-append", PICTURES)


def test_each_has_its_own_rows_and_columns_and_its_mark():
    encoder = make("sequence-append", of={"a": CLIP, "b": SAM})
    (rows,) = features(encoder, PICTURES[:1])
    a, b = (features(part, PICTURES[:1])[0] for part in encoder.of.values())
    assert (encoder.width, encoder.modality) == (2 + 24 + 16, "image")
    assert rows.shape == (len(a) + len(b), 42)
    assert rows[:, :2].tolist() == [[1, 0]] * len(a) + [[0, 1]] * len(b)
    assert torch.allclose(rows[: len(a), 2:26], F.layer_norm(a, (24,)), atol=1e-5)
    assert torch.allclose(rows[len(a) :, 26:], F.layer_norm(b, (16,)), atol=1e-5)
    assert not rows[: len(a), 26:].any()
    assert not rows[len(a) :, 2:26].any()


def test_encoders_of_different_media_are_refused():
    with pytest.raises(
        RecipeError, match="encoder 'sequence-append', option 'of': it takes audio and image, not one medium"
    ):
        make("sequence-append", of={"a": SPEECH, "b": CLIP})


def test_a_group_of_queries_reads_its_own_encoders():
    """Of one layer, whose queries read each other before they read features: only those of the other group change."""
    encoder = make("sequence-append", of={"a": CLIP, "b": SAM})
    projector = former(encoder.width, depth=1)
    (rows,) = features(encoder, PICTURES[:1])
    other = rows.clone()
    other[rows[:, 1] == 1, 26:] += torch.randn(16, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        before, after = projector(Features([rows, other]))
    assert before.shape == (projector.length(len(rows)), 8) == (5, 8)
    assert torch.allclose(before[:2], after[:2], atol=1e-6)
    assert not torch.isclose(before[2:], after[2:], atol=1e-4).all(1).any()


def test_groups_read_each_other_in_the_next_layer():
    encoder = make("sequence-append", of={"a": CLIP, "b": SAM})
    projector = awake(former(encoder.width, depth=2))
    (rows,) = features(encoder, PICTURES[:1])
    other = rows.clone()
    other[:, 26:] *= 2
    with torch.no_grad():
        before, after = projector(Features([rows, other]))
    assert not torch.isclose(before, after, atol=1e-3).all(1).any()


def test_what_mq_former_cannot_read_is_refused_by_name():
    with pytest.raises(RecipeError, match="projector 'mq-former': no group 'reads' encoder 1"):
        former(42, groups={"a": {"reads": [0, 2]}})
    with pytest.raises(RecipeError, match="'groups.a.reads'"):
        former(42, groups={"a": {"reads": []}})
    with pytest.raises(RecipeError, match="reads a 'sequence-append' of 2 encoders, and this is none"):
        former(24)(Features(features(make(**CLIP), PICTURES)))
    of = {"a": CLIP, "b": SAM, "c": CLIP}
    encoder = make("sequence-append", of=of)
    with pytest.raises(RecipeError, match="reads a 'sequence-append' of 2 encoders"):
        former(encoder.width)(Features(features(encoder, PICTURES)))


def test_a_checkpoint_holds_all_and_answers_alike(tmp_path, tokenizer_folder):
    backbone = {"config": dict(LLAMA), "tokenizer": tokenizer_folder}
    projector = {"kind": "mq-former", "groups": GROUPS, "depth": 2, "hidden": 16, "heads": 2}
    image = {"encoder": {"kind": "sequence-append", "of": {"a": CLIP, "b": SAM}}, "projector": projector}
    composition = Composition.from_recipe({"model": {"backbone": backbone, "inputs": {"image": image}}})
    asked = {"images": [picture(1)]}
    composition.save(tmp_path / "model")
    again = Composition.load(tmp_path / "model")
    assert again.ask("what?", **asked).text == composition.ask("what?", **asked).text
    with torch.no_grad():
        told = [
            c.model.modalities["image"].projector(Features(features(c.model.modalities["image"].encoder, PICTURES)))
            for c in (composition, again)
        ]
    for a, b in zip(*told, strict=True):
        assert torch.equal(a, b)
