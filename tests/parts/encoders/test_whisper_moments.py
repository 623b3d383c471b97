"""What Whisper's early layers know of a sound: the same two features with its decoder and without."""

from __future__ import annotations

import pytest
import torch

from polymodal.errors import RecipeError
from polymodal.parts.encoders.whisper import WhisperSpeech
from tests.conftest import WHISPER
from tests.parts.encoders.contract import check_lengths_and_neighbours, check_options_rebuild, features, make
from tests.parts.encoders.test_whisper_decoder import TEXTS, noise

WINDOW = {**WHISPER, "max_source_positions": 50}  # windows of one second


def encoder(**options) -> WhisperSpeech:
    return make("whisper", **{"config": dict(WINDOW), "moments": 1, **options})


def test_moments_are_the_mean_and_deviation_of_a_layer_over_the_recording():
    plain = encoder(moments=None)
    states = []
    plain.network.layers[0].register_forward_hook(lambda module, inputs, out: states.append(out))
    with torch.no_grad():
        plain([plain.prepare(noise(2.5))])
    heard = torch.cat(states, dim=1)[0]  # of three windows
    (rows,) = features(encoder(), [noise(2.5)])
    torch.testing.assert_close(rows, torch.stack((heard.mean(0), heard.std(0, correction=0))))


def test_two_features_whatever_the_length_alone_or_in_a_batch():
    check_lengths_and_neighbours(encoder(), [noise(0.4), noise(2.3, 1), noise(0.4, 2)])
    check_options_rebuild(encoder(), "whisper", [noise(0.4), noise(1.5, 1)])


def test_with_the_decoder_the_same_two_features_stand_first():
    """So that a projector which learned from one reads the other."""
    options = {"config": dict(WHISPER), "prompt": [1, 5], "texts": TEXTS}
    with_sound, without = make("whisper-decoder", **options, moments=2), make("whisper-decoder", **options)
    recordings = [noise(0.4), noise(1.7, 1), noise(0.4, 2)]
    check_lengths_and_neighbours(with_sound, recordings)
    check_options_rebuild(with_sound, "whisper-decoder", recordings)
    alone = encoder(config=dict(WHISPER), moments=2)
    alone.network.load_state_dict(with_sound.network.state_dict())
    for rows, two, words in zip(*(features(e, recordings) for e in (with_sound, alone, without)), strict=True):
        torch.testing.assert_close(rows[:2], two)
        torch.testing.assert_close(rows[2:], words)


def test_layers_that_it_does_not_have_are_refused():
    with pytest.raises(RecipeError, match=f"option 'moments': 9 layers, but it has {WINDOW['encoder_layers']}"):
        encoder(moments=9)
