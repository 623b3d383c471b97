"""OpenCLIP's ConvNeXt: every published name has one of ours, and its two readings are those of the authors' code."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.functional import layer_norm

from polymodal.errors import RecipeError
from polymodal.parts.encoders.clip_convnext import XXLARGE, ClipConvNeXt
from polymodal.parts.encoders.clip_convnext_names import ours
from tests.conftest import picture
from tests.parts.encoders.contract import check_lengths_and_neighbours, check_options_rebuild, features, make
from tests.parts.encoders.published import published, shapes

TINY = {**{f"depth{i}": 1 for i in (1, 3, 4)}, "depth2": 2, "width1": 8, "width2": 8, "width3": 16, "width4": 24}
TINY |= {"image": 64, "space": 12}
MEDIA = [picture(1), picture(2, (50, 90))]


def published_names(encoder: ClipConvNeXt) -> dict[str, torch.Tensor]:
    """The weights of a tiny one by the published names, of which it has fewer."""
    theirs = {ours(name): name for name in published("clip_convnext_xxlarge")}
    return {theirs[name]: tensor for name, tensor in encoder.network.state_dict().items()}


def released(file: Path) -> tuple[dict, list]:
    """A tiny file with the other half of CLIP, what a recipe needs to read it, and media for it."""
    encoder = make("clip-convnext", config=TINY)
    for tensor in encoder.network.state_dict().values():
        tensor.add_(0.3 * torch.randn(tensor.shape))
    text = {"text_projection": torch.zeros(2), "transformer.resblocks.0.ln_1.bias": torch.zeros(2)}
    torch.save(published_names(encoder) | text, file)
    return {"path": str(file), "config": TINY}, MEDIA


def test_every_published_name_has_one_of_ours_of_its_shape():
    with torch.device("meta"):
        encoder = ClipConvNeXt(config=XXLARGE)
    listed = published("clip_convnext_xxlarge")
    assert {ours(name): shape for name, shape in listed.items()} == shapes(encoder.network)
    assert len({ours(name) for name in listed}) == len(listed)
    assert {norm.eps for norm in encoder.modules() if isinstance(norm, nn.LayerNorm)} == {1e-5}


@pytest.mark.parametrize(("kind", "length"), [("grid", 4), ("embedding", 1)])
def test_length_is_what_is_emitted_alone_or_in_a_batch(kind, length, tmp_path):
    options, _ = released(tmp_path / "clip.bin")
    encoder = make("clip-convnext", **options, features=kind)
    assert encoder.length(encoder.prepare(MEDIA[0])) == length
    check_lengths_and_neighbours(encoder, MEDIA)
    check_options_rebuild(encoder, "clip-convnext", MEDIA)


def test_a_released_file_is_read_by_name_and_text_is_left(tmp_path):
    options, media = released(tmp_path / "clip.bin")
    loaded, held = make("clip-convnext", **options), torch.load(options["path"])
    for name, tensor in published_names(loaded).items():
        assert torch.equal(tensor, held[name]), name
    grid = features(loaded, media)
    one = features(make("clip-convnext", **options, features="embedding"), media)
    norm = [held[f"visual.trunk.head.norm.{part}"] for part in ("weight", "bias")]
    for cells, embedding in zip(grid, one, strict=True):
        mean = layer_norm(cells.mean(0), cells.shape[1:], *norm, 1e-5)
        assert torch.allclose(embedding[0], held["visual.head.proj.weight"] @ mean, atol=1e-4)


def test_another_head_is_refused_by_its_first_tensor(tmp_path):
    options, _ = released(tmp_path / "clip.bin")
    held = torch.load(options["path"])
    torch.save(held | {"visual.head.mlp.fc1.weight": torch.zeros(2)}, options["path"])
    with pytest.raises(RecipeError, match=r"'visual\.head\.mlp\.fc1\.weight' belongs to nothing"):
        make("clip-convnext", **options)
