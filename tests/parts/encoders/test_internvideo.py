"""InternVideo: the authors' names and shapes, CLIP's transformer on each frame, and a query that reads them all."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import transformers

from polymodal.errors import RecipeError
from polymodal.media import load_video
from polymodal.parts.encoders.internvideo import L14, InternVideoClips
from polymodal.parts.encoders.internvideo_network import InternVideo
from polymodal.parts.tiny_encoders import INTERNVIDEO as TINY
from tests.parts.encoders.contract import check_lengths_and_neighbours, check_options_rebuild, make
from tests.parts.encoders.published import published, save, shapes
from tests.parts.encoders.test_frames import noise, shades

CLIPS = [load_video(clip) for clip in (noise(4), noise(40, 4, seed=1, size=(9, 60)), noise(1, seed=2))]


def awake(network: InternVideo) -> InternVideo:
    """Everything says something: what starts from zero is drawn."""
    for parameter in network.parameters():
        parameter.data.add_(0.3 * torch.randn_like(parameter))
    return network


def released(file: Path) -> tuple[dict, list]:
    """A tiny file with the other half of the model and what stands beside it, what a recipe needs, and media for it."""
    torch.manual_seed(1)
    text = {"clip.text_projection": torch.zeros(2), "clip.text_mask_embedding": torch.zeros(2), "decoder.x": torch.zeros(2)}
    save(awake(InternVideo(**TINY)), file, "state_dict", prefix="clip.", **text)
    return {"path": str(file), "config": TINY}, CLIPS


def test_the_state_dict_is_the_published_one_name_for_name_and_shape_for_shape():
    with torch.device("meta"):
        encoder = InternVideoClips(config=L14)
    assert shapes(encoder.network) == published("internvideo_mm_l14")


@pytest.mark.parametrize(("kind", "length"), [("patches", 64), ("embedding", 1)])
def test_length_is_what_is_emitted_alone_or_in_a_batch(kind, length, tmp_path):
    options, clips = released(tmp_path / "internvideo.ckpt")
    encoder = make("internvideo", **options, features=kind)
    assert [encoder.length(encoder.prepare(clip)) for clip in clips] == [length] * 3
    check_lengths_and_neighbours(encoder, clips)
    check_options_rebuild(encoder, "internvideo", clips)


def test_a_released_file_is_read_by_name_and_what_is_beside_it_is_left(tmp_path):
    options, _ = released(tmp_path / "internvideo.ckpt")
    loaded, held = make("internvideo", **options), torch.load(options["path"])["state_dict"]
    for name, tensor in loaded.network.state_dict().items():
        assert torch.equal(tensor, held[f"clip.{name}"]), name
    torch.save({"state_dict": held | {"clip.visual.new": torch.zeros(2)}}, options["path"])
    with pytest.raises(RecipeError, match=r"'visual\.new' belongs to nothing"):
        make("internvideo", **options)


def test_each_frame_is_seen_as_clip_sees_a_picture():
    """By transformers' CLIP with the same weights: patches of one frame do not know of another."""
    torch.manual_seed(0)
    network = awake(InternVideo(**TINY)).eval()
    sizes = {"hidden_size": 24, "intermediate_size": 96, "num_hidden_layers": 3, "num_attention_heads": 3}
    config = transformers.CLIPVisionConfig(**sizes, image_size=28, patch_size=7, hidden_act="quick_gelu")
    clip = transformers.CLIPVisionModel(config).eval()
    visual = network.visual
    with torch.no_grad():
        embeddings = clip.embeddings
        embeddings.patch_embedding.weight.copy_(visual.conv1.weight[:, :, 0])
        embeddings.class_embedding.copy_(visual.class_embedding)
        embeddings.position_embedding.weight.copy_(visual.positional_embedding)
        clip.pre_layrnorm.load_state_dict(visual.ln_pre.state_dict())
        for theirs, mine in zip(clip.encoder.layers, visual.transformer.resblocks, strict=True):
            for name, weight, bias in zip(
                "qkv", mine.attn.in_proj_weight.chunk(3), mine.attn.in_proj_bias.chunk(3), strict=True
            ):
                getattr(theirs.self_attn, f"{name}_proj").weight.copy_(weight)
                getattr(theirs.self_attn, f"{name}_proj").bias.copy_(bias)
            theirs.self_attn.out_proj.load_state_dict(mine.attn.out_proj.state_dict())
            theirs.layer_norm1.load_state_dict(mine.ln_1.state_dict())
            theirs.layer_norm2.load_state_dict(mine.ln_2.state_dict())
            theirs.mlp.fc1.load_state_dict(mine.mlp.c_fc.state_dict())
            theirs.mlp.fc2.load_state_dict(mine.mlp.c_proj.state_dict())
        pixels = torch.randn(2, 3, 4, 28, 28)
        states, _ = network(pixels)
        expected = clip(pixels.transpose(1, 2).flatten(0, 1)).last_hidden_state[:, 1:].unflatten(0, (2, 4))
    assert torch.allclose(states, expected, atol=1e-3)


def test_the_embedding_knows_the_order_of_frames_and_the_mean_of_their_class_tokens_does_not():
    torch.manual_seed(0)
    network = awake(InternVideo(**TINY)).eval()
    pixels = torch.randn(1, 3, 4, 28, 28)
    with torch.no_grad():
        assert not torch.allclose(network(pixels)[1], network(pixels.flip(2))[1], atol=1e-3)
        network.visual.transformer.balance.fill_(100)  # all of the mean
        assert torch.allclose(network(pixels)[1], network(pixels.flip(2))[1], atol=1e-4)


def test_frames_are_taken_from_the_first_to_the_last():
    encoder, shown = make("internvideo", config=TINY), []
    encoder.processor = lambda image, **_: shown.append(image.getpixel((0, 0))[0]) or {"pixel_values": torch.zeros(1, 1)}
    encoder.prepare(load_video(shades(10, 2.0)))
    assert shown == [0, 3, 6, 9]
