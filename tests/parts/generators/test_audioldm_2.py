"""AudioLDM 2's two conditions, against diffusers' own pipeline, at tiny width."""

from __future__ import annotations

import json

import diffusers
import pytest
import torch
import transformers

from polymodal.errors import RecipeError
from polymodal.parts.generators.audio_diffusion import AudioDiffusion
from polymodal.parts.output import Target
from tests.parts.generators import test_audio_diffusion as plain
from tests.parts.generators.contract import equal, random
from tests.parts.generators.test_audio_diffusion import CONFIGS, MEL, ONE, VOCODER, tone

UNET = {
    **{"_class_name": "AudioLDM2UNet2DConditionModel", "sample_size": 4, "in_channels": 2, "out_channels": 2},
    **{"block_out_channels": [8, 16], "layers_per_block": 1, "norm_num_groups": 4, "attention_head_dim": 4},
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"],
    "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"],
    "cross_attention_dim": [[None, 12, 10], [None, 12, 10]],
}
CONFIG = {"unet": UNET, "vae": MEL, "scheduler": {"_class_name": "DDIMScheduler"}, "vocoder": VOCODER}
UNREAD = {"kind": "generated-texts", "positions": 8, "first": 3}
LETTERS = list("abcdefghijklmnopqrstuvwxyz")
SMALL = {"hidden_size": 8, "num_attention_heads": 2, "num_hidden_layers": 1, "intermediate_size": 16, "vocab_size": 40}
HEARD = {"depths": [1, 1], "num_attention_heads": [1, 1], "num_hidden_layers": 2, "window_size": 4, "spec_size": 32}
HEARD |= {"hidden_size": 8, "patch_embeds_hidden_size": 4, "num_mel_bins": 8, "patch_size": 4, "patch_stride": [4, 4]}


def generator(**options) -> AudioDiffusion:
    return plain.generator("cross", config=CONFIG, conditions=UNREAD, **options)


def pipeline(made: AudioDiffusion, reads: bool = False) -> diffusers.AudioLDM2Pipeline:
    names = ("text_encoder", "text_encoder_2", "projection_model", "language_model", "tokenizer", "tokenizer_2")
    parts = dict.fromkeys((*names, "feature_extractor"))
    if reads:
        torch.manual_seed(1)
        words = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", *LETTERS, "Ġ"]
        text = {**SMALL, "max_position_embeddings": 32, "pad_token_id": 1}
        clap = transformers.ClapConfig(text_config=text, audio_config={**HEARD, "projection_dim": 6}, projection_dim=6)
        t5 = transformers.T5Config(vocab_size=40, d_model=10, d_kv=4, d_ff=16, num_layers=1, num_heads=2)
        gpt = transformers.GPT2Config(n_embd=12, n_layer=1, n_head=2, vocab_size=8, bos_token_id=0, eos_token_id=0)
        gpt.max_new_tokens = 3
        pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -1.0), *((each, -2.0) for each in LETTERS)]
        parts |= {
            "text_encoder": transformers.ClapModel(clap).eval(),
            "text_encoder_2": transformers.T5EncoderModel(t5).eval(),
            "language_model": transformers.GPT2LMHeadModel(gpt).eval(),
            "projection_model": diffusers.AudioLDM2ProjectionModel(6, 10, 12).eval(),
            "tokenizer": transformers.RobertaTokenizer({w: i for i, w in enumerate(words)}, [], model_max_length=20),
            "tokenizer_2": transformers.T5Tokenizer(pieces, extra_ids=0, model_max_length=64),
        }
    own = {"vae": made.vae, "unet": made.network, "scheduler": made.scheduler, "vocoder": made.vocoder}
    out = diffusers.AudioLDM2Pipeline(**own, **parts)
    out.set_progress_bar_config(disable=True)
    return out


@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_it_makes_what_the_pipeline_makes_of_the_same_conditions_and_noise(guidance):
    made = generator(guidance=guidance, steps=3)
    made.unconditional.normal_(generator=random(9))
    condition = torch.randn(1, 8, 12)
    condition[:, 6:] = 0  # a short caption
    told = {}
    for name, row in (("", condition), ("negative_", made.unconditional[None])):
        told[f"{name}generated_prompt_embeds"], told[f"{name}prompt_embeds"] = row[:, :3], row[:, 3:, :10]
        told[f"{name}attention_mask"] = row[:, 3:].any(-1).long()
    noise = torch.randn(1, *made.shape, generator=random(5))
    seconds = {"audio_length_in_s": made.length / made.rate, "num_inference_steps": 3, "guidance_scale": guidance}
    whole = pipeline(made, reads=True)  # it asks for the dtypes of what reads
    theirs = whole(**told, **seconds, latents=noise, output_type="latent").audios
    ours = made.denoised(condition, made.shape, random(5))
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def test_the_loss_reaches_both_conditions():
    made = generator().requires_grad_(False)
    with pytest.raises(RecipeError, match="no caption can be read"):
        made.condition([Target("a cat")])
    condition = torch.randn(1, 8, 12, requires_grad=True)
    made.loss(made.prepare(tone(500))[None], condition).sum().backward()
    assert condition.grad is not None
    assert condition.grad[0, :3].abs().sum(-1).gt(0).all()
    assert condition.grad[0, 3:, :10].abs().sum(-1).gt(0).all()


def test_a_folder_of_the_pipeline_is_read_and_captions_as_the_pipeline_reads_them(tmp_path):
    made = generator()
    whole = pipeline(made, reads=True)
    whole.save_pretrained(tmp_path)
    read = AudioDiffusion(str(tmp_path), steps=2, seconds=0.25, n_fft=64, high=4000).eval()
    assert (read.positions, read.width, read.texts.first) == (3 + 64, 12, 3)
    for caption in ("a cat", "a loud dog"):
        (ours,) = read.condition([Target(caption)])
        with torch.no_grad():
            theirs, mask, generated = whole.encode_prompt(caption, "cpu", 1, False, max_new_tokens=3)
        torch.testing.assert_close(ours[:3], generated[0])
        torch.testing.assert_close(ours[3 : 3 + theirs.shape[1], :10], theirs[0])
        assert mask.all()
        assert not ours[3 + theirs.shape[1] :].any()
    assert torch.equal(read.unconditional, read.condition([Target("")])[0])
    assert read.unconditional[3:].any(-1).sum() == 1  # the end of an empty text
    condition = read.condition([Target("a cat")])
    again = AudioDiffusion(**json.loads(json.dumps(read.options))).eval()
    again.load_state_dict(read.state_dict(), strict=True)
    assert equal(again.make(condition, random()), read.make(condition, random()))


@pytest.mark.parametrize(
    ("config", "conditions", "says"),
    [
        (CONFIG, {**ONE, "kind": "texts"}, "wants conditions of kind 'generated-texts'"),
        (CONFIGS["cross"], UNREAD, "wants conditions of one text encoder"),
        (CONFIG, {**UNREAD, "first": 8}, "conditions.first is 8, of 8 positions"),
    ],
)
def test_conditions_that_do_not_fit_are_refused(config, conditions, says):
    with pytest.raises(RecipeError, match=says):
        AudioDiffusion(config=config, conditions=conditions)
