"""Pictures of image features: the condition is what an image encoder sees, and it stands beside the decoder."""

from __future__ import annotations

import json

import pytest
import torch

from polymodal.errors import DataError, RecipeError
from polymodal.parts.generators.image_conditions import ImageConditions, averaged
from polymodal.parts.output import Target
from tests.conftest import CLIP, picture
from tests.parts.generators.contract import equal, load_file, make, random, save_file
from tests.parts.generators.test_diffusion import CONFIGS, UNET

OF = {"kind": "vision", "config": dict(CLIP)}  # 16 features of width 24
CONFIG = {**CONFIGS["epsilon"], "unet": {**UNET, "cross_attention_dim": 24}}
NARROW = {**CONFIGS["epsilon"], "unet": {**UNET, "encoder_hid_dim": 24, "encoder_hid_dim_type": "text_proj"}}


def decoder(**options):
    made = make("feature-decoder", **{"of": OF, "positions": 4, "config": CONFIG, "steps": 2, **options})
    for parameter in made.network.parameters():  # some are zero at first, and nothing would pass them
        torch.nn.init.normal_(parameter, std=0.2)
    return made


def seen(generator, *seeds: int) -> list[Target]:
    return [Target(prepared=generator.prepare(picture(seed))) for seed in seeds]


@pytest.mark.parametrize("config", [CONFIG, NARROW])
def test_a_condition_is_the_averaged_features_of_the_target_and_makes_its_picture(config):
    generator = decoder(config=config)
    condition = generator.condition(seen(generator, 1, 2))
    assert condition.shape == (2, generator.positions, generator.width) == (2, 4, 24)
    assert not torch.allclose(condition[0], condition[1], atol=1e-3)
    made = generator.make(condition, random())
    assert equal(made, generator.make(condition, random()))
    assert not equal(made, generator.make(condition, random(1)))
    assert made[0].size == (8, 8)


def test_the_gradient_reaches_the_condition_of_a_frozen_decoder():
    generator = decoder().requires_grad_(False)
    targets = seen(generator, 1, 2)
    condition = generator.condition(targets).requires_grad_()
    before = {name: tensor.clone() for name, tensor in generator.state_dict().items()}
    loss = generator.loss(torch.stack([target.prepared for target in targets]), condition)
    assert loss.shape == (2,)
    loss.sum().backward()
    assert condition.grad.abs().sum() > 0
    assert all(torch.equal(tensor, before[name]) for name, tensor in generator.state_dict().items())


def test_the_image_encoder_is_no_part_of_its_state_and_is_the_same_again(tmp_path):
    generator = decoder()
    condition = generator.condition(seen(generator, 1))
    assert not any("encoder.layers" in name for name in generator.state_dict())
    again = make("feature-decoder", **json.loads(json.dumps(generator.options)))
    assert again.options == generator.options
    save_file(generator.state_dict(), tmp_path / "generator.safetensors")
    again.load_state_dict(load_file(tmp_path / "generator.safetensors"), strict=True)
    torch.manual_seed(5)
    assert torch.equal(again.condition(seen(again, 1)), condition)
    assert equal(again.make(condition, random()), generator.make(condition, random()))


def test_building_the_image_encoder_draws_no_random_number():
    torch.manual_seed(3)
    wanted = torch.rand(2)
    torch.manual_seed(3)
    ImageConditions(OF)([picture()])
    assert torch.equal(torch.rand(2), wanted)


def test_squares_are_averaged_by_squares_and_rows_along_the_row():
    tokens = torch.arange(16.0)[:, None]
    assert averaged(tokens, 4).flatten().tolist() == [2.5, 4.5, 10.5, 12.5]
    assert averaged(tokens, 1).flatten().tolist() == [7.5]
    assert averaged(tokens, 2).flatten().tolist() == [3.5, 11.5]
    assert averaged(tokens, 16).flatten().tolist() == list(range(16))
    with pytest.raises(RecipeError, match="17 are more than the 16 features"):
        averaged(tokens, 17)


def test_a_target_without_a_picture_is_refused():
    generator = decoder()
    with pytest.raises(DataError, match="1 targets of the generator have no picture"):
        generator.condition([*seen(generator, 1), Target(caption="a cat")])


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"config": CONFIGS["epsilon"]}, "its features are 24 wide, the network reads 12"),
        ({"of": {"kind": "waveform", "config": {"model_type": "hubert", "num_hidden_layers": 1}}}, "takes audio"),
        ({"of": {"kind": "visoin"}}, "did you mean 'vision'"),
        ({"positions": 17}, "17 are more than the 16 features"),
    ],
)
def test_what_cannot_be_seen_is_refused_by_name(options, named):
    generator = decoder(**options)
    targets = seen(generator, 1)
    with pytest.raises(RecipeError, match=named):
        generator.condition(targets)
