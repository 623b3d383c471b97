from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from polymodal.errors import CheckpointError, RecipeError
from polymodal.parts.generators.hifigan import HifiGan

TINY = {"latent_width": 6, "channels": 8, "upsample": [[4, 8], [2, 4]], "residual": [[3, [1, 2]], [5, [2, 6]]]}


def test_a_frame_becomes_a_hop_of_samples_and_the_gradient_reaches_it():
    decoder = HifiGan(**TINY)
    assert decoder.hop == 8
    z = torch.randn(2, 6, 5, requires_grad=True)
    wave = decoder(z)
    assert wave.shape == (2, 1, 40)
    assert wave.abs().max() <= 1
    wave.square().mean().backward()
    assert (z.grad != 0).all()


def test_it_is_loaded_strictly(tmp_path):
    from safetensors.torch import save_file

    with pytest.raises(RecipeError, match="no config.json"):
        HifiGan.from_pretrained(str(tmp_path))
    (tmp_path / "config.json").write_text(json.dumps(TINY))
    decoder = HifiGan(**TINY)
    save_file(decoder.state_dict(), tmp_path / "model.safetensors")
    z = torch.randn(1, 6, 3)
    assert torch.equal(HifiGan.from_pretrained(str(tmp_path))(z), decoder(z))
    save_file({k: v for k, v in decoder.state_dict().items() if k != "ups.0.bias"}, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"ups\.0\.bias"):
        HifiGan.from_pretrained(str(tmp_path))


@pytest.mark.weights
def test_the_decoder_of_piper_says_what_its_graph_says():
    from polymodal import assets
    from polymodal.parts.voices.phonemes import phonemes
    from polymodal.parts.voices.piper import PiperVoice
    from polymodal.parts.voices.session import session

    voice = PiperVoice.find(assets.path("piper-joe"), assets.path("espeak-ng"))
    sounds = phonemes(["Hello world."], voice.espeak, voice.language)[0]
    wave, latents = voice.latents(session(voice.model, 0, also=PiperVoice.LATENTS), sounds, ".", (0.667, 1.0, 0.8))
    decoder = HifiGan.from_pretrained("asset:piper-joe-decoder")
    with torch.no_grad():
        ours = decoder(torch.from_numpy(latents)[None])[0, 0].numpy()
    assert ours.shape == wave.shape
    assert np.abs(wave).max() > 0.1
    assert np.abs(ours - wave).max() < 1e-4
