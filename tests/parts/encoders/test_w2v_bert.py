"""w2v-BERT 2.0: features of frames that were really there, and none of chance or of an adapter."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import transformers

from polymodal.errors import MediaError, RecipeError
from polymodal.parts.tiny_encoders import W2V_BERT
from tests.conftest import sound
from tests.parts.encoders.contract import check_lengths_and_neighbours, check_options_rebuild, features, make
from tests.parts.encoders.test_audio import noise

MEDIA = [noise(0.4), sound(0.05)[0], noise(1.345, 3)]


def saved(folder: Path) -> tuple[dict, list]:
    """A model tuned for transcripts, with an adapter, in a folder; what a recipe needs to read it, and media for it."""
    torch.manual_seed(0)
    options = {key: value for key, value in W2V_BERT.items() if key != "model_type"}
    config = transformers.Wav2Vec2BertConfig(**options, add_adapter=True, vocab_size=20)
    transformers.Wav2Vec2BertForCTC(config).save_pretrained(folder)
    transformers.SeamlessM4TFeatureExtractor().save_pretrained(folder)
    return {"path": str(folder)}, MEDIA


def test_length_is_what_is_emitted_alone_or_in_a_batch():
    encoder = make("w2v-bert", config=W2V_BERT)
    check_lengths_and_neighbours(encoder, MEDIA)
    check_options_rebuild(encoder, "w2v-bert", MEDIA)
    assert encoder.length(encoder.prepare(noise(1.0))) == 49  # 98 frames


def test_a_saved_model_gives_the_states_before_its_adapter(tmp_path):
    options, media = saved(tmp_path)
    encoder = make("w2v-bert", **options)
    whole = transformers.Wav2Vec2BertForCTC.from_pretrained(tmp_path).eval().wav2vec2_bert
    whole.adapter = None
    prepared = encoder.extractor(
        media[0], sampling_rate=16000, return_tensors="pt"
    )  # padded and masked as transformers does
    with torch.no_grad():
        expected = whole(**prepared).last_hidden_state[0][prepared["attention_mask"][0].bool()]
    assert torch.allclose(features(encoder, media[:1])[0], expected[:19], atol=1e-4)


def test_what_is_too_short_or_no_such_network_is_refused():
    with pytest.raises(MediaError, match=r"0\.034 s is too short for this encoder \(0\.035 s\)"):
        make("w2v-bert", config=W2V_BERT).prepare(noise(0.034))
    with pytest.raises(RecipeError, match="takes w2v-BERT 2.0, not 'swin'"):
        make("w2v-bert", config={"model_type": "swin"})
