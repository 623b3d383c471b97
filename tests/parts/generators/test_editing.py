"""Pictures made from pictures: what stands beside the noise, what follows from it, and what InstructPix2Pix does."""

from __future__ import annotations

import inspect
from random import Random

import diffusers
import pytest
import torch
from PIL import Image

from polymodal.errors import RecipeError
from polymodal.parts.generators.diffusion import ImageDiffusion
from polymodal.parts.generators.prompted import Prompted
from polymodal.parts.output import Target
from tests.conftest import picture
from tests.parts.generators import test_diffusion as plain
from tests.parts.generators.contract import equal, make, random
from tests.parts.generators.test_diffusion import CONFIGS, DC, DDIM, FLOW, KL, MMDIT, PIXART, TEXTS, UNET

TWICE = {
    "unet": {"unet": {**UNET, "in_channels": 4}, "vae": KL, "scheduler": DDIM},
    "pixels": {"unet": {**UNET, "in_channels": 6, "out_channels": 3}, "scheduler": FLOW},
    "pixart": {"transformer": {**PIXART, "in_channels": 4}, "vae": DC, "scheduler": FLOW},
    "mmdit": {"transformer": {**MMDIT, "in_channels": 4}, "vae": DC, "scheduler": FLOW},
}
ONCE = {"unet": "epsilon", "pixels": "pixels", "pixart": "flow", "mmdit": "mmdit"}


def editor(name: str = "unet", **options) -> ImageDiffusion:
    return plain.generator("flow", config=TWICE[name], source=True, **options)


def prepared(of: ImageDiffusion, number: int = 2) -> list[torch.Tensor]:
    return [of.prepare(picture(seed, (9, 12))) for seed in range(number)]


@pytest.mark.parametrize("name", TWICE)
def test_another_source_makes_another_picture(name):
    made, condition = editor(name), torch.randn(1, 5, 12)
    one, two = prepared(made)
    drawn = [made.make(condition, random(), source=[source])[0].tobytes() for source in (one, one, two, None)]
    assert drawn[0] == drawn[1]
    assert len(set(drawn)) == 3
    assert made.make(condition, random())[0].tobytes() == drawn[3]  # none at all is none of each


def test_each_picture_follows_its_own_source():
    made, condition = editor(), torch.randn(1, 5, 12).expand(3, -1, -1)
    one, two = prepared(made)
    noise = torch.randn(1, *made.shape).expand(3, -1, -1, -1)
    at, beside = torch.full((3,), 7), made._beside([one, None, two], 3)
    together = made.predicted(noise, at, condition, beside)
    for i, source in enumerate((one, None, two)):
        alone = made.predicted(noise[:1], at[:1], condition[:1], made._beside([source], 1))
        torch.testing.assert_close(together[i : i + 1], alone)


def test_no_source_is_zeros_beside_the_noise():
    made = editor()
    seen: list[torch.Tensor] = []
    made.network.conv_in.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    made.make(torch.randn(1, 5, 12), random())
    assert all(not each[:, 2:].any() for each in seen)
    made.make(torch.randn(1, 5, 12), random(), source=prepared(made, 1))
    assert seen[-1][:, 2:].any()


@pytest.mark.parametrize("name", TWICE)
def test_the_loss_of_a_source_as_latents_is_that_of_its_pixels(name):
    made = editor(name)
    (source, target), condition = prepared(made), torch.randn(1, 5, 12, requires_grad=True)
    forms = [source, made.encode(source[None])[0]]
    losses = []
    for form in [*forms, None]:
        torch.manual_seed(0)
        losses.append(made.loss(target[None], condition, [form]))
    torch.testing.assert_close(losses[0], losses[1])
    assert not torch.allclose(losses[0], losses[2])
    losses[0].sum().backward()
    assert condition.grad is not None
    assert condition.grad.any()


@pytest.mark.parametrize(("guidance", "source_guidance"), [(3.0, 1.5), (3.0, 1.0)])
def test_it_makes_what_the_pipeline_of_instruct_pix2pix_makes(guidance, source_guidance):
    made = editor(guidance=guidance, source_guidance=source_guidance, steps=3)
    made.unconditional.normal_(generator=random(9))  # as of a text encoder, which makes something of nothing
    condition, shown = torch.randn(1, 5, 12), picture(3, (8, 8))
    pipeline = diffusers.StableDiffusionInstructPix2PixPipeline(
        made.vae, None, None, made.network, made.scheduler, None, None, requires_safety_checker=False
    )
    pipeline.set_progress_bar_config(disable=True)
    noise = torch.randn(1, *made.shape, generator=random(5))
    told = {"prompt_embeds": condition, "negative_prompt_embeds": made.unconditional[None]}
    scales = {"guidance_scale": guidance, "image_guidance_scale": source_guidance}
    theirs = pipeline(**told, **scales, image=shown, num_inference_steps=3, latents=noise, output_type="latent").images
    ours = made.denoised(condition, made.shape, random(5), source=made._beside([made.prepare(shown)], 1))
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def test_guidance_of_the_source_steers_away_from_nothing():
    condition, one = torch.randn(1, 5, 12), prepared(editor())[0]
    drawn = {}
    for guidance, followed in [(1.0, 1.0), (1.0, 2.0), (2.0, 1.0), (2.0, 2.0), (0.0, 0.0)]:
        made = editor(guidance=guidance, source_guidance=followed)
        drawn[guidance, followed] = made.make(condition, random(), source=[one])[0].tobytes()
    assert len(set(drawn.values())) == 5
    free = editor().make(editor().unconditional[None], random())[0].tobytes()
    assert drawn[0.0, 0.0] == free


@pytest.mark.parametrize("name", ONCE)
def test_a_network_without_a_place_for_it_is_widened_and_makes_what_it_made(name):
    before = plain.generator(ONCE[name], steps=2)
    made = ImageDiffusion(config=CONFIGS[ONCE[name]], conditions=TEXTS, steps=2, source=True).eval()
    entrance = next(key for key in ("conv_in.weight", "pos_embed.proj.weight") if key in made.network.state_dict())
    weights = before.state_dict()
    weights[f"network.{entrance}"] = torch.cat([weights[f"network.{entrance}"]] * 2, 1)
    own = before.shape[0]
    assert not made.network.state_dict()[entrance][:, own:].any()
    weights[f"network.{entrance}"][:, own:] = 0
    made.load_state_dict(weights, strict=True)
    condition = torch.randn(1, 5, 12)
    assert equal(made.make(condition, random(), source=prepared(made, 1)), before.make(condition, random()))
    again = ImageDiffusion(**made.options)
    again.load_state_dict(made.state_dict(), strict=True)
    assert again.options == made.options
    made.loss(prepared(made, 1)[0][None], condition, prepared(made, 1)).sum().backward()
    grown = dict(made.network.named_parameters())[entrance].grad
    assert grown is not None
    assert grown[:, own:].any()  # it learns to look


def test_options_rebuild_it():
    made = editor(size=16, source_guidance=1.5)
    again = ImageDiffusion(**made.options).eval()
    again.load_state_dict(made.state_dict())
    given = torch.randn(1, 5, 12), prepared(made, 1)
    one, two = (each.make(given[0], random(), source=given[1]) for each in (made, again))
    assert equal(one, two)
    assert set(made.options) <= set(inspect.signature(ImageDiffusion).parameters)


def test_conditions_and_sources_are_dropped_together_and_apart():
    made = editor(drop=0.2)
    made.network.requires_grad_(False)
    told: list[torch.Tensor] = []
    made.predicted = lambda noisy, at, condition, source: told.append((condition, source)) or noisy  # type: ignore
    latents, number = made.encode(prepared(made, 1)[0][None]), 4000
    given = latents.expand(number, -1, -1), torch.ones(number, 5, 12), [latents[0]] * number
    torch.manual_seed(0)
    made.loss(*given)
    assert all(each.flatten(1).any(1).all() for each in told[0])  # not as in inference
    made.train()
    made.loss(*given)
    asked, shown = (each.flatten(1).any(1) for each in told[1])
    shares = [(a & b).float().mean().item() for a, b in ((~asked, shown), (~asked, ~shown), (asked, ~shown))]
    assert shares == pytest.approx([0.1, 0.1, 0.1], abs=0.02)


def test_a_prompted_generator_changes_pictures_too():
    of = {"kind": "diffusion", "config": TWICE["pixels"], "conditions": TEXTS, "steps": 2, "source": True}
    made = make("prompted", of=of)
    assert isinstance(made, Prompted)
    assert made.edits
    with torch.no_grad():
        for parameter in made.parameters():
            torch.nn.init.normal_(parameter, std=0.2)
    sources = [made.prepare(picture(seed)) for seed in (0, 1)]
    one, two = (made.make(["make it blue"], random(), source=[source]) for source in sources)
    assert not equal(one, two)
    (direct,) = made.of.make(made.of.condition([Target("make it blue")]), random(), source=sources[:1])
    assert direct.tobytes() == one[0].tobytes()
    assert not make("prompted", of={**of, "config": CONFIGS["pixels"], "source": False}).edits


def test_what_an_image_encoder_sees_may_be_told_beside_a_source():
    of = {"kind": "vision", "config": {"model_type": "clip_vision_model", "hidden_size": 12, "intermediate_size": 16}}
    of["config"] |= {"num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 8, "patch_size": 4}
    made = make("feature-decoder", of=of, positions=4, config=TWICE["pixels"], source=True, steps=2)
    assert made.edits
    assert made.options["source"]
    target = made.prepare(picture(1))
    assert made.loss(target[None], torch.randn(1, 4, 12), [made.prepare(picture(2))]).shape == (1,)


@pytest.mark.parametrize(
    ("config", "source", "says"),
    [
        (TWICE["unet"], False, "say 'source: true'"),
        ({**TWICE["unet"], "unet": {**UNET, "in_channels": 5}}, True, "use one of 4 'in_channels'"),
        (CONFIGS["epsilon"] | {"unet": {**UNET, "in_channels": 9}}, True, "takes 9 channels"),
    ],
)
def test_a_network_that_does_not_fit_is_refused_with_what_would(config, source, says):
    with pytest.raises(RecipeError, match=says):
        ImageDiffusion(config=config, conditions=TEXTS, source=source)


SMALL = {
    **{"sample_size": 8, "in_channels": 3, "out_channels": 3, "block_out_channels": [16], "layers_per_block": 1},
    **{"norm_num_groups": 4, "cross_attention_dim": 12, "attention_head_dim": 8},
    **{"down_block_types": ["DownBlock2D"], "up_block_types": ["UpBlock2D"]},
}


def square(at: tuple[int, int], color: int) -> Image.Image:
    """A square of 3 x 3 pixels in red, green or blue on grey."""
    drawn = Image.new("RGB", (8, 8), (90, 90, 90))
    drawn.paste(tuple(255 * (color == i) for i in range(3)), (*at, at[0] + 3, at[1] + 3))
    return drawn


def test_a_square_is_recoloured_where_it_stands():
    """At places where it never stood in training, and not as another request or another picture would have it."""
    torch.manual_seed(0)
    of = {"config": {"unet": SMALL, "scheduler": FLOW}, "conditions": TEXTS, "steps": 4, "drop": 0.0}
    made = make("diffusion", **of, source=True)
    told = made.condition([Target(color) for color in ("red", "green", "blue")])
    places = [(x, y) for x in range(6) for y in range(6)]
    squares = {(at, color): made.prepare(square(at, color)) for at in places for color in range(3)}
    held, draw = places[::5], Random(0)
    known = [at for at in places if at not in held]
    optimizer = torch.optim.Adam(made.network.parameters(), 1e-2)
    for _ in range(180):
        rows = [(draw.choice(known), draw.randrange(3), draw.randrange(3)) for _ in range(16)]
        wanted = torch.stack([squares[at, after] for at, _, after in rows])
        shown = [squares[at, before] for at, before, _ in rows]
        optimizer.zero_grad()
        made.loss(wanted, told[[after for *_, after in rows]], shown).mean().backward()
        optimizer.step()
    rows = [(at, draw.randrange(3), draw.randrange(3)) for at in held]
    wanted = torch.stack([squares[at, after] for at, _, after in rows])

    def error(moved: int = 0, other: int = 0) -> float:
        shown = [squares[at, before] for at, before, _ in rows[moved:] + rows[:moved]]
        drawn = made.make(told[[(after + other) % 3 for *_, after in rows]], random(), source=shown)
        return (torch.stack([made.prepare(one) for one in drawn]) - wanted).square().mean().item()

    assert error() < 0.4 * error(moved=1)
    assert error() < 0.4 * error(other=1)
