"""Frames that are read together: what is added to them, what it reads, and that it begins as nothing."""

from __future__ import annotations

import pytest
import torch

from polymodal.errors import RecipeError
from polymodal.media import load_video
from polymodal.parts.encoders.gmhra_network import GlobalRelation
from polymodal.parts.tiny import VISION
from tests.conftest import CLIP, picture
from tests.parts.encoders.contract import check_lengths_and_neighbours, check_options_rebuild, features, make

OF = {"kind": "vision", "config": dict(CLIP)}
SMALL = {"frames": 3, "layers": 2, "heads": 3}
PATCHES = 16


def clip(*seeds: int, size: tuple[int, int] = (40, 30)):
    return load_video(([picture(seed, size) for seed in seeds], 4.0))


def awake(encoder):
    """With the weights that begin at zero far from it."""
    torch.manual_seed(1)
    for parameter in [encoder.clip, *encoder.relations.parameters()]:
        torch.nn.init.normal_(parameter, std=0.3)
    return encoder


@pytest.mark.parametrize("name", ["clip", "eva-vit (blip-2)", "dinov2-registers", "vit"])
def test_length_is_what_is_emitted_and_options_rebuild(name):
    encoder = awake(make("gmhra", of={"kind": "vision", "config": dict(VISION[name])}, **SMALL))
    clips = [clip(1, 2, 3), clip(4, 5, 6, 7, size=(9, 60))]
    check_lengths_and_neighbours(encoder, clips)
    check_options_rebuild(encoder, "gmhra", clips)


def test_features_are_those_of_frames_and_one_of_the_clip():
    encoder, plain = awake(make("gmhra", of=OF, **SMALL)), make("frames", of=OF, frames=3)
    plain.of.load_state_dict(encoder.of.state_dict())
    (both,), (frames,) = (features(each, [clip(1, 2, 3)]) for each in (encoder, plain))
    assert both.shape == (3 * PATCHES + 1, encoder.width)
    assert torch.allclose(both[:-1], frames, atol=1e-5)


def test_with_class_tokens_frames_keep_theirs():
    of = {**OF, "class_token": True}
    (both,) = features(awake(make("gmhra", of=of, **SMALL)), [clip(1, 2, 3)])
    (frames,) = features(make("frames", of=of, frames=3), [clip(1, 2, 3)])
    assert both.shape == (3 * (PATCHES + 1) + 1, CLIP["hidden_size"])
    assert torch.allclose(both[:-1], frames, atol=1e-5)


def test_the_feature_of_a_clip_reads_every_frame_and_their_order():
    encoder = awake(make("gmhra", of=OF, **SMALL))
    orders = [(1, 2, 3), (3, 2, 1), (1, 2, 4), (5, 2, 3)]
    said = [rows[-1] for rows in features(encoder, [clip(*order) for order in orders])]
    for other in said[1:]:
        assert not torch.allclose(said[0], other, atol=1e-4)


def test_a_block_begins_as_nothing_and_learns():
    """As the code of VideoChat begins: the last layers of both branches are zero."""
    block = GlobalRelation(12, 3, 20, 0.0)
    known, states = torch.randn(2, 1, 12), torch.randn(2, 4, 1 + 6, 12)
    out = block(known, states, (2, 3))
    assert torch.equal(out, known)
    out.square().sum().backward()
    assert block.attention.out_proj.weight.grad.abs().sum() > 0


def test_the_place_of_a_cell_is_told_by_its_neighbours_in_the_frames_before_and_behind():
    """Convolution over (frame, row, column): a cell hears of the same cell one frame away, and not of two."""
    block = GlobalRelation(6, 2, 8, 0.0)
    cells = torch.zeros(1, 6, 4, 3, 3)
    cells[0, :, 0, 1, 1] = 1.0
    heard = (block.place(cells) - block.place(torch.zeros_like(cells))).abs().sum(1)[0, :, 1, 1]
    assert [bool(x > 1e-6) for x in heard] == [True, True, False, False]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"layers": 3, "heads": 3}, "3 'layers' of 3 'heads' do not fit 2 layers of width 24"),
        ({"layers": 2, "heads": 5}, "2 'layers' of 5 'heads' do not fit"),
        ({"of": {**OF, "tiles": 2}}, "without 'tiles' and 'layer'"),
        ({"of": {**OF, "layer": -2}}, "without 'tiles' and 'layer'"),
        ({"of": {"kind": "vision", "config": dict(VISION["siglip"])}}, "a 'siglip_vision_model' has none"),
        ({"of": {"kind": "vision", "config": dict(VISION["mae"])}}, "no MAE"),
    ],
)
def test_what_it_cannot_read_is_refused_by_name(options, named):
    with pytest.raises(RecipeError, match=named):
        make("gmhra", **{"of": OF, **SMALL, **options})
