"""Stable Diffusion XL's two text encoders and second condition, against diffusers' own pipeline, at tiny width."""

from __future__ import annotations

import json

import diffusers
import pytest
import torch
import transformers

from polymodal.errors import RecipeError
from polymodal.parts.generators.diffusion import ImageDiffusion
from polymodal.parts.output import Target
from tests.conftest import picture
from tests.parts.generators import test_diffusion as plain
from tests.parts.generators.contract import equal, random
from tests.parts.generators.test_diffusion import KL, TEXTS, UNET

CLIP = {"intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 384}
CLIP |= {"max_position_embeddings": 7, "bos_token_id": 2, "eos_token_id": 1}
BOTH = [{**CLIP, "hidden_size": 4}, {**CLIP, "hidden_size": 8, "projection_dim": 6}]
TOLD = {
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 4,
    "projection_class_embeddings_input_dim": 6 + 6 * 4,
}
CONFIG = {"unet": {**UNET, **TOLD}, "vae": KL, "scheduler": {"_class_name": "EulerDiscreteScheduler"}}
PAIR = {"kind": "paired-texts", "config": BOTH, "positions": 8}


def generator(**options) -> ImageDiffusion:
    return plain.generator("epsilon", config=CONFIG, conditions=PAIR, **options)


def pipeline(made: ImageDiffusion, towers: bool = False) -> diffusers.StableDiffusionXLPipeline:
    parts = dict.fromkeys(("text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2"))
    if towers:
        for end, (_, network) in zip(("", "_2"), made.texts._parts, strict=True):
            parts[f"text_encoder{end}"] = network
            parts[f"tokenizer{end}"] = transformers.ByT5Tokenizer(model_max_length=7)
    out = diffusers.StableDiffusionXLPipeline(
        vae=made.vae, unet=made.network, scheduler=made.scheduler, add_watermarker=False, **parts
    )
    out.set_progress_bar_config(disable=True)
    return out


@pytest.mark.parametrize("guidance", [1.0, 4.0])
def test_it_makes_what_the_pipeline_makes_of_the_same_condition_and_noise(guidance):
    made = generator(guidance=guidance, steps=3)
    condition = torch.randn(1, 8, 12)
    condition[:, -1, 6:] = 0
    told = {
        "prompt_embeds": condition[:, :-1],
        "pooled_prompt_embeds": condition[:, -1, :6],
        "negative_prompt_embeds": made.unconditional[None, :-1],
        "negative_pooled_prompt_embeds": made.unconditional[None, -1, :6],
    }
    sizes = {"height": made.size, "width": made.size, "num_inference_steps": 3, "guidance_scale": guidance}
    noise = torch.randn(1, *made.shape, generator=random(5))
    theirs = pipeline(made)(**told, **sizes, latents=noise, output_type="latent").images
    ours = made.denoised(condition, made.shape, random(5))
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def test_captions_are_read_as_the_pipeline_reads_them():
    made = generator()
    ours = made.condition([Target("a cat"), Target("a red cat")])
    assert ours.shape == (2, 8, 12)
    for row, caption in zip(ours, ("a cat", "a red cat"), strict=True):
        theirs, nothing, summed, sum_of_nothing = pipeline(made, towers=True).encode_prompt(caption, device="cpu")
        torch.testing.assert_close(row[:-1], theirs[0])
        torch.testing.assert_close(row[-1, :6], summed[0])
        assert not row[-1, 6:].any()
        assert not nothing.any()  # as `unconditional` has it
        assert not sum_of_nothing.any()


def test_the_loss_reaches_both_conditions_and_a_picture_follows_both():
    made = generator().requires_grad_(False)
    target = made.prepare(picture(1))[None]
    condition = torch.randn(1, 8, 12, requires_grad=True)
    made.loss(target, condition).sum().backward()
    assert condition.grad is not None
    assert condition.grad[0, :-1].abs().sum(-1).gt(0).all()
    assert condition.grad[0, -1, :6].abs().gt(0).all()
    first = made.make(condition.detach(), random())
    for at in (0, -1):
        other = condition.detach().clone()
        other[:, at] += 1
        assert not equal(first, made.make(other, random()))


def test_a_folder_of_the_pipeline_is_read_and_options_rebuild_it(tmp_path):
    made = generator()
    pipeline(made, towers=True).save_pretrained(tmp_path)
    read = ImageDiffusion(str(tmp_path), steps=2).eval()
    assert read.positions == 8
    assert not read.unconditional.any()
    torch.testing.assert_close(read.condition([Target("a cat")]), made.condition([Target("a cat")]))
    condition = read.condition([Target("a cat")])
    assert equal(read.make(condition, random()), made.make(condition, random()))
    again = ImageDiffusion(**json.loads(json.dumps(read.options))).eval()
    again.load_state_dict(read.state_dict(), strict=True)
    assert equal(again.make(condition, random()), read.make(condition, random()))
    index = json.loads((tmp_path / "model_index.json").read_text())
    (tmp_path / "model_index.json").write_text(json.dumps({**index, "force_zeros_for_empty_prompt": False}))
    words = ImageDiffusion(str(tmp_path))
    torch.testing.assert_close(words.unconditional, words.condition([Target("")])[0])


@pytest.mark.parametrize(
    ("config", "conditions", "says"),
    [
        (CONFIG, {**TEXTS, "kind": "texts"}, "wants conditions of kind 'paired-texts'"),
        (plain.CONFIGS["epsilon"], PAIR, "wants conditions of one text encoder"),
        (CONFIG, {**PAIR, "config": BOTH[:1]}, "are two encoders"),
    ],
)
def test_conditions_that_do_not_fit_are_refused(config, conditions, says):
    with pytest.raises(RecipeError, match=says):
        ImageDiffusion(config=config, conditions=conditions)
