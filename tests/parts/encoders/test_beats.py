"""BEATs: the authors' names and shapes, its positions and its inputs."""

from __future__ import annotations

from math import log
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers.models.wavlm.modeling_wavlm import WavLMAttention

from polymodal.errors import MediaError, RecipeError
from polymodal.parts.encoders.beats import MEAN, PUBLISHED, SPREAD, WINDOW
from polymodal.parts.encoders.beats_network import BUCKETS, DISTANCE, Attention, Beats, Places, biases, buckets
from tests.parts.encoders.contract import check_lengths_and_neighbours, check_options_rebuild, features, make
from tests.parts.encoders.published import published, save, shapes

TINY = {"width": 32, "depth": 2, "heads": 2, "hidden": 48, "embedding": 24}


def noise(seed: int, seconds: float) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, int(16000 * seconds)).astype(np.float32)


MEDIA = [noise(0, 1.0), noise(1, 0.4)]


def released(file: Path) -> tuple[dict, list]:
    """A tiny file as the authors lay theirs out, fine-tuned, what a recipe needs to read it, and media for it."""
    torch.manual_seed(1)
    classifier = {"predictor.weight": torch.randn(5, 32), "predictor.bias": torch.randn(5)}
    save(Beats(**TINY), file, "model", **classifier)
    torch.save({"cfg": {"encoder_layers": 2}, **torch.load(file)}, file)
    return {"path": str(file), "config": TINY}, MEDIA


def test_the_state_dict_is_the_published_one_name_for_name_and_shape_for_shape():
    with torch.device("meta"):
        network = Beats(**PUBLISHED)
    assert shapes(network) == published("beats")
    assert 90e6 < sum(tensor.numel() for tensor in network.parameters()) < 91e6  # 90 million, as its authors say


def test_length_is_what_is_emitted_alone_or_in_a_batch():
    encoder = make("beats", config=TINY)
    assert [encoder.length(encoder.prepare(one)) for one in MEDIA] == [48, 16]  # 98 and 38 frames
    check_lengths_and_neighbours(encoder, MEDIA)


def test_options_and_weights_make_the_same_encoder_again():
    check_options_rebuild(make("beats", config=TINY), "beats", MEDIA)


def test_the_authors_file_is_read_by_name_without_its_classifier(tmp_path):
    options, media = released(tmp_path / "beats.pt")
    loaded, other = make("beats", **options), make("beats", config=TINY)
    assert not torch.allclose(features(loaded, media)[0], features(other, media)[0], atol=1e-3)
    held = torch.load(options["path"])["model"]
    for name, tensor in loaded.network.state_dict().items():
        assert torch.equal(tensor, held[name]), name
    torch.save({"weights": held}, tmp_path / "beats.pt")
    with pytest.raises(RecipeError, match="has no 'model'"):
        make("beats", **options)


def test_near_distances_have_a_bucket_each_and_no_two_sides_share_one():
    distances = torch.arange(-2000, 2001)
    found = buckets(distances)
    before, behind = found[:2000].flip(0), found[2001:]
    assert torch.equal(behind, before + BUCKETS // 2)
    assert found[2000] == 0
    assert before[:79].tolist() == list(range(1, 80))
    assert (before[1:] >= before[:-1]).all()
    assert before[DISTANCE - 1 :].eq(BUCKETS // 2 - 1).all()
    assert before[399] == 80 + int(log(400 / 80) / log(DISTANCE / 80) * 80)


def test_attention_is_wavlms_where_queries_are_their_inputs():
    """transformers has it under other names, but for what its gates read: the inputs, and here the queries."""
    torch.manual_seed(0)
    ours = Attention(32, 2).eval()
    theirs = WavLMAttention(32, 2, num_buckets=BUCKETS, max_distance=DISTANCE).eval()
    names = {
        "grep_linear": "gru_rel_pos_linear",
        "grep_a": "gru_rel_pos_const",
        "relative_attention_bias": "rel_attn_embed",
    }
    torch.nn.init.normal_(ours.grep_a)
    torch.nn.init.eye_(ours.q_proj.weight)
    torch.nn.init.zeros_(ours.q_proj.bias)

    def renamed(name: str) -> str:
        first, dot, rest = name.partition(".")
        return names.get(first, first) + dot + rest

    theirs.load_state_dict({renamed(name): tensor for name, tensor in ours.state_dict().items()})
    x = torch.randn(2, 200, 32)
    with torch.no_grad():
        expected, *_ = theirs(x)
        assert torch.allclose(ours(x, biases(ours.relative_attention_bias.weight, 200)), expected, atol=1e-5)


def test_the_weight_of_each_place_is_normalised_as_by_torch():
    torch.manual_seed(0)
    ours = Places(32)
    torch.nn.init.uniform_(ours.weight_g)
    theirs = torch.nn.Conv1d(32, 32, 128, padding=64, groups=16)
    theirs = torch.nn.utils.parametrizations.weight_norm(theirs, dim=2)
    theirs.load_state_dict(ours.state_dict())  # torch reads the older names too
    x = torch.randn(2, 32, 50)
    with torch.no_grad():
        assert torch.allclose(ours(x), theirs(x)[..., :50], atol=1e-5)


def test_all_layers_share_one_table_of_distances():
    layers = Beats(**TINY).encoder.layers
    assert layers[0].self_attn.relative_attention_bias is layers[1].self_attn.relative_attention_bias


def test_what_is_less_than_a_patch_at_the_end_is_cut_and_changes_nothing():
    encoder = make("beats", config=TINY)
    long = noise(0, 1.0)
    (whole,) = features(encoder, [long])
    (cut,) = features(encoder, [long[: 400 + 95 * 160]])  # 96 frames are 6 patches
    assert torch.equal(whole, cut)
    with pytest.raises(MediaError, match=r"0\.170 s is too short for this encoder \(0\.175 s\)"):
        encoder.prepare(noise(0, 0.17))


def test_a_full_scale_sine_is_standardised_as_16_bit_samples():
    time = np.arange(16000) / 16000
    bank = make("beats", config=TINY).prepare(np.sin(2 * np.pi * 1000 * time).astype(np.float32))["bank"]
    loudest = float(bank.max()) * SPREAD + MEAN
    assert loudest == pytest.approx(2 * log(32768 * 0.766 * 185 / 2), abs=1.5)  # gain of pre-emphasis, sum of the window


def test_a_long_recording_is_encoded_window_by_window():
    encoder = make("beats", config=TINY)
    bank = torch.randn(WINDOW + 32, 128)
    with torch.no_grad():
        whole, first, rest = encoder([{"bank": part} for part in (bank, bank[:WINDOW], bank[WINDOW:])]).tokens
    assert torch.allclose(whole, torch.cat((first, rest)), atol=1e-5)
