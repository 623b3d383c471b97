"""CLIP's ResNet-50: the authors' names and shapes, and its pooling by attention."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from polymodal.errors import RecipeError
from polymodal.parts.encoders.clip_resnet import RN50, ClipResNetImages
from polymodal.parts.encoders.clip_resnet_network import AttentionPool, ClipResNet
from tests.conftest import picture
from tests.parts.encoders.contract import check_lengths_and_neighbours, check_options_rebuild, features, make
from tests.parts.encoders.published import published, save, shapes

TINY = {"width": 4, "depth1": 2, "depth2": 1, "depth3": 1, "depth4": 1, "image": 64, "space": 12}
MEDIA = [picture(1), picture(2, (50, 90))]


def released(file: Path) -> tuple[dict, list]:
    """A tiny file with the other half of CLIP, what a recipe needs to read it, and media for it."""
    torch.manual_seed(1)
    text = {"text_projection": torch.zeros(2), "transformer.resblocks.0.ln_1.bias": torch.zeros(2)}
    save(ClipResNet(4, [2, 1, 1, 1], 64, 12), file, prefix="visual.", **text)
    return {"path": str(file), "config": TINY}, MEDIA


def pmc_clip(file: Path) -> tuple[dict, list]:
    """The same of PMC-CLIP, whose pictures have a file of their own."""
    torch.manual_seed(1)
    save(ClipResNet(4, [2, 1, 1, 1], 64, 12), file)
    return {"variant": "pmc-clip", "path": str(file), "config": TINY}, MEDIA


def test_the_state_dict_is_the_published_one_name_for_name_and_shape_for_shape():
    with torch.device("meta"):
        encoder = ClipResNetImages(config=RN50)
    assert shapes(encoder.network) == published("clip_rn50")


def test_pmc_clips_are_the_same_names_without_the_whole_around_them(tmp_path):
    with torch.device("meta"):
        encoder = ClipResNetImages("pmc-clip", config={})
    assert shapes(encoder.network["visual"]) == published("pmc_clip_rn50")
    options, media = pmc_clip(tmp_path / "image_encoder(resnet50).pth")
    loaded, held = make("clip-resnet", **options), torch.load(options["path"])
    assert {name: tensor.tolist() for name, tensor in loaded.network["visual"].state_dict().items()} == {
        name: tensor.tolist() for name, tensor in held.items()
    }
    check_options_rebuild(loaded, "clip-resnet", media)
    with pytest.raises(RecipeError, match=r"tensor 'visual\.\S+' is missing"):
        make("clip-resnet", **{**options, "variant": "clip"})


@pytest.mark.parametrize(("kind", "length"), [("grid", 4), ("embedding", 1)])
def test_length_is_what_is_emitted_alone_or_in_a_batch(kind, length):
    encoder = make("clip-resnet", config=TINY, features=kind)
    for parameter in encoder.parameters():  # louder: norms that have learned nothing let a picture fade away
        parameter.data.mul_(3 if parameter.ndim == 4 else 1)
    assert encoder.length(encoder.prepare(MEDIA[0])) == length
    check_lengths_and_neighbours(encoder, MEDIA)
    check_options_rebuild(encoder, "clip-resnet", MEDIA)
    before = features(encoder, MEDIA)
    for a, b in zip(before, features(encoder.train(), MEDIA), strict=True):
        assert torch.equal(a, b)


def test_a_released_file_is_read_by_name_and_text_is_left(tmp_path):
    options, media = released(tmp_path / "clip.pt")
    loaded = make("clip-resnet", **options)
    held = torch.load(options["path"])
    for name, tensor in loaded.network.state_dict().items():
        assert torch.equal(tensor, held[name]), name
    assert not torch.equal(features(loaded, media)[0], features(make("clip-resnet", config=TINY), media)[0])


@pytest.mark.filterwarnings("ignore:'torch.load' received a zip file")
def test_a_program_in_place_of_weights_is_not_run(tmp_path):
    torch.jit.script(nn.Linear(2, 2)).save(str(tmp_path / "RN50.pt"))
    with pytest.raises(RecipeError, match="cannot be read as weights"):
        make("clip-resnet", path=str(tmp_path / "RN50.pt"))


def test_the_pool_is_torchs_attention_of_the_mean_over_all():
    torch.manual_seed(0)
    ours, theirs = AttentionPool(128, 4, 12), nn.MultiheadAttention(128, 2, batch_first=True)
    parts = [ours.q_proj, ours.k_proj, ours.v_proj]
    theirs.in_proj_weight.data.copy_(torch.cat([part.weight for part in parts]))
    theirs.in_proj_bias.data.copy_(torch.cat([part.bias for part in parts]))
    nn.init.eye_(theirs.out_proj.weight)
    nn.init.zeros_(theirs.out_proj.bias)
    maps = torch.randn(2, 128, 2, 2)
    cells = maps.flatten(2).transpose(1, 2)
    x = torch.cat((cells.mean(1, keepdim=True), cells), dim=1) + ours.positional_embedding
    assert torch.allclose(ours(maps), ours.c_proj(theirs(x[:, :1], x, x)[0][:, 0]), atol=1e-5)


def test_each_stage_but_the_first_halves_the_map():
    network = ClipResNet(4, [1, 1, 1, 1], 64, 12)
    sides: list[int] = []
    for stage in network.stages:
        network.get_submodule(stage).register_forward_hook(lambda _, given, out: sides.append(out.shape[-1]))
    network(torch.randn(1, 3, 64, 64))
    assert sides == [16, 8, 4, 2]
