"""A vocoder without weights gives back what its mels are of."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from polymodal.errors import RecipeError
from polymodal.parts.generators.griffin_lim import GriffinLim, magnitudes

RATE, SIZE, HOP, MELS = 8000, 512, 128, 48


def filters() -> np.ndarray:
    from transformers.audio_utils import mel_filter_bank

    return mel_filter_bank(SIZE // 2 + 1, MELS, 0.0, 4000.0, RATE, norm="slaney", mel_scale="slaney")


def vocoder(**options) -> GriffinLim:
    made = GriffinLim(RATE, HOP, MELS, **options)
    made.reads(filters())
    return made


def mels(samples: np.ndarray, floor: float = 1e-5) -> torch.Tensor:
    """[1, frames, MELS], frames centred on their hops."""
    wave = torch.nn.functional.pad(torch.from_numpy(samples)[None], ((SIZE - HOP) // 2,) * 2, mode="reflect")
    window = torch.hann_window(SIZE)
    loud = torch.stft(wave, SIZE, HOP, window=window, center=False, return_complex=True).abs()
    return (loud.transpose(1, 2) @ torch.from_numpy(filters()).float()).clamp(min=floor).log()


def tone(hertz: float, begins: float = 0.0) -> np.ndarray:
    at = np.arange(RATE) / RATE
    return (0.5 * np.sin(2 * np.pi * hertz * at) * (at >= begins)).astype(np.float32)


def test_its_sound_has_the_mels_that_it_was_made_of():
    wanted = mels(tone(440) + tone(900, begins=0.5))
    made = vocoder()(wanted)
    assert made.shape == (1, wanted.shape[1] * HOP)
    loud, again = wanted.exp(), mels(made[0].numpy()).exp()
    assert (loud - again).norm() / loud.norm() < 0.25


@pytest.mark.parametrize("hertz", [220.0, 700.0])
def test_a_tone_keeps_its_pitch(hertz):
    made = vocoder()(mels(tone(hertz)))[0].numpy()
    peak = np.abs(np.fft.rfft(made * np.hanning(len(made)))).argmax() * RATE / len(made)
    assert peak == pytest.approx(hertz, rel=0.05)


def test_a_tone_begins_when_it_did():
    made = vocoder()(mels(tone(600, begins=0.5)))[0].numpy()
    assert np.abs(made[: int(0.45 * RATE)]).max() < 0.1 * np.abs(made[int(0.55 * RATE) :]).max()


def test_the_same_mels_sound_the_same_whatever_is_beside_them():
    one, two = mels(tone(300)), mels(tone(800))
    torch.manual_seed(5)
    alone = vocoder()(one)
    torch.manual_seed(6)
    assert torch.equal(alone, vocoder()(one))
    assert torch.allclose(alone[0], vocoder()(torch.cat([one, two]))[0], atol=1e-4)


def test_silence_is_silent():
    made = vocoder(floor=1e-3)
    assert made(mels(np.zeros(RATE, np.float32), floor=1e-3)).abs().max() == 0


def test_standardised_mels_are_read_as_what_they_are():
    plain = mels(tone(440))
    assert torch.allclose(vocoder()(plain), vocoder(mean=-5.0, scale=2.0)((plain + 5) / 2), atol=1e-4)


def test_magnitudes_are_those_of_the_mels_and_none_is_negative():
    bank = torch.from_numpy(filters()).float()
    wanted = torch.rand(3, SIZE // 2 + 1, generator=torch.Generator().manual_seed(0)) @ bank
    found = magnitudes(wanted, bank)
    assert found.min() >= 0
    assert (found @ bank - wanted).norm() / wanted.norm() < 0.02


def test_it_has_nothing_to_learn_or_to_keep():
    assert not vocoder().state_dict()


def test_what_cannot_be_is_refused():
    with pytest.raises(RecipeError, match="'scale' is 0"):
        GriffinLim(RATE, HOP, MELS, scale=0.0)
    with pytest.raises(RecipeError, match="a hop of 512 leaves gaps between windows of 512"):
        GriffinLim(RATE, SIZE, MELS).reads(filters())
