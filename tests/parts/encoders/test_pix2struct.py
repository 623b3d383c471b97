"""Pix2Struct's encoder: as many patches as fit a picture's shape, and the tower of a whole checkpoint."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import transformers

from polymodal.errors import RecipeError
from polymodal.parts.tiny_encoders import PIX2STRUCT, WHOLE
from tests.conftest import picture
from tests.parts.encoders.contract import check_lengths_and_neighbours, check_options_rebuild, features, make

MEDIA = [picture(1, (40, 30)), picture(2, (9, 60)), picture(3, (50, 50))]
TINY = {key: value for key, value in WHOLE["pix2struct"].items() if key != "kind"}
SMALL = TINY["preprocessor"]


def saved(folder: Path) -> tuple[dict, list]:
    """A whole model of tiny width in a folder, what a recipe needs to read it, and media for it."""
    torch.manual_seed(0)
    vision = {key: value for key, value in PIX2STRUCT.items() if key != "model_type"}
    text = {"vocab_size": 20, "hidden_size": 16, "d_kv": 8, "d_ff": 24, "num_layers": 1, "num_heads": 2}
    config = transformers.Pix2StructConfig(vision_config=vision, text_config=text)
    transformers.Pix2StructForConditionalGeneration(config).save_pretrained(folder)
    transformers.Pix2StructImageProcessorPil(**SMALL, is_vqa=True).save_pretrained(folder)
    return {"path": str(folder)}, MEDIA


def test_length_is_what_is_emitted_alone_or_in_a_batch():
    encoder = make("pix2struct", **TINY)
    assert encoder.length(encoder.prepare(MEDIA[2])) == 16  # 4 x 4: 5 x 5 would be more than 20
    check_lengths_and_neighbours(encoder, MEDIA)
    check_options_rebuild(encoder, "pix2struct", MEDIA)


def test_most_bounds_the_patches_and_a_black_picture_has_them_too():
    encoder = make("pix2struct", **TINY, most=9)
    check_options_rebuild(encoder, "pix2struct", MEDIA)
    black = MEDIA[2].point(lambda value: 0)
    assert [len(tokens) for tokens in features(encoder, [MEDIA[2], black])] == [9, 9]


def test_the_tower_of_a_whole_checkpoint_is_taken_and_reads_no_question(tmp_path):
    options, media = saved(tmp_path / "whole")
    encoder = make("pix2struct", **options)
    whole = transformers.Pix2StructForConditionalGeneration.from_pretrained(options["path"]).eval()
    patches = encoder.prepare(media[0])["flattened_patches"][None]
    with torch.no_grad():
        expected = whole.encoder(patches, attention_mask=torch.ones(patches.shape[:2])).last_hidden_state[0]
    assert torch.allclose(features(encoder, media[:1])[0], expected, atol=1e-5)
    encoder.network.save_pretrained(tmp_path / "tower")
    encoder.processor.save_pretrained(tmp_path / "tower")
    again = make("pix2struct", path=str(tmp_path / "tower"))
    assert torch.equal(features(again, media[:1])[0], features(encoder, media[:1])[0])


def test_another_network_is_refused_by_name():
    with pytest.raises(RecipeError, match="takes Pix2Struct, not 'swin'"):
        make("pix2struct", config={"model_type": "swin"})
