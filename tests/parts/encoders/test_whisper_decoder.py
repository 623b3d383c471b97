"""Whisper with its decoder: its features are the states of a greedy transcript, as many as were promised."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from polymodal import assets, media
from polymodal.errors import RecipeError
from polymodal.evaluation.metrics import word_errors
from polymodal.parts.encoders import whisper_decoder
from polymodal.parts.encoders.whisper_decoder import WhisperDecoder
from tests.conftest import WHISPER
from tests.parts.encoders.contract import check_lengths_and_neighbours, check_options_rebuild, features, make

TEXTS = [f" {i}" for i in range(WHISPER["vocab_size"])]
EXAMPLES = Path(__file__).resolve().parents[3] / "examples"


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, int(16000 * seconds)).astype(np.float32)


def random(texts: list[str] = TEXTS, first: int = 59) -> WhisperDecoder:
    """Random, and lively enough to write different tokens one after the other, of different recordings. `first`: of its
    time stamps."""
    encoder = make("whisper-decoder", config=dict(WHISPER), prompt=[1, first], texts=texts)
    generator = torch.Generator().manual_seed(3)
    for weight in encoder.parameters():
        if weight.ndim > 1:
            torch.nn.init.normal_(weight, std=0.3, generator=generator)
    return encoder


def written(encoder: WhisperDecoder, rows: torch.Tensor) -> list[int]:
    return encoder.logits(rows).argmax(-1).tolist()


def test_length_is_what_is_emitted_alone_or_in_a_batch():
    recordings = [noise(0.4), noise(2.345, 3), noise(0.02, 1), noise(26, 2), noise(0.4, 4)]
    check_lengths_and_neighbours(random(), recordings)
    assert [len(rows) for rows in features(random(), recordings)] == [6, 14, 5, (100 + 4) + (4 + 4), 6]


def test_options_and_weights_make_the_same_encoder_again():
    check_options_rebuild(random(), "whisper-decoder", [noise(0.4), noise(1.5, 1)])


def test_features_are_the_states_of_its_own_transcript():
    """Read in one go, without a cache, the tokens that it wrote give the states that it emitted."""
    encoder = random()
    (rows,) = features(encoder, [noise(1)])
    ids = written(encoder, rows)
    assert len(set(ids)) > 2
    with torch.no_grad():
        heard = encoder._encode(encoder.prepare(noise(1))["input_features"])
        asked = torch.tensor([[*encoder.prompt, *ids[:-1]]])
        states = encoder.decoder(input_ids=asked, encoder_hidden_states=heard).last_hidden_state[0]
    assert torch.allclose(states[len(encoder.prompt) - 1 :], rows, atol=1e-4)


def cut_at(texts: set[int], first: int = 59) -> WhisperDecoder:
    """One that writes the same, of whose tokens these write nothing; from `first` on they are time stamps."""
    return random([("" if i in texts else text) for i, text in enumerate(TEXTS)], first)


def test_the_state_that_ended_a_transcript_fills_what_is_left():
    (rows,) = features(random(), [noise(2)])
    ids = written(random(), rows)
    end = next(i for i in range(2, len(ids)) if ids[i] not in ids[:i])
    cut = cut_at({ids[end]})
    other, left = features(cut, [noise(2, 7), noise(2)])
    assert torch.allclose(left[: end + 1], rows[: end + 1], atol=1e-4)
    assert torch.equal(left[end:], left[end].expand(len(left) - end, -1))
    assert torch.allclose(other, features(cut, [noise(2, 7)])[0], atol=1e-4)  # a neighbour that ends early ends nobody


def test_a_time_stamp_before_the_end_ends_nothing_and_gets_no_feature():
    """What is said behind a pause was lost: the first time stamp ended every transcript."""
    (rows,) = features(random(first=5), [noise(2)])
    ids = written(random(first=5), rows)
    mark = next(i for i in range(2, len(ids)) if ids[i] not in ids[:i] and ids[i] >= 5)
    (kept,) = features(cut_at({ids[mark]}, first=5), [noise(2)])
    said = [i for i in range(len(ids)) if ids[i] != ids[mark]]
    assert said[-1] > mark
    assert torch.allclose(kept[: len(said)], rows[said], atol=1e-4)


@pytest.mark.parametrize(("second", "ends"), [(0.45, False), (0.55, True)])
def test_a_time_stamp_ends_the_transcript_from_half_a_second_before_the_end(monkeypatch, second, ends):
    (rows,) = features(random(first=7), [noise(1)])
    ids = written(random(first=7), rows)
    mark = next(i for i in range(1, len(ids) - 2) if ids[i] not in ids[:i] and ids[i] > 7)
    monkeypatch.setattr(whisper_decoder, "STAMP", second / (ids[mark] - 7))
    (kept,) = features(cut_at({ids[mark]}, first=7), [noise(1)])
    assert torch.equal(kept[mark:], kept[mark].expand(len(kept) - mark, -1)) == ends


def test_a_window_that_another_follows_is_read_to_its_end(monkeypatch):
    """Its last half second is in no other window."""
    monkeypatch.setattr(whisper_decoder, "SPAN", 1.0)
    (rows,) = features(random(first=7), [noise(2)])
    ids = written(random(first=7), rows)
    for begin, ends in ((0, False), (8, True)):  # of windows of 8 positions
        mark = next(i for i in range(begin + 1, begin + 6) if ids[i] not in ids[begin:i] and ids[i] > 7)
        monkeypatch.setattr(whisper_decoder, "STAMP", 0.75 / (ids[mark] - 7))
        (kept,) = features(cut_at({ids[mark]}, first=7), [noise(2)])
        left = kept[mark : begin + 8]
        assert torch.equal(left, left[:1].expand(len(left), -1)) == ends


def test_marks_beside_longer_neighbours_give_the_same():
    recordings = [noise(1, 3), noise(2.4, 5), noise(0.4, 2)]  # of one shape, with 8, 14 and 6 positions
    encoder = cut_at(set(range(40, 50)) | {0, 2}, first=5)
    check_lengths_and_neighbours(encoder, recordings)


def test_what_a_random_one_needs_is_said():
    with pytest.raises(RecipeError, match="needs 'prompt' and 'texts'"):
        make("whisper-decoder", config=dict(WHISPER))
    with pytest.raises(RecipeError, match=r"more 'texts' \(61\)"):
        random([*TEXTS, " more"])


@pytest.mark.weights
def test_an_unknown_language_is_an_error_with_the_nearest():
    with pytest.raises(RecipeError, match=r"no language 'deu' .did you mean"):
        make("whisper-decoder", path="asset:whisper-base", language="deu")


@pytest.mark.weights
def test_it_writes_down_what_is_said():
    encoder = make("whisper-decoder", path="asset:whisper-base")
    beckett = assets.path("beckett-wav") / "beckett.wav"
    sounds = [media.load_audio(file.read_bytes()) for file in (EXAMPLES / "sentence.flac", beckett)]
    sentence = (EXAMPLES / "sentence.txt").read_text(encoding="utf-8")
    said = [sentence, "Ever tried. Ever failed. No matter. Try again. Fail again. Fail better."]
    for text, rows in zip(said, features(encoder, sounds), strict=True):
        heard = "".join(encoder.writing.texts[i] for i in written(encoder, rows))
        assert word_errors(text, heard)[0] == 0


@pytest.mark.weights
def test_it_writes_down_what_is_said_behind_a_pause():
    encoder = make("whisper-decoder", path="asset:whisper-base")
    said = media.load_audio((EXAMPLES / "sentence.flac").read_bytes())
    (rows,) = features(encoder, [np.concatenate([said, np.zeros(5 * 16000, np.float32), said])])
    heard = "".join(encoder.writing.texts[i] for i in written(encoder, rows))
    assert word_errors(2 * (EXAMPLES / "sentence.txt").read_text(encoding="utf-8"), heard)[0] == 0
