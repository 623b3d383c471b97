"""Every vision encoder of transformers that the house names, at tiny random width."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file, save_file

from polymodal.errors import RecipeError
from polymodal.parts.tiny import VISION as ENCODERS
from tests.conftest import picture
from tests.parts.encoders.contract import check_lengths_and_neighbours, check_options_rebuild, features, make

PICTURES = [picture(1, (40, 30)), picture(2, (9, 60)), picture(3, (100, 100)), picture(4, (28, 28))]


@pytest.fixture(scope="module", params=ENCODERS)
def encoder(request):
    return make("vision", config=dict(ENCODERS[request.param]))


def test_length_is_what_is_emitted_alone_or_in_a_batch(encoder):
    check_lengths_and_neighbours(encoder, PICTURES)


def test_options_and_weights_make_the_same_encoder_again(encoder):
    check_options_rebuild(encoder, "vision", PICTURES)


def test_features_lie_in_reading_order(encoder):
    """The last feature sees the lower right corner: what is painted there moves it most.

    Prefix tokens left in, or patches in another order, would move another place.
    """
    side = encoder.prepare(PICTURES[3])["pixel_values"].shape[-1]
    if encoder.network.config.model_type == "siglip2_vision_model":
        side = 28
    blank = np.full((side, side, 3), 128, dtype=np.uint8)
    spot = blank.copy()
    edge = side // 4
    spot[-edge:, -edge:] = [255, 0, 0]
    a, b = features(encoder, [Image.fromarray(blank), Image.fromarray(spot)])
    moved = (a - b).norm(dim=-1)
    assert int(moved.argmax()) == len(moved) - 1


def test_gradients_reach_the_encoder_when_it_trains(encoder):
    encoder.zero_grad()
    out = encoder([encoder.prepare(PICTURES[0])]).tokens[0]
    out.square().sum().backward()
    reached = [p.grad is not None and bool(p.grad.abs().max() > 0) for p in encoder.parameters()]
    assert sum(reached) > len(reached) // 2
    encoder.zero_grad()


# Checkpoints that hold more than the tower: (class, its config). The tower must be taken out of each.
_TEXT = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 50}


def _whole(name: str) -> transformers.PreTrainedModel:
    vision = {k: v for k, v in ENCODERS[name].items() if k != "model_type"}
    text = {**_TEXT, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    if name == "clip":
        config = transformers.CLIPConfig(vision_config=vision, text_config=text, projection_dim=16)
        return transformers.CLIPModel(config)
    if name == "siglip":
        return transformers.SiglipModel(transformers.SiglipConfig(vision_config=vision, text_config=text))
    if name == "siglip2":
        return transformers.Siglip2Model(transformers.Siglip2Config(vision_config=vision, text_config=text))
    if name == "aimv2":
        return transformers.Aimv2Model(transformers.Aimv2Config(vision_config=vision, text_config=text, projection_dim=16))
    if name == "internvl":
        config = transformers.InternVLConfig(vision_config=vision, text_config={"model_type": "qwen2", **text})
        return transformers.InternVLForConditionalGeneration(config)
    if name in ("sam", "sam-hq"):
        kind = transformers.SamModel if name == "sam" else transformers.SamHQModel
        decoder = {"hidden_size": 16, "mlp_dim": 32, "iou_head_hidden_dim": 16, "vit_dim": 24}
        prompts = {"hidden_size": 16, "image_size": 28, "patch_size": 7}
        options = {"vision_config": vision, "mask_decoder_config": decoder, "prompt_encoder_config": prompts}
        return kind(kind.config_class(**options))
    if name == "vit":
        return transformers.ViTForImageClassification(transformers.ViTConfig(**vision))
    assert name == "eva-vit (blip-2)"
    q_former = {**_TEXT, "encoder_hidden_size": 24}
    config = transformers.Blip2Config(
        vision_config=vision, qformer_config=q_former, text_config={"model_type": "opt", "ffn_dim": 32, **text}
    )
    return transformers.Blip2ForConditionalGeneration(config)


_INNER = {  # where each whole model keeps its tower
    "clip": "vision_model",
    "siglip": "vision_model",
    "siglip2": "vision_model",
    "aimv2": "vision_model",
    "internvl": "model.vision_tower",
    "vit": "vit",
    "sam": "vision_encoder",
    "sam-hq": "vision_encoder",
    "eva-vit (blip-2)": "vision_model",
}


def _save_with_processor(model: transformers.PreTrainedModel, name: str, folder) -> None:
    model.save_pretrained(folder)
    if name == "siglip2":
        transformers.Siglip2ImageProcessorPil(patch_size=7, max_num_patches=16).save_pretrained(folder)
        return
    if name.startswith("sam"):
        size = {"size": {"longest_edge": 28}, "pad_size": {"height": 28, "width": 28}}
        transformers.SamImageProcessorPil(**size).save_pretrained(folder)
        return
    size = {"height": 28, "width": 28}
    transformers.ViTImageProcessorPil(size=size, image_mean=[0.4] * 3, image_std=[0.3] * 3).save_pretrained(folder)


@pytest.mark.parametrize("name", _INNER)
def test_the_tower_of_a_whole_checkpoint_is_taken(name, tmp_path):
    torch.manual_seed(0)
    whole = _whole(name).eval()
    _save_with_processor(whole, name, tmp_path)
    encoder = make("vision", path=str(tmp_path))
    tower = whole.get_submodule(_INNER[name])
    own, taken = tower.state_dict(), encoder.network.state_dict()
    first = next(iter(own))
    prefix = next(p for p in ("", "vision_model.", "vision_encoder.") if p + first in taken)
    for key, tensor in own.items():
        if "pooler" not in key or prefix + key in taken:
            assert torch.equal(taken[prefix + key], tensor), key
    check_lengths_and_neighbours(encoder, PICTURES)
    check_options_rebuild(encoder, "vision", PICTURES)


@pytest.mark.parametrize("name", ["dinov2", "swin", "convnext", "mae", "beit", "sam", "sam-hq"])
def test_a_folder_saved_by_transformers_gives_the_same_features(name, tmp_path):
    encoder = make("vision", config=dict(ENCODERS[name]))
    encoder.network.save_pretrained(tmp_path)
    encoder.processor.save_pretrained(tmp_path)
    again = make("vision", path=str(tmp_path))
    for a, b in zip(features(encoder, PICTURES), features(again, PICTURES), strict=True):
        assert torch.equal(a, b)
    check_options_rebuild(again, "vision", PICTURES)


LARGER = {name: 2 * config["image_size"] for name, config in ENCODERS.items() if name not in ("siglip2", "aimv2")}
LARGER = {name: size for name, size in LARGER.items() if not name.startswith(("sam", "internvl"))}


@pytest.mark.parametrize("name", LARGER)
def test_a_larger_picture_has_four_times_the_patches(name):
    small, large = (make("vision", config=dict(ENCODERS[name]), size=size) for size in (None, LARGER[name]))
    inputs = [encoder.prepare(PICTURES[0]) for encoder in (small, large)]
    assert large.length(inputs[1]) == 4 * small.length(inputs[0])
    check_lengths_and_neighbours(large, PICTURES)
    check_options_rebuild(large, "vision", PICTURES)


@pytest.mark.parametrize(
    ("name", "size", "said"),
    [("clip", 50, "50 pixels are no whole patches of 7"), ("aimv2", 56, "takes pictures of its own size only")],
)
def test_a_size_that_an_encoder_cannot_have_is_refused(name, size, said):
    with pytest.raises(RecipeError, match=said):
        make("vision", config=dict(ENCODERS[name]), size=size)


CLASS_TOKEN = [name for name in ENCODERS if name not in ("siglip", "siglip2", "aimv2", "swin", "sam", "sam-hq", "convnext")]


@pytest.mark.parametrize("name", CLASS_TOKEN)
def test_the_class_token_stands_before_the_patches(name):
    """It is the network's own first state, and everything behind it is what is read without it."""
    bare, encoder = (make("vision", config=dict(ENCODERS[name]), class_token=on) for on in (False, True))
    for seen, with_class, patches in zip(PICTURES, features(encoder, PICTURES), features(bare, PICTURES), strict=True):
        assert torch.equal(with_class[1:], patches)
        pixels = encoder.prepare(seen)["pixel_values"][None]
        noise = {"noise": torch.arange(len(patches))[None]} if name == "mae" else {}
        with torch.no_grad():
            states = encoder.network(pixel_values=pixels, **noise).last_hidden_state
        assert torch.allclose(with_class[0], states[0, 0], atol=1e-5)
    check_lengths_and_neighbours(encoder, PICTURES)
    check_options_rebuild(encoder, "vision", PICTURES)


def test_each_tile_has_its_class_token():
    encoder = make("vision", config=dict(ENCODERS["clip"]), tiles=2, class_token=True)
    assert encoder.length(encoder.prepare(PICTURES[0])) == 5 * (1 + 16)
    check_lengths_and_neighbours(encoder, PICTURES)


@pytest.mark.parametrize("name", [name for name in ENCODERS if name not in CLASS_TOKEN])
def test_a_tower_without_a_class_token_says_so(name):
    with pytest.raises(RecipeError, match="option 'class_token': a '.*' has none"):
        make("vision", config=dict(ENCODERS[name]), class_token=True)


@pytest.fixture
def clip_folder(tmp_path):
    whole = _whole("clip")
    whole.save_pretrained(tmp_path)
    transformers.CLIPImageProcessorPil(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28}).save_pretrained(
        tmp_path
    )
    return tmp_path


def test_preprocessing_is_the_checkpoints_own(clip_folder):
    """CLIP crops the centre: what lies outside it must not be seen, and survives the way through `options`."""
    encoder = make("vision", path=str(clip_folder))
    wide = np.asarray(picture(5, (84, 28))).copy()
    changed = wide.copy()
    changed[:, :20] = 0
    a, b = features(encoder, [Image.fromarray(wide), Image.fromarray(changed)])
    assert torch.equal(a, b)
    mean = encoder.prepare(Image.new("RGB", (28, 28)))["pixel_values"].mean(dim=(1, 2))
    assert torch.allclose(mean, -torch.tensor([0.48145466 / 0.26862954, 0.4578275 / 0.26130258, 0.40821073 / 0.27577711]))
    check_options_rebuild(encoder, "vision", [Image.fromarray(wide), *PICTURES])


def test_a_missing_tensor_is_named(clip_folder):
    state = load_file(clip_folder / "model.safetensors")
    del state["vision_model.encoder.layers.1.mlp.fc1.weight"]
    save_file(state, clip_folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(RecipeError, match=r"encoder.path .*'.*encoder.layers.1.mlp.fc1.weight' is missing"):
        make("vision", path=str(clip_folder))


def test_a_misshapen_tensor_is_named(clip_folder):
    state = load_file(clip_folder / "model.safetensors")
    state["vision_model.encoder.layers.1.mlp.fc1.weight"] = torch.zeros(3, 3)
    save_file(state, clip_folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(RecipeError, match=r"encoder.path .*'.*encoder.layers.1.mlp.fc1.weight' is missing or misshapen"):
        make("vision", path=str(clip_folder))


def test_a_cut_weight_file_is_a_recipe_error(clip_folder):
    whole = (clip_folder / "model.safetensors").read_bytes()
    (clip_folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(RecipeError, match="encoder.path .*cannot be read"):
        make("vision", path=str(clip_folder))


def test_a_folder_without_its_image_processor_is_a_recipe_error(clip_folder):
    (clip_folder / "preprocessor_config.json").unlink()
    with pytest.raises(RecipeError, match="encoder.path"):
        make("vision", path=str(clip_folder))


def test_a_folder_that_is_not_there_is_a_recipe_error(tmp_path):
    with pytest.raises(RecipeError, match="no such folder"):
        make("vision", path=str(tmp_path / "nowhere"))


def test_a_config_that_is_no_vision_encoder_is_a_recipe_error():
    with pytest.raises(RecipeError, match="model_type.*'clop'"):
        make("vision", config={"model_type": "clop"})
    with pytest.raises(RecipeError, match="either 'path' .* or 'config'"):
        make("vision")
    with pytest.raises(RecipeError, match="whisper"):
        make("vision", config={"model_type": "whisper", "d_model": 24, "decoder_layers": 1, "encoder_layers": 1})


STAGED = ("swin", "convnext", "sam", "sam-hq")


@pytest.mark.parametrize("name", [name for name in ENCODERS if name not in STAGED])
def test_a_layer_counted_from_the_end_is_what_the_layers_behind_it_are_given(name):
    """Two layers: what -2 reads depends on the first and not on the last, and has a feature for each patch."""
    encoder = make("vision", config=dict(ENCODERS[name]), layer=-2)
    check_lengths_and_neighbours(encoder, PICTURES)
    (before,) = features(encoder, PICTURES[:1])
    last, first = ([p for n, p in encoder.named_parameters() if f".{i}." in n and p.dim() == 2] for i in (1, 0))
    for layer, moves in ((last, False), (first, True)):
        with torch.no_grad():
            layer[0].add_(1.0)
        assert torch.equal(before, features(encoder, PICTURES[:1])[0]) != moves


@pytest.mark.parametrize("name", ["clip", "siglip", "swin"])
def test_tiles_are_pictures_to_the_encoder_behind_the_whole(name):
    from polymodal.parts.encoders.tiles import views

    tiled = make("vision", config=dict(ENCODERS[name]), tiles=2)
    plain = make("vision", config=dict(ENCODERS[name]))
    check_lengths_and_neighbours(tiled, PICTURES)
    check_options_rebuild(tiled, "vision", PICTURES)
    (together,) = features(tiled, PICTURES[:1])
    assert torch.allclose(together, torch.cat(features(plain, views(PICTURES[0], plain.size, 2))), atol=1e-5)


@pytest.mark.parametrize(
    ("name", "option", "said"),
    [
        ("clip", {"layer": -3}, "'layer': a 'clip_vision_model' has -1 to -2, not -3"),
        ("clip", {"layer": 1}, "-1 to -2, not 1"),
        ("swin", {"layer": -2}, "'layer': a 'swin' has states of different widths"),
        ("sam", {"layer": -2}, "'layer': a 'sam_vision_model' has states of different widths"),
        ("siglip2", {"tiles": 2}, "'tiles': a 'siglip2_vision_model' takes pictures of any shape"),
    ],
)
def test_a_layer_or_tiles_that_a_tower_does_not_have_are_refused(name, option, said):
    with pytest.raises(RecipeError, match=said):
        make("vision", config=dict(ENCODERS[name]), **option)
