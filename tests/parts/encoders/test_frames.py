"""Video as frames of an image encoder: as many as promised, at even times, whatever the image encoder is."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from polymodal.content import user, video
from polymodal.errors import MediaError, RecipeError
from polymodal.media import load_video
from polymodal.model.composition import Composition
from polymodal.model.generation import Sampling
from polymodal.parts import sources
from polymodal.parts.base import Features, build
from polymodal.parts.encoders import frames
from polymodal.parts.input_projectors import INPUT_PROJECTORS
from tests.conftest import CLIP, LLAMA, picture
from tests.parts.encoders.contract import check_lengths_and_neighbours, check_options_rebuild, features, make

OF = {"kind": "vision", "config": dict(CLIP)}
PATCHES = 16  # of CLIP, for one picture


def noise(count: int, rate: float = 4.0, seed: int = 0, size=(40, 30)):
    return [picture(100 * seed + i, size) for i in range(count)], rate


def seen(encoder, clip) -> list[int]:
    """Which of the shades 0, 1, 2 ... of a clip the image encoder is shown."""
    shown = []
    encoder.of.prepare = lambda image: shown.append(image.getpixel((0, 0))[0]) or {"x": torch.zeros(1)}
    encoder.prepare(load_video(clip))
    return shown


def shades(count: int, rate: float):
    return np.arange(count, dtype=np.uint8)[:, None, None, None].repeat(8, 1).repeat(8, 2).repeat(3, 3), rate


@pytest.mark.parametrize(
    ("options", "counts"), [({}, (5, 5, 5)), ({"frames": 2}, (2, 2, 2)), ({"fps": 2, "most": 6}, (2, 6, 1))]
)
def test_length_is_what_is_emitted_alone_or_in_a_batch(options, counts):
    encoder = make("frames", of=OF, **options)
    clips = [load_video(clip) for clip in (noise(4), noise(40, 4, seed=1, size=(9, 60)), noise(1, seed=2))]
    check_lengths_and_neighbours(encoder, clips)
    assert [encoder.length(encoder.prepare(clip)) for clip in clips] == [n * PATCHES for n in counts]


def test_options_and_weights_make_the_same_encoder_again():
    check_options_rebuild(make("frames", of=OF, frames=2), "frames", [load_video(noise(3))])


def test_features_are_those_of_each_picture_one_behind_the_other():
    encoder = make("frames", of=OF, frames=3)
    clip = noise(3)
    (whole,) = features(encoder, [load_video(clip)])
    assert torch.allclose(whole, torch.cat(features(encoder.of, clip[0])), atol=1e-5)


@pytest.mark.parametrize(
    ("options", "clip", "expected"),
    [
        ({}, shades(5, 1), [0, 1, 2, 3, 4]),
        ({}, shades(100, 25), [10, 30, 50, 70, 90]),
        ({"frames": 1}, shades(9, 1), [4]),
        ({}, shades(2, 1), [0, 0, 1, 1, 1]),
        ({"fps": 1}, shades(40, 10), [5, 15, 25, 35]),
        ({"fps": 10, "most": 2}, shades(40, 10), [10, 30]),
        ({"fps": 0.1}, shades(10, 10), [5]),
    ],
)
def test_frames_are_the_middles_of_equal_spans_of_time(options, clip, expected):
    assert seen(make("frames", of=OF, **options), clip) == expected


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"of": {**OF, "path": "x"}}, "'path' stands beside 'of'"),
        ({"of": {"kind": "waveform", "config": {"model_type": "hubert", "num_hidden_layers": 1}}}, "takes audio"),
        ({"of": {"kind": "visoin"}}, "encoder.of.kind 'visoin' is not known .did you mean 'vision'"),
        ({"of": OF, "frames": 0}, "'frames'"),
        ({"of": OF, "fps": 0}, "'fps'"),
    ],
)
def test_options_that_cannot_work_are_refused_by_name(options, named):
    with pytest.raises(RecipeError, match=named):
        make("frames", **options)


def temporal(**options):
    torch.manual_seed(0)
    return build("projector", INPUT_PROJECTORS, {"kind": "temporal", "hidden": 16, **options}, CLIP["hidden_size"], 32)


def test_a_temporal_projector_reads_the_order_of_frames():
    """Frame i of a shuffled clip does not become the position it had: it has changed from another one."""
    encoder, projector = make("frames", of=OF, frames=4), temporal(cells=PATCHES)
    images, rate = noise(4)
    order = [2, 0, 3, 1]
    with torch.no_grad():
        straight, mixed = (
            projector(Features(features(encoder, [load_video((clip, rate))])))[0].unflatten(0, (4, PATCHES))
            for clip in (images, [images[i] for i in order])
        )
    moved = (straight[order] - mixed).abs().amax((1, 2))
    assert (moved > 1e-4).all()
    backwards = projector(Features(features(encoder, [load_video((images[::-1], rate))])))[0].unflatten(0, (4, PATCHES))
    assert not torch.allclose(backwards.mean(0), straight.mean(0), atol=1e-4)  # not even their sum forgets it


def test_what_stands_still_has_no_difference_and_is_told_apart_by_time_alone():
    projector = temporal(cells=2)
    still = torch.randn(2, CLIP["hidden_size"]).repeat(3, 1)
    (rows,) = projector(Features([still]))
    assert torch.allclose(rows[:2], rows[2:4], atol=1e-6)
    torch.nn.init.normal_(projector.time)
    (rows,) = projector(Features([still]))
    assert torch.allclose(rows[2:4] - rows[:2], (projector.time[1] - projector.time[0])[:, 0].expand(2, -1), atol=1e-5)


@pytest.mark.parametrize(("n", "named"), [(5, "5 features are no frames of 2"), (8, "4 frames are over 3")])
def test_a_temporal_projector_refuses_what_is_no_clip_of_its(n, named):
    with pytest.raises(RecipeError, match=named):
        temporal(cells=2, frames=3).length(n)


@pytest.fixture(scope="module")
def model(tokenizer_folder):
    image = {"encoder": dict(OF), "projector": {"kind": "mlp"}}
    projector = {"kind": "temporal", "cells": PATCHES, "hidden": 16}
    clips = {"encoder": {"kind": "frames", "of": OF, "frames": 3}, "projector": projector}
    backbone = {"config": dict(LLAMA), "tokenizer": tokenizer_folder, "chat_format": "chatml"}
    return Composition.from_recipe({"model": {"backbone": backbone, "inputs": {"image": image, "video": clips}}})


def test_a_model_answers_about_a_picture_and_a_clip_and_survives_a_checkpoint(model, tmp_path):
    asked = {"images": [picture(1)], "videos": [noise(6), noise(2)], "sampling": Sampling(max_new_tokens=4)}
    answer = model.ask("what moves?", **asked)
    assert answer.tokens["media"] == PATCHES + 2 * 3 * PATCHES
    model.save(tmp_path / "model")
    assert Composition.load(tmp_path / "model").ask("what moves?", **asked).text == answer.text


def test_a_model_that_takes_no_clips_says_what_it_takes(tiny):
    with pytest.raises(MediaError, match="takes no video; it takes audio, image"):
        tiny.ask("what moves?", videos=[noise(2)])


def test_a_damaged_clip_is_refused_when_it_is_prepared(model):
    with pytest.raises(MediaError, match="<bytes> is not a clip"):
        model.processor.encode([user(video(b"words"))], generate=True)


def test_the_image_encoder_of_a_source_is_linked_and_not_copied(tokenizer_folder, tmp_path, monkeypatch):
    """Its weights are named once, at the level that checkpoints know of."""
    import transformers

    transformers.CLIPVisionModel(transformers.CLIPVisionConfig(**CLIP)).save_pretrained(tmp_path / "clip")
    transformers.CLIPImageProcessorPil(size={"height": 28, "width": 28}, crop_size=28).save_pretrained(tmp_path / "clip")
    monkeypatch.setattr("polymodal.parts.sources.assets.path", lambda name: tmp_path / name)
    monkeypatch.setattr("polymodal.parts.sources.assets.pin", lambda name: "a pin")
    encoder = {"kind": "frames", "of": {"kind": "vision", "layer": -2}, "path": "asset:clip", "frames": 2}
    inputs = {"video": {"encoder": encoder, "projector": {"kind": "temporal", "cells": PATCHES}}}
    backbone = {"config": dict(LLAMA), "tokenizer": tokenizer_folder, "chat_format": "chatml"}
    model = Composition.from_recipe({"model": {"backbone": backbone, "inputs": inputs}})
    model.save(tmp_path / "linked")
    assert not list((tmp_path / "linked").glob("*encoder*"))
    model.save(tmp_path / "whole", link=False)
    assert list((tmp_path / "whole").glob("inputs.video.encoder.safetensors"))
    monkeypatch.setattr("polymodal.parts.sources.assets.path", lambda name: tmp_path / "gone")
    clip = load_video(noise(3))
    (wanted,) = features(model.model.modalities["video"].encoder, [clip])
    (found,) = features(Composition.load(tmp_path / "whole").model.modalities["video"].encoder, [clip])
    assert torch.equal(found, wanted)
    assert sources.locate("asset:clip") == str(tmp_path / "gone")
    assert isinstance(model.model.modalities["video"].encoder, frames.Frames)
    assert isinstance(next(clip.at([0])), Image.Image)
