"""Sounds by diffusion, on tiny random networks: told as a class, as AudioLDM is, or looked at."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from polymodal.errors import MediaError, RecipeError
from polymodal.parts.base import build
from polymodal.parts.generators import GENERATORS
from polymodal.parts.generators.audio_diffusion import FLOOR, AudioDiffusion
from polymodal.parts.output import Target
from tests.parts.generators.test_diffusion import FLOW, KL, TEXTS, UNET

CLASSED = {
    **UNET,
    **{
        "class_embed_type": "simple_projection",
        "projection_class_embeddings_input_dim": 12,
        "class_embeddings_concat": True,
    },
    "cross_attention_dim": [8, 16],
}
MEL = {**KL, "in_channels": 1, "out_channels": 1}
VOCODER = {
    **{"model_in_dim": 8, "sampling_rate": 8000, "upsample_initial_channel": 8, "upsample_rates": [4, 4]},
    **{"upsample_kernel_sizes": [8, 8], "resblock_kernel_sizes": [3], "resblock_dilation_sizes": [[1, 3]]},
    "normalize_before": False,
}
ONE = {**TEXTS, "positions": 1, "pooled": True}
CONFIGS = {
    "class": {"unet": CLASSED, "vae": MEL, "scheduler": {"_class_name": "DDIMScheduler"}, "vocoder": VOCODER},
    "cross": {"unet": UNET, "vae": MEL, "scheduler": FLOW, "vocoder": VOCODER},
}
SHAPES = {"class": (1, 12), "cross": (5, 12)}


def generator(name: str = "class", **options) -> AudioDiffusion:
    torch.manual_seed(0)
    options = {
        "conditions": ONE if name == "class" else TEXTS,
        "seconds": 0.25,
        "n_fft": 64,
        "high": 4000,
        "steps": 2,
    } | options
    made = build("generator", GENERATORS, {"kind": "audio-diffusion", "config": CONFIGS[name]} | options).eval()
    for parameter in made.network.parameters():  # some are zero at first, and nothing would pass them
        torch.nn.init.normal_(parameter, std=0.2)
    return made


def tone(hertz: float, seconds: float = 0.3) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(int(16000 * seconds)) / 16000)).astype(np.float32)


def targets(of: AudioDiffusion) -> torch.Tensor:
    return torch.stack([of.prepare(tone(500)), of.prepare(tone(2500, 0.1))])


@pytest.mark.parametrize("name", CONFIGS)
def test_loss_reaches_the_condition_of_a_frozen_generator(name):
    made = generator(name).requires_grad_(False)
    condition = torch.randn(2, *SHAPES[name], requires_grad=True)
    loss = made.loss(targets(made), condition)
    assert loss.shape == (2,)
    loss.sum().backward()
    assert condition.grad.flatten(1).norm(dim=1).gt(0).all()
    assert all(parameter.grad is None for parameter in made.parameters())


@pytest.mark.parametrize("name", CONFIGS)
def test_a_seed_makes_the_same_recording_as_long_as_asked(name):
    made, condition = generator(name), torch.randn(2, *SHAPES[name])
    first, again, other = (made.make(condition, torch.Generator().manual_seed(seed)) for seed in (3, 3, 4))
    wave, rate = first[0]
    assert (wave.dtype, wave.shape, rate) == (np.float32, (2016,), 8000)  # 0.25 s, in whole latents of two frames of 16
    assert np.abs(wave).max() <= 1
    assert np.array_equal(wave, again[0][0])
    assert not np.array_equal(wave, other[0][0])
    assert not np.array_equal(wave, first[1][0])


@pytest.mark.parametrize("name", CONFIGS)
def test_a_recording_follows_its_condition(name):
    made = generator(name)
    one, two = (made.make(torch.full((1, *SHAPES[name]), v), torch.Generator().manual_seed(0))[0][0] for v in (-1.0, 1.0))
    assert not np.array_equal(one, two)


def test_mels_are_those_that_the_vocoder_reads():
    made = generator()
    low, high = targets(made)
    assert low.shape == (1, 126, 8)
    assert low[0, 10:100].mean(0).argmax() < high[0, 10:40].mean(0).argmax()
    assert high[0, 60:].max() == pytest.approx(np.log(FLOOR))  # silence behind what is shorter
    assert torch.equal(made.prepare(tone(500, 3.0)), made.prepare(tone(500, 1.0)))
    with torch.no_grad():
        assert made.vocoder(low).shape == (1, 126 * made.hop)


def test_mels_are_those_of_hifigan():
    """Against the definition: the magnitude of an STFT of Hann windows, each centred on its hop, with mirrored edges, under
    Slaney's filters."""
    from transformers.audio_utils import mel_filter_bank

    made = generator()
    samples = np.random.default_rng(0).uniform(-1, 1, 8000).astype(np.float32)
    import soxr

    heard = torch.from_numpy(soxr.resample(samples, 16000, 8000))[: made.length]
    padded = torch.nn.functional.pad(heard[None], (24, 24), mode="reflect")
    stft = torch.stft(padded, 64, 16, window=torch.hann_window(64), center=False, return_complex=True).abs()[0]
    filters = torch.from_numpy(mel_filter_bank(33, 8, 0.0, 4000.0, 8000, norm="slaney", mel_scale="slaney")).float()
    wanted = (stft.T @ filters).clamp(min=FLOOR).log()
    assert torch.allclose(made.prepare(samples)[0], wanted, atol=1e-3)


def test_a_condition_learns_a_sound():
    made = generator(drop=0.0, seconds=0.064)
    optimizer = torch.optim.Adam(made.network.parameters(), lr=3e-3)
    latents = made.encode(targets(made)).repeat(8, 1, 1)
    condition = made.condition([Target("a low tone"), Target("a high tone")]).repeat(8, 1, 1)
    assert condition.shape == (16, 1, 12)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = made.loss(latents, condition).mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-10:]) < 0.7 * sum(losses[:10])


def test_fit_teaches_the_autoencoder():
    made = generator()
    assert made.fit(targets(made)).shape == (2,)


def test_options_rebuild_it():
    made = generator(guidance=2.0)
    again = AudioDiffusion(**made.options)
    again.load_state_dict(made.state_dict())
    one, two = (each.make(torch.ones(1, 1, 12), torch.Generator().manual_seed(0))[0] for each in (made, again.eval()))
    assert np.array_equal(one[0], two[0])


def test_a_pipelines_folder_is_read_with_its_vocoder(tmp_path):
    import json

    from transformers import BertConfig, BertModel, ByT5Tokenizer

    made = generator("cross")
    index = {"unet": "UNet2DConditionModel", "vae": "AutoencoderKL", "scheduler": type(made.scheduler).__name__}
    for name, part in (("unet", made.network), ("vae", made.vae), ("vocoder", made.vocoder)):
        part.save_pretrained(tmp_path / name)
    made.scheduler.save_pretrained(tmp_path / "scheduler")
    BertModel(BertConfig(**{k: v for k, v in TEXTS["config"].items() if k != "model_type"})).save_pretrained(
        tmp_path / "text_encoder"
    )
    ByT5Tokenizer().save_pretrained(tmp_path / "tokenizer")
    found = {name: ["diffusers", kind] for name, kind in index.items()}
    found |= {"vocoder": ["transformers", "SpeechT5HifiGan"], "text_encoder": ["transformers", "BertModel"]}
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": "AudioLDMPipeline", **found}))
    read = AudioDiffusion(path=str(tmp_path), conditions=TEXTS, seconds=0.25, n_fft=64, high=4000, steps=2).eval()
    condition = torch.ones(1, 5, 12)
    one, two = (each.make(condition, torch.Generator().manual_seed(0))[0][0] for each in (made, read))
    assert np.allclose(one, two, atol=1e-6)
    own = AudioDiffusion(path=str(tmp_path), conditions={"positions": 3}, seconds=0.25, n_fft=64, high=4000)
    assert own.condition([Target("a bell")]).shape == (1, 3, 12)
    assert own.unconditional.abs().sum() > 0


def test_what_cannot_be_is_refused():
    with pytest.raises(MediaError, match="a recording"):
        generator().prepare(np.zeros((2, 100), np.float32))
    with pytest.raises(MediaError, match="a recording"):
        generator().prepare(np.zeros(0, np.float32))
    without = {name: part for name, part in CONFIGS["class"].items() if name != "vocoder"}
    with pytest.raises(RecipeError, match="needs a 'vocoder'"):
        generator(config=without)
    with pytest.raises(RecipeError, match="8 mels up to 9000 Hz"):
        generator(high=9000)
    with pytest.raises(RecipeError, match="positions is 5, but this network is told one vector"):
        generator(conditions=TEXTS)
    wide = {**ONE, "config": {**TEXTS["config"], "hidden_size": 16}}
    with pytest.raises(RecipeError, match="conditions are 16 numbers wide, UNet2DConditionModel wants 12"):
        generator(conditions=wide).condition([Target(caption="a bell")])
    with pytest.raises(RecipeError, match="not of texts"):
        generator().make(["a bell"], torch.Generator())


LIM = {"_class_name": "GriffinLim", "sampling_rate": 8000, "hop": 16, "mels": 8, "floor": 1e-3, "mean": -4.0, "scale": 2.0}


def test_griffin_lim_takes_the_place_of_a_vocoder_with_weights():
    made = generator(config=CONFIGS["class"] | {"vocoder": LIM})
    low, _ = targets(made)
    plain, _ = targets(generator())
    assert torch.allclose(low, (plain.clamp(min=np.log(1e-3)) + 4.0) / 2.0, atol=1e-5)  # standardised, down to its floor
    again = AudioDiffusion(**made.options)
    again.load_state_dict(made.state_dict())
    assert again.options == made.options
    one, two = (each.make(torch.ones(1, 1, 12), torch.Generator().manual_seed(0))[0] for each in (made, again.eval()))
    assert (one[0].shape, one[1]) == ((2016,), 8000)
    assert np.array_equal(one[0], two[0])
    assert np.abs(one[0]).max() > 0


def test_an_unusable_griffin_lim_is_refused():
    with pytest.raises(RecipeError, match="has no option 'mel'"):
        generator(config=CONFIGS["class"] | {"vocoder": {**LIM, "mel": 8}})
    with pytest.raises(RecipeError, match="a hop of 64 leaves gaps between windows of 64"):
        generator(config=CONFIGS["class"] | {"vocoder": {**LIM, "hop": 64}})
