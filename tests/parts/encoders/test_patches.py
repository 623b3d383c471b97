"""Raw patches: Fuyu's own preparation, rows that end, and pixels that are all still there."""

from __future__ import annotations

import pytest
import torch
import transformers
from PIL import Image

from polymodal.errors import MediaError, RecipeError
from polymodal.parts.base import Features, build
from polymodal.parts.input_projectors import INPUT_PROJECTORS
from tests.conftest import picture
from tests.parts.encoders.contract import check_lengths_and_neighbours, check_options_rebuild, features, make

TINY = {"patch": 10, "largest": [60, 80]}
MEDIA = [picture(1, (35, 20)), picture(2, (80, 60)), picture(3, (200, 90)), picture(4, (7, 40))]


@pytest.mark.parametrize("rows", [True, False])
def test_length_is_what_is_emitted_alone_or_in_a_batch(rows):
    encoder = make("patches", **TINY, rows=rows)
    sizes = [(2, 4), (6, 8), (4, 8), (4, 1)]  # of 200 x 90 pixels 80 x 36
    assert [encoder.length(encoder.prepare(item)) for item in MEDIA] == [h * (w + rows) for h, w in sizes]
    check_lengths_and_neighbours(encoder, MEDIA)
    check_options_rebuild(encoder, "patches", MEDIA)


def test_a_patch_is_the_one_that_fuyu_cuts():
    """Padded to the largest size and cut there, by transformers' processor; the rows of it that hold this picture."""
    theirs = transformers.FuyuImageProcessorPil(size={"height": 60, "width": 80}, patch_size={"height": 10, "width": 10})
    encoder = make("patches", **TINY, rows=False)
    for item in MEDIA:
        ((padded,),) = theirs([[item]])["images"]
        height, width = encoder.prepare(item)["pixels"].shape[1:]
        expected = torch.from_numpy(theirs.patchify_image(padded[:, :height, :width])).float()
        assert torch.allclose(features(encoder, [item])[0], expected, atol=1e-6)


def test_the_end_of_a_row_is_one_learned_vector_to_a_linear_layer_and_no_patch_can_say_it():
    encoder = make("patches", **TINY)
    (tokens,) = features(encoder, [MEDIA[1]])
    ends = tokens.unflatten(0, (6, 9))[:, -1]
    assert torch.equal(ends, torch.nn.functional.one_hot(torch.full((6,), 300), 301).float())
    assert not tokens.unflatten(0, (6, 9))[:, :-1, -1].any()
    projector = build("projector", INPUT_PROJECTORS, {"kind": "linear"}, encoder.width, 8)
    (out,) = projector(Features([tokens]))
    assert torch.allclose(out[8::9], projector.layers[0].weight[:, -1] + projector.layers[0].bias, atol=1e-6)


def test_pictures_of_equal_area_differ_by_their_rows():
    encoder = make("patches", **TINY)
    wide, tall = (item.point(lambda value: 9) for item in (picture(1, (80, 20)), picture(1, (40, 40))))
    assert features(encoder, [wide])[0].shape != features(encoder, [tall])[0].shape
    bare = make("patches", **TINY, rows=False)
    assert torch.equal(*features(bare, [wide, tall]))


def test_a_patch_of_no_pixels_is_refused():
    with pytest.raises(RecipeError, match="'patch'"):
        make("patches", patch=0)


def test_a_picture_so_narrow_that_none_of_it_would_be_left_is_refused():
    encoder = make("patches", **TINY)
    height, width = encoder.largest
    with pytest.raises(MediaError, match=f"none when it fits into {width} x {height}"):
        encoder.prepare(Image.new("RGB", (3 * width, 1)))
    assert encoder.length(encoder.prepare(Image.new("RGB", (width, 1)))) > 0
