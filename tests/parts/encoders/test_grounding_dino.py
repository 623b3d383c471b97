"""Grounding DINO as transformers saves it: cells of the scales that are asked for, which know what is looked for."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import transformers

from polymodal.errors import RecipeError
from polymodal.parts.tiny_encoders import GROUNDING_DINO as TINY
from tests.conftest import picture
from tests.parts.encoders.contract import check_lengths_and_neighbours, check_options_rebuild, features, make

CONFIG, LOOKING, SIZE = TINY["config"], TINY["ids"], TINY["preprocessor"]
MEDIA = [picture(1, (40, 30)), picture(2, (50, 90)), picture(3, (61, 61))]


def saved(folder: Path) -> tuple[dict, list]:
    """The whole detector of tiny width in a folder, what a recipe needs to read it, and media for it."""
    torch.manual_seed(0)
    options = {key: value for key, value in CONFIG.items() if key != "model_type"}
    transformers.GroundingDinoForObjectDetection(transformers.GroundingDinoConfig(**options)).save_pretrained(folder)
    transformers.GroundingDinoImageProcessorPil(**SIZE).save_pretrained(folder)
    words = {101: "[CLS]", 102: "[SEP]", 1012: ".", 7: "cat", 9: "dog", 0: "[PAD]", 100: "[UNK]", 103: "[MASK]"}
    vocabulary = {words.get(i, f"[unused{i}]"): i for i in range(1040)}
    transformers.BertTokenizer(vocab=vocabulary).save_pretrained(folder)
    return {"path": str(folder)}, MEDIA


@pytest.mark.parametrize("levels", [[0], [2], [3], [3, 1]])
def test_length_is_what_is_emitted_alone_or_in_a_batch(levels):
    encoder = make("grounding-dino", **TINY, levels=levels)
    check_lengths_and_neighbours(encoder, MEDIA)
    check_options_rebuild(encoder, "grounding-dino", MEDIA)


def test_scales_halve_and_round_up():
    encoder = make("grounding-dino", **TINY)
    assert encoder._sizes({"pixel_values": torch.zeros(3, 96, 107)}) == [12 * 14, 6 * 7, 3 * 4, 2 * 2]


def test_a_saved_detector_gives_the_states_of_its_own_encoder(tmp_path):
    options, media = saved(tmp_path)
    encoder = make("grounding-dino", **options, names=["Cat", "dog"], levels=[0, 1, 2, 3])
    assert encoder.options["ids"] == LOOKING
    check_options_rebuild(encoder, "grounding-dino", media)
    whole = transformers.GroundingDinoForObjectDetection.from_pretrained(tmp_path).eval()
    pixels = encoder.prepare(media[1])["pixel_values"][None]
    with torch.no_grad():
        states = whole(pixel_values=pixels, input_ids=torch.tensor([LOOKING])).encoder_last_hidden_state_vision
    assert torch.allclose(features(encoder, media[1:2])[0], states[0], atol=1e-5)


def test_what_is_looked_for_changes_what_is_seen(tmp_path):
    options, media = saved(tmp_path)
    cat, dog = (features(make("grounding-dino", **options, names=[name]), media)[0] for name in ("cat", "dog"))
    assert not torch.allclose(cat, dog, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"config": CONFIG}, "needs 'names' beside 'path', or 'ids' beside 'config'"),
        ({"path": "a/b"}, "needs 'names' beside 'path'"),
        ({"config": {"model_type": "swin"}, "ids": LOOKING}, "takes Grounding DINO, not 'swin'"),
        ({**TINY, "levels": [4]}, "has 4 'levels', counted from 0"),
    ],
)
def test_a_recipe_that_cannot_be_is_refused(options, says):
    with pytest.raises(RecipeError, match=says):
        make("grounding-dino", **options)
