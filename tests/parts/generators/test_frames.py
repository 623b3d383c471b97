"""Clips through a codec of pictures, one frame behind the other."""

from __future__ import annotations

import pytest
import torch

from polymodal.errors import MediaError, RecipeError
from polymodal.media import load_video
from tests.conftest import picture
from tests.parts.generators import contract
from tests.parts.generators.contract import make, random, targets
from tests.parts.generators.test_picture_codecs import CODECS

CLIPS = [load_video(([picture(10 * clip + frame) for frame in range(6)], 4.0)) for clip in (1, 2)]
NAMES = ["vq", "fsq", "autoencoder, patched", "patches"]


def clips(name: str, frames: int = 3, **options):
    return make("frames", of=CODECS[name], frames=frames, **options)


@pytest.mark.parametrize("name", NAMES)
def test_a_clip_has_the_codes_of_its_frames_and_is_made_the_same_again(name):
    codec = clips(name)
    assert (codec.takes, codec.positions) == (codec.of.takes, 3 * codec.of.positions)
    assert (codec.width, codec.vocabulary) == (codec.of.width, codec.of.vocabulary)
    contract.check_codec(codec, CLIPS)
    shown = [codec.of.prepare(frame) for frame in CLIPS[0].at([0.25, 0.75, 1.25])]
    whole = codec.encode(targets(codec, CLIPS[:1]))[0].unflatten(0, (3, -1))
    assert torch.allclose(whole.float(), codec.of.encode(torch.stack(shown)).float(), atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_options_and_weights_make_the_same_codec_again(name, tmp_path):
    contract.check_rebuilt(clips(name), "frames", CLIPS, tmp_path)


def test_encoding_and_making_change_no_weight():
    contract.check_frozen(clips("autoencoder, patched"), CLIPS)


def test_fitting_gives_clips_back_better():
    contract.check_fit(clips("fsq"), CLIPS)


def test_a_clip_is_shown_at_its_rate():
    made = clips("patches", frames=2, fps=5.0).make(torch.zeros(2, 32, 48), random())
    assert [(len(frames), rate) for frames, rate in made] == [(2, 5.0)] * 2
    assert load_video(made[0]).seconds == pytest.approx(0.4)


def test_a_still_picture_is_no_clip():
    with pytest.raises(MediaError, match="not from a Image"):
        clips("patches").prepare(picture())


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"of": {"kind": "patches", "size": 8, "patch": 4, "path": "x"}}, "'path' stands beside 'of'"),
        ({"of": {"kind": "frames", "of": CODECS["patches"]}}, "'of' is a codec of pictures, which 'frames' is not"),
        ({"of": {"kind": "fqs", "size": 8}}, "generator.of.kind 'fqs' is not known .did you mean 'fsq'"),
        ({"of": CODECS["patches"], "frames": 0}, "'frames'"),
    ],
)
def test_what_cannot_work_is_refused_by_name(options, named):
    with pytest.raises(RecipeError, match=named):
        make("frames", **options)
