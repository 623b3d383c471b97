"""Clips by diffusion, on a tiny random network."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from polymodal import content, media
from polymodal.errors import MediaError, RecipeError
from polymodal.parts.base import build
from polymodal.parts.generators import GENERATORS
from polymodal.parts.generators.video_diffusion import VideoDiffusion
from polymodal.parts.output import Target
from tests.parts.generators.test_diffusion import FLOW, KL, TEXTS
from tests.parts.generators.test_diffusion import UNET as UNET_2D

UNET = {
    **{"sample_size": [4, 6], "in_channels": 2, "out_channels": 2, "block_out_channels": [8, 16], "layers_per_block": 1},
    **{"norm_num_groups": 4, "cross_attention_dim": 12, "attention_head_dim": 4},
    "down_block_types": ["CrossAttnDownBlock3D", "DownBlock3D"],
    "up_block_types": ["UpBlock3D", "CrossAttnUpBlock3D"],
}
HEADS = {"num_attention_heads": 2, "attention_head_dim": 8, "in_channels": 2, "out_channels": 2, "num_layers": 1}
WAN = {
    **HEADS,
    "_class_name": "WanTransformer3DModel",
    **{"patch_size": [1, 2, 2], "text_dim": 12, "freq_dim": 8, "ffn_dim": 16, "rope_max_seq_len": 8},
}
LATTE = {
    **HEADS,
    "_class_name": "LatteTransformer3DModel",
    **{"cross_attention_dim": 16, "caption_channels": 12, "sample_size": 4, "patch_size": 2, "video_length": 3},
    **{"norm_type": "ada_norm_single", "norm_elementwise_affine": False, "num_embeds_ada_norm": 50},
}
CONFIGS = {
    "flow": {"unet": UNET, "vae": KL, "scheduler": FLOW},
    "epsilon": {"unet": UNET, "vae": KL, "scheduler": {"_class_name": "DDIMScheduler", "num_train_timesteps": 50}},
    "pixels": {"unet": {**UNET, "in_channels": 3, "out_channels": 3}, "scheduler": FLOW},
    "latte": {"transformer": LATTE, "vae": KL, "scheduler": FLOW},
    "wan": {"transformer": WAN, "vae": KL, "scheduler": FLOW},
}
SD3 = {
    **HEADS,
    "_class_name": "SD3Transformer2DModel",
    **{"sample_size": 4, "patch_size": 2, "joint_attention_dim": 12, "caption_projection_dim": 16},
    **{"pooled_projection_dim": 12, "pos_embed_max_size": 4},
}
WAN_VAE = {"_class_name": "AutoencoderKLWan", "base_dim": 4, "z_dim": 2, "dim_mult": [1, 1], "num_res_blocks": 1}
WAN_VAE |= {"temperal_downsample": [True]}
SIZED = {"wan": {"size": (12, 8)}}  # it has no size of its own


def generator(name: str = "flow", **options) -> VideoDiffusion:
    torch.manual_seed(0)
    options = {"conditions": TEXTS, "frames": 3, "steps": 2} | SIZED.get(name, {}) | options
    made = build("generator", GENERATORS, {"kind": "video-diffusion", "config": CONFIGS[name]} | options).eval()
    for parameter in made.network.parameters():  # some are zero at first, and nothing would pass them
        torch.nn.init.normal_(parameter, std=0.2)
    return made


def clip(levels=(0, 50, 100, 150, 200, 250), rate: float = 2.0):
    frames = [Image.new("RGB", (12, 8), (level,) * 3) for level in levels]
    return media.load(content.Part("video", media=(frames, rate)))


def targets(of: VideoDiffusion) -> torch.Tensor:
    return torch.stack([of.prepare(clip()), of.prepare(clip(levels=(90, 10)))])


@pytest.mark.parametrize("name", CONFIGS)
def test_loss_reaches_the_condition_of_a_frozen_generator(name):
    made = generator(name).requires_grad_(False)
    condition = torch.randn(2, 5, 12, requires_grad=True)
    loss = made.loss(targets(made), condition)
    assert loss.shape == (2,)
    loss.sum().backward()
    assert condition.grad.flatten(1).norm(dim=1).gt(0).all()
    assert all(parameter.grad is None for parameter in made.parameters())


@pytest.mark.parametrize("name", CONFIGS)
def test_a_seed_makes_the_same_clip_of_frames_in_time(name):
    made, condition = generator(name, fps=5.0), torch.randn(2, 5, 12)
    first, again, other = (made.make(condition, torch.Generator().manual_seed(seed)) for seed in (3, 3, 4))
    frames, rate = first[0]
    assert (len(frames), rate, frames[0].size) == (3, 5.0, made.size)
    drawn = [[picture.tobytes() for clip_ in clips for picture in clip_[0]] for clips in (first, again, other)]
    assert drawn[0] == drawn[1] != drawn[2]
    loaded = media.load(content.Part("video", media=first[1]))
    assert loaded.seconds == pytest.approx(0.6)
    assert made.prepare(loaded).shape == targets(made)[0].shape


def test_frames_are_taken_evenly_from_the_whole_clip():
    shown = generator(frames=3).prepare(clip())
    assert shown.shape == (3, 3, 8, 12)
    assert shown[:, 0, 0, 0].tolist() == pytest.approx([50 / 127.5 - 1, 150 / 127.5 - 1, 250 / 127.5 - 1])


def test_latents_stand_for_their_clip_frame_by_frame():
    made = generator()
    whole = targets(made)
    latents = made.encode(whole)
    assert latents.shape == (2, 3 * 4 * 6, 2)
    alone = made.vae.encode(whole[1, 2][None]).latent_dist.mode()[0] * made.vae.config.scaling_factor
    assert torch.allclose(latents[1].view(3, 4, 6, 2)[2].permute(2, 0, 1), alone, atol=1e-5)
    losses = []
    for given in (whole, latents):
        torch.manual_seed(0)
        losses.append(made.loss(given, torch.zeros(2, 5, 12)))
    assert torch.equal(*losses)
    assert made.fit(whole).shape == (2,)


def test_a_condition_learns_a_clip():
    made = generator("pixels", drop=0.0, frames=2)
    optimizer = torch.optim.Adam(made.network.parameters(), lr=1e-2)
    latents = made.encode(targets(made)).repeat(4, 1, 1)
    condition = made.condition([Target("a cat"), Target("a dog")]).repeat(4, 1, 1)
    losses = []
    for _ in range(40):
        optimizer.zero_grad()
        loss = made.loss(latents, condition).mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-10:]) < 0.8 * sum(losses[:10])


@pytest.mark.parametrize("name", ["flow", "wan"])
def test_options_rebuild_it(name):
    made = generator(name, size=(8, 16), guidance=2.0, noise=0.2, clean=True)
    again = VideoDiffusion(**made.options)
    again.load_state_dict(made.state_dict())
    one, two = (each.make(torch.ones(1, 5, 12), torch.Generator().manual_seed(0))[0] for each in (made, again.eval()))
    assert [f.tobytes() for f in one[0]] == [f.tobytes() for f in two[0]]
    assert one[0][0].size == (8, 16)


@pytest.mark.parametrize("name", ["latte", "wan"])
def test_a_transformer_sees_every_frame_at_its_time(name):
    made, condition = generator(name), torch.randn(1, 5, 12)
    latents = torch.randn(1, *made.shape)
    seen = made.predicted(latents, torch.tensor([3.0]), condition)
    assert seen.shape == latents.shape
    backwards = made.predicted(latents.flip(2), torch.tensor([3.0]), condition).flip(2)
    assert not torch.allclose(seen, backwards, atol=1e-3)
    changed = latents.clone()
    changed[:, :, 0] += 1
    assert not torch.allclose(made.predicted(changed, torch.tensor([3.0]), condition)[:, :, 2], seen[:, :, 2], atol=1e-4)


def test_what_a_transformer_cannot_do_is_refused():
    def of(name: str, config: dict, **options):
        return generator(name, config={**CONFIGS[name], **config}, **options)

    with pytest.raises(RecipeError, match="needs a 'transformer' that is a LatteTransformer3DModel or a Wan"):
        of("wan", {"transformer": SD3})
    with pytest.raises(RecipeError, match="AutoencoderKLWan is an autoencoder of clips; one of pictures"):
        of("wan", {"vae": WAN_VAE})
    with pytest.raises(RecipeError, match="begins a clip with a picture"):
        of("wan", {"transformer": {**WAN, "in_channels": 5}})
    with pytest.raises(RecipeError, match="size is needed: WanTransformer3DModel has none"):
        of("wan", {}, size=None)
    with pytest.raises(RecipeError, match="no multiple of 4 x 4, the pixels of one patch"):
        generator("wan", size=(10, 8))
    with pytest.raises(RecipeError, match="frames 3 is no multiple of 2, the frames of one patch"):
        of("wan", {"transformer": {**WAN, "patch_size": [2, 2, 2]}})
    with pytest.raises(RecipeError, match="frames is 4, but this network was built for 3"):
        generator("latte", frames=4)


def test_what_cannot_be_is_refused():
    with pytest.raises(MediaError, match="a clip is wanted, not ndarray"):
        generator().prepare(np.zeros((2, 4, 4, 3), np.uint8))
    with pytest.raises(RecipeError, match="multiple of 2"):
        generator(size=(9, 8))
    flat = {**CONFIGS["flow"], "unet": {"_class_name": "UNet2DConditionModel", **UNET_2D}}
    with pytest.raises(RecipeError, match="UNet3DConditionModel"):
        generator("flow", config=flat)
    with pytest.raises(RecipeError, match="not of texts"):
        generator().make(["a cat"], torch.Generator())
