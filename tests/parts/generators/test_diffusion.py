"""Pictures by diffusion, on tiny random networks: what is learned, what is drawn again, and what is refused."""

from __future__ import annotations

import inspect
import math
from contextlib import nullcontext

import pytest
import torch
from PIL import Image

from polymodal.errors import DataError, MediaError, RecipeError
from polymodal.parts.base import build
from polymodal.parts.generators import GENERATORS
from polymodal.parts.generators.denoising import SHORT, _attention
from polymodal.parts.generators.diffusion import ImageDiffusion
from polymodal.parts.output import Target

BERT = {"model_type": "bert", "hidden_size": 12, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
TEXTS = {"positions": 5, "config": {**BERT, "vocab_size": 384}}
UNET = {
    **{"sample_size": 4, "in_channels": 2, "out_channels": 2, "block_out_channels": [8, 16], "layers_per_block": 1},
    **{"norm_num_groups": 4, "cross_attention_dim": 12, "attention_head_dim": 4},
    "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
}
PIXART = {
    **{"_class_name": "PixArtTransformer2DModel", "num_attention_heads": 2, "attention_head_dim": 8, "num_layers": 1},
    **{"in_channels": 2, "out_channels": 4, "sample_size": 4, "patch_size": 2, "cross_attention_dim": 16},
    "caption_channels": 12,
}
MMDIT = {
    **{"_class_name": "SD3Transformer2DModel", "num_attention_heads": 2, "attention_head_dim": 8, "num_layers": 2},
    **{"in_channels": 2, "out_channels": 2, "sample_size": 4, "patch_size": 2, "pos_embed_max_size": 2},
    **{"joint_attention_dim": 12, "caption_projection_dim": 16, "pooled_projection_dim": 12},
}
KL = {
    **{"block_out_channels": [4, 8], "layers_per_block": 1, "latent_channels": 2, "norm_num_groups": 2},
    "down_block_types": ["DownEncoderBlock2D"] * 2,
    "up_block_types": ["UpDecoderBlock2D"] * 2,
}
DC = {
    **{"_class_name": "AutoencoderDC", "latent_channels": 2, "upsample_block_type": "interpolate", "scaling_factor": 0.5},
    **{
        f"{side}_{key}": value
        for side in ("encoder", "decoder")
        for key, value in {"block_out_channels": [4, 8], "layers_per_block": [0, 1], "qkv_multiscales": [[], []]}.items()
    },
    **{"decoder_norm_types": "rms_norm", "decoder_act_fns": "silu"},
}
DDIM = {"_class_name": "DDIMScheduler", "num_train_timesteps": 50}
FLOW = {"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 2.0}
CONFIGS = {
    "epsilon": {"unet": UNET, "vae": KL, "scheduler": DDIM},
    "velocity": {"unet": UNET, "vae": KL, "scheduler": {**DDIM, "prediction_type": "v_prediction"}},
    "euler": {"unet": UNET, "vae": KL, "scheduler": {"_class_name": "EulerAncestralDiscreteScheduler"}},
    "flow": {"transformer": PIXART, "vae": DC, "scheduler": FLOW},
    "mmdit": {"transformer": MMDIT, "vae": DC, "scheduler": FLOW},
    "pixels": {"unet": {**UNET, "in_channels": 3, "out_channels": 3}, "scheduler": FLOW},
}


def generator(name: str = "flow", **options) -> ImageDiffusion:
    torch.manual_seed(0)
    recipe = {"kind": "diffusion", "config": CONFIGS[name], "conditions": TEXTS, "steps": 2} | options
    made = build("generator", GENERATORS, recipe).eval()
    for parameter in made.network.parameters():  # some are zero at first, and nothing would pass them
        torch.nn.init.normal_(parameter, std=0.2)
    return made


def pictures(of: ImageDiffusion, number: int = 3) -> torch.Tensor:
    drawn = torch.randint(0, 255, (number, 9, 12, 3), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    return torch.stack([of.prepare(Image.fromarray(one.numpy())) for one in drawn])


@pytest.mark.parametrize("name", CONFIGS)
def test_loss_reaches_the_condition_of_a_frozen_generator(name):
    made = generator(name).requires_grad_(False)
    targets, condition = pictures(made), torch.randn(3, 5, 12, requires_grad=True)
    loss = made.loss(targets, condition)
    assert loss.shape == (3,)
    loss.sum().backward()
    assert condition.grad is not None
    assert condition.grad.flatten(1).norm(dim=1).gt(0).all()
    assert all(parameter.grad is None for parameter in made.parameters())


@pytest.mark.parametrize("name", CONFIGS)
def test_a_seed_makes_the_same_pictures(name):
    made, condition = generator(name), torch.randn(2, 5, 12)
    steps: list[tuple[int, int]] = []
    seeds = [made.make(condition, torch.Generator().manual_seed(seed), lambda *at: steps.append(at)) for seed in (3, 3, 4)]
    first, again, other = [[picture.tobytes() for picture in drawn] for drawn in seeds]
    assert first == again
    assert first != other
    assert seeds[0][0].size == (made.size,) * 2
    assert steps[-1][0] == steps[-1][1] == len(steps) / 3


@pytest.mark.parametrize("name", CONFIGS)
def test_a_picture_follows_its_condition(name):
    made = generator(name)
    one, two = (made.make(torch.full((1, 5, 12), value), torch.Generator().manual_seed(0))[0] for value in (-1.0, 1.0))
    assert one.tobytes() != two.tobytes()


def test_guidance_steers_away_from_the_unconditional():
    plain, guided, none = (generator(guidance=guidance) for guidance in (1.0, 3.0, 0.0))
    condition = torch.randn(1, 5, 12)
    draw = [
        made.make(given, torch.Generator().manual_seed(0))[0].tobytes()
        for made, given in ((plain, condition), (guided, condition), (none, condition), (plain, plain.unconditional[None]))
    ]
    assert draw[0] != draw[1]
    assert draw[2] == draw[3]


def test_conditions_are_dropped_in_training_mode_only():
    made = generator(drop=1.0)
    latents = made.encode(pictures(made))

    def losses(value: float) -> torch.Tensor:
        torch.manual_seed(5)
        return made.loss(latents, torch.full((3, 5, 12), value))

    assert not torch.equal(losses(0.0), losses(1.0))
    made.train()
    assert torch.equal(losses(0.0), losses(1.0))


def test_a_clean_network_that_says_the_latents_has_no_error(monkeypatch):
    plain, clean = generator("mmdit"), generator("mmdit", clean=True)
    media = pictures(clean)
    truth = clean._latents(media)
    for made in (plain, clean):
        monkeypatch.setattr(made.network, "forward", lambda *_, **__: (truth,))
    torch.manual_seed(3)
    assert clean.loss(media, torch.zeros(3, 5, 12)).max() < 1e-6
    assert plain.loss(media, torch.zeros(3, 5, 12)).min() > 0.1
    condition, random = torch.zeros(3, 5, 12), torch.Generator().manual_seed(0)
    torch.testing.assert_close(clean.denoised(condition, clean.shape, random), truth, atol=0.05, rtol=0)


def test_few_tokens_are_what_counts_for_attention_not_pixels():
    """Its network cuts 2 x 2 of them into one token."""
    network, short = generator("mmdit").network, math.isqrt(SHORT)
    assert type(_attention(torch.zeros(1, 2, 2 * short, 2 * short), network)) is not nullcontext
    assert type(_attention(torch.zeros(1, 2, 4 * short, 2 * short), network)) is nullcontext


@pytest.mark.parametrize("name", ["epsilon", "velocity"])
def test_min_snr_never_weighs_a_step_more(name):
    plain, weighed = generator(name), generator(name, min_snr=True)
    latents = plain.encode(pictures(plain, 1)).expand(64, -1, -1)
    losses = []
    for made in (plain, weighed):
        torch.manual_seed(2)
        losses.append(made.loss(latents, torch.zeros(64, 5, 12)))
    ratio = losses[1] / losses[0]
    assert ratio.max() <= 1 + 1e-5
    assert ratio.min() < 0.5


@pytest.mark.parametrize("name", ["epsilon", "flow"])
def test_latents_stand_for_their_pictures(name):
    made = generator(name)
    drawn = pictures(made)
    latents = made.encode(drawn)
    assert latents.shape == (3, 16, 2)
    losses = []
    for targets in (drawn, latents):
        torch.manual_seed(0)
        losses.append(made.loss(targets, torch.zeros(3, 5, 12)))
    assert torch.equal(*losses)


@pytest.mark.parametrize("name", ["epsilon", "flow"])
def test_fit_teaches_the_autoencoder_and_nothing_else(name):
    made = generator(name)
    drawn = pictures(made)
    before = {key: value.clone() for key, value in made.state_dict().items()}
    optimizer = torch.optim.Adam(made.parameters(), lr=1e-2)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = made.fit(drawn)
        assert loss.shape == (3,)
        loss.mean().backward()
        optimizer.step()
        losses.append(loss.mean().item())
    assert losses[-1] < 0.8 * losses[0]
    changed = {key for key, value in made.state_dict().items() if not torch.equal(before[key], value)}
    assert changed
    assert all(key.startswith("vae.") for key in changed)


def test_how_attention_is_computed_changes_no_loss(monkeypatch):
    made = generator()
    latents, losses = made.encode(pictures(made)), []
    for short in (0, 256):
        monkeypatch.setattr("polymodal.parts.generators.denoising.SHORT", short)
        torch.manual_seed(0)
        losses.append(made.loss(latents, torch.ones(3, 5, 12)))
    torch.testing.assert_close(*losses)


def test_a_condition_learns_a_picture():
    made = generator(drop=0.0)
    optimizer = torch.optim.Adam(made.network.parameters(), lr=3e-3)
    latents = made.encode(pictures(made, 2)).repeat(16, 1, 1)
    condition = made.condition([Target("a cat"), Target("a dog")]).repeat(16, 1, 1)
    losses = []
    for _ in range(150):
        optimizer.zero_grad()
        loss = made.loss(latents, condition).mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-10:]) < 0.5 * sum(losses[:10])


def test_the_text_encoder_is_no_part_of_the_state():
    made = generator()
    assert made.condition([Target("a cat"), Target("a red cat")]).shape == (2, 5, 12)
    assert {key.split(".")[0] for key in made.state_dict()} == {"network", "vae", "unconditional"}
    with pytest.raises(DataError, match="caption"):
        made.condition([Target("a cat"), Target()])


def test_options_rebuild_it():
    made = generator(size=16, guidance=2.0)
    again = ImageDiffusion(**made.options)
    again.load_state_dict(made.state_dict())
    condition = torch.randn(1, 5, 12)
    one, two = (each.make(condition, torch.Generator().manual_seed(0))[0] for each in (made, again.eval()))
    assert one.tobytes() == two.tobytes()
    assert one.size == (16, 16)
    assert set(made.options) <= set(inspect.signature(ImageDiffusion).parameters)


def test_a_pipelines_folder_is_read_with_its_text_encoder(tmp_path):
    import json

    import transformers

    made = generator("epsilon")
    made.network.save_pretrained(tmp_path / "unet")
    made.vae.save_pretrained(tmp_path / "vae")
    made.scheduler.save_pretrained(tmp_path / "scheduler")
    clip = transformers.CLIPTextConfig(
        hidden_size=12,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        vocab_size=384,
        max_position_embeddings=7,
        bos_token_id=2,
        eos_token_id=1,
    )
    transformers.CLIPTextModel(clip).save_pretrained(tmp_path / "text_encoder")
    transformers.ByT5Tokenizer().save_pretrained(tmp_path / "tokenizer")
    parts = {"unet": "UNet2DConditionModel", "vae": "AutoencoderKL", "scheduler": "DDIMScheduler"}
    index = {name: ["diffusers", kind] for name, kind in parts.items()} | {
        "text_encoder": ["transformers", "CLIPTextModel"]
    }
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusionPipeline", **index}))

    read = ImageDiffusion(str(tmp_path), steps=2).eval()
    assert read.positions == 7
    assert torch.equal(read.unconditional, read.condition([Target("")])[0])
    assert all(torch.equal(value, read.state_dict()[key]) for key, value in made.state_dict().items() if "uncon" not in key)
    assert read.make(read.condition([Target("a cat")]), torch.Generator())[0].size == (8, 8)
    (tmp_path / "vae" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(RecipeError, match="vae cannot be read"):
        ImageDiffusion(str(tmp_path))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, "either 'path'"),
        ({"config": {"unet": UNET}, "conditions": TEXTS}, "needs a 'scheduler'"),
        ({"config": {"unet": UNET, "scheduler": {}}, "conditions": TEXTS}, "_class_name"),
        ({"config": {"unet": UNET, "scheduler": DDIM, "text": {}}, "conditions": TEXTS}, "no 'text'"),
        ({"config": {"unet": {**UNET, "widths": 3}, "scheduler": DDIM}, "conditions": TEXTS}, "refuses it"),
        (
            {"config": {"transformer": {"_class_name": "Nothing"}, "scheduler": DDIM}, "conditions": TEXTS},
            "no class 'Nothing'",
        ),
        ({"config": {"unet": UNET, "scheduler": DDIM}}, "needs 'conditions'"),
        ({"config": CONFIGS["flow"], "conditions": {**TEXTS, "place": 1}}, "no option 'place'"),
        ({"config": CONFIGS["flow"], "conditions": TEXTS, "size": 7}, "no multiple of 2"),
        ({"config": {"unet": UNET, "scheduler": {**DDIM, "prediction_type": "sample"}}, "conditions": TEXTS}, "'sample'"),
        (
            {"config": {**CONFIGS["mmdit"], "transformer": {**MMDIT, "pooled_projection_dim": 9}}, "conditions": TEXTS},
            "second",
        ),
        ({"path": "./not/here"}, "no such folder"),
    ],
)
def test_what_cannot_work_is_refused_by_name(options, says):
    with pytest.raises(RecipeError, match=says):
        ImageDiffusion(**options)


def test_something_that_is_no_picture_is_refused():
    with pytest.raises(MediaError, match="a picture is learned from a PIL.Image"):
        generator().prepare([1, 2])
