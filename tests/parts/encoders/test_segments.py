"""Drawn segments: the image encoder's own features, under a modality of their own."""

from __future__ import annotations

import torch

from tests.conftest import CLIP, picture
from tests.parts.encoders.contract import check_lengths_and_neighbours, check_options_rebuild, features, make

VISION = {"kind": "vision", "config": dict(CLIP)}
MEDIA = [picture(1), picture(2, (50, 90))]


def test_length_is_what_is_emitted_alone_or_in_a_batch():
    encoder = make("segments", of=VISION)
    assert encoder.modality == "segmentation"
    check_lengths_and_neighbours(encoder, MEDIA)
    check_options_rebuild(encoder, "segments", MEDIA)


def test_features_are_those_of_the_image_encoder():
    for a, b in zip(features(make("segments", of=VISION), MEDIA), features(make(**VISION), MEDIA), strict=True):
        assert torch.equal(a, b)
