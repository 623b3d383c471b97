"""Speech through a frozen decoder, on tiny random networks."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from polymodal.errors import MediaError, RecipeError
from polymodal.parts.base import build
from polymodal.parts.generators import GENERATORS
from polymodal.parts.generators.latent_speech import LatentSpeech
from polymodal.parts.output import Target

DECODER = {"latent_width": 6, "channels": 8, "upsample": [[4, 8], [2, 4]], "residual": [[3, [1, 2]]], "sample_rate": 8000}
LETTERS = {  # T5 without a layer: a vector for each byte
    **{"model_type": "t5", "d_model": 16, "d_kv": 8, "num_heads": 2, "d_ff": 8, "num_layers": 0, "vocab_size": 384},
}


def generator(**options) -> LatentSpeech:
    torch.manual_seed(0)
    options = {"conditions": {"config": LETTERS, "positions": 8}, "config": DECODER, "frames": 20, "steps": 3} | options
    return build(
        "generator", GENERATORS, {"kind": "latent-speech", "network": {"width": 16, "layers": 2}, **options}
    ).eval()


def latents(frames: int, value: float = 0.0) -> torch.Tensor:
    return torch.full((6, frames), value) + torch.linspace(-1, 1, frames)


def test_loss_reaches_the_condition_and_not_the_decoder():
    made = generator()
    targets = torch.stack([made.prepare(latents(12)), made.prepare(latents(7))])
    condition = torch.randn(2, 8, 16, requires_grad=True)
    loss = made.loss(targets, condition)
    assert loss.shape == (2,)
    loss.sum().backward()
    assert condition.grad.flatten(1).norm(dim=1).gt(0).all()
    assert all(parameter.grad is None for parameter in made.decoder.parameters())


def test_a_target_lasts_as_long_as_its_frames_and_its_last_goes_on():
    made = generator()
    target = made.prepare(latents(12).numpy())
    assert target.shape == (7, 20)
    assert target[-1].tolist() == [1.0] * 12 + [0.0] * 8
    assert torch.equal(target[:6, :12], latents(12))
    assert (target[:6, 12:] == latents(12)[:, -1:]).all()


def test_a_seed_says_the_same_and_each_condition_at_its_own_length():
    made, condition = generator(), torch.randn(3, 8, 16) * torch.tensor([0.1, 1.0, 5.0])[:, None, None]
    first, again, other = (made.make(condition, torch.Generator().manual_seed(seed)) for seed in (3, 3, 4))
    assert all(np.array_equal(a[0], b[0]) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0][0], other[0][0])
    for (wave, rate), one in zip(first, condition, strict=True):
        frames = max(1, min(round(made.network.frames(one[None]).item()), 20))
        assert (len(wave), wave.dtype, rate) == (frames * made.decoder.hop, np.float32, 8000)
    alone = made.make(condition[:1], torch.Generator().manual_seed(3))
    assert np.array_equal(alone[0][0], first[0][0])


def test_a_condition_learns_its_frames_and_how_long_they_last():
    made = generator()
    words = ["ab", "abcdef"]
    targets = torch.stack([made.prepare(latents(6, 2.0)), made.prepare(latents(16, -2.0))])
    condition = made.condition([Target(word) for word in words])
    assert condition.shape == (2, 8, 16)
    made.train()
    optimizer = torch.optim.Adam(made.network.parameters(), lr=5e-3)
    for _ in range(250):
        optimizer.zero_grad()
        made.loss(targets.repeat(8, 1, 1), condition.repeat(8, 1, 1)).mean().backward()
        optimizer.step()
    made.eval()
    assert made.network.frames(condition).tolist() == pytest.approx([6, 16], abs=1.5)
    for target, one in zip(targets, condition, strict=True):
        z = made.denoised(one[None], (6, 16), torch.Generator().manual_seed(0))
        said = made.scale.back(z.transpose(1, 2)).transpose(1, 2)[0]
        assert (said - target[:6, :16]).abs().mean() < 0.5


def test_options_rebuild_it():
    made = generator(guidance=2.0)
    again = LatentSpeech(**made.options)
    again.load_state_dict(made.state_dict())
    one, two = (each.make(torch.ones(1, 8, 16), torch.Generator().manual_seed(0))[0] for each in (made, again.eval()))
    assert np.array_equal(one[0], two[0])


def test_what_cannot_be_is_refused():
    for wrong in (np.zeros(16000, np.float32), latents(21), latents(3)[:5], latents(0)):
        with pytest.raises(MediaError, match=r"latent frames \[6, up to 20\] are wanted"):
            generator().prepare(wrong)
    with pytest.raises(RecipeError, match="either 'path'"):
        generator(config=None)
    with pytest.raises(RecipeError, match=r"generator\.network 'aligned' has no option 'widht'"):
        generator(network={"widht": 8})
    with pytest.raises(RecipeError, match="not of texts"):
        generator().make(["a word"], torch.Generator())


@pytest.mark.weights
def test_a_teacher_says_captions_and_they_are_what_its_own_decoder_is_given():
    """The frames that are learned from make, decoded, the very recording of the voice."""
    options = {"path": "asset:piper-joe-decoder", "config": None, "frames": 172, "teacher": {}}
    made = generator(**options)
    target = made.taught("Good morning.")
    assert target is not None
    z = target[:-1, : int(target[-1].sum())]
    voice = build("generator", GENERATORS, {"kind": "voice"})
    ((said, rate),) = voice.make(["Good morning."], torch.Generator())
    with torch.no_grad():
        wave = made.decoder(z[None])[0, 0].numpy()
    assert (rate, len(wave)) == (made.decoder.sample_rate, len(said))
    assert np.abs(wave - said).max() < 1e-3 * max(1.0, np.abs(said).max())
    with pytest.raises(MediaError, match="takes .* frames to say; 'frames' of the generator are 172"):
        made.taught("This is a sentence that nobody could ever say in two seconds, however fast they spoke.")


def test_without_a_teacher_a_caption_teaches_nothing():
    assert generator().taught("Good morning.") is None
