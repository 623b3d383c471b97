"""Point-BERT and ULIP-2: the authors' names and shapes, and a cloud that is a set."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from polymodal.errors import MediaError, RecipeError
from polymodal.media import load_points
from polymodal.parts.encoders.pointbert import POINT_BERT, ULIP_2
from polymodal.parts.encoders.pointbert_network import Attention, Groups, PointTransformer, Ulip
from tests.parts.encoders.contract import check_lengths_and_neighbours, check_options_rebuild, features, make
from tests.parts.encoders.published import published, save, shapes

SMALL = {"width": 24, "depth": 2, "heads": 3}
TINY = {**SMALL, "groups": 6, "size": 4, "points": 100}
SIZES = {"point-bert": TINY, "ulip-2": {**TINY, "space": 20}}


def cloud(seed: int = 0, n: int = 80) -> np.ndarray:
    return load_points(np.random.default_rng(seed).random((n, 6)))


CLOUDS = [cloud(0), cloud(1), cloud(2, 130)]


def tiny(variant: str = "ulip-2", **options):
    return make("pointbert", variant=variant, config=SIZES[variant], **options)


def released(file: Path) -> tuple[dict, list]:
    """A tiny file as the authors of either lay theirs out, what a recipe needs to read it, and media for it."""
    torch.manual_seed(1)
    if file.name == "Point-BERT.pth":
        token = {"module.transformer_q.mask_token": torch.zeros(1, 1, 24), "module.queue": torch.zeros(3)}
        save(PointTransformer(**SMALL, channels=3), file, "base_model", prefix="module.transformer_q.", **token)
        return {"path": str(file), "config": TINY}, CLOUDS
    others = {"module.logit_scale": torch.zeros(()), "module.open_clip_model.visual.proj": torch.zeros(2)}
    save(Ulip(**SMALL, channels=6, space=20), file, "state_dict", prefix="module.", **others)
    return {"path": str(file), "config": SIZES["ulip-2"]}, CLOUDS


@pytest.mark.parametrize("name", ["point_bert", "ulip_2"])
def test_the_state_dict_is_the_published_one_name_for_name_and_shape_for_shape(name):
    size = POINT_BERT if name == "point_bert" else ULIP_2
    shape = size["width"], size["depth"], size["heads"]
    with torch.device("meta"):
        network = PointTransformer(*shape, 3) if name == "point_bert" else Ulip(*shape, 6, size["space"])
    assert shapes(network) == published(name)


@pytest.mark.parametrize(
    ("variant", "kind", "length"), [("point-bert", "tokens", 7), ("ulip-2", "tokens", 7), ("ulip-2", "embedding", 1)]
)
def test_length_is_what_is_emitted_alone_or_in_a_batch(variant, kind, length):
    encoder = tiny(variant, features=kind)
    assert encoder.length(encoder.prepare(cloud())) == length
    check_lengths_and_neighbours(encoder, CLOUDS)
    check_options_rebuild(encoder, "pointbert", CLOUDS)


def test_a_clouds_features_do_not_depend_on_the_others_even_in_training():
    encoder = tiny()
    quiet = features(encoder, CLOUDS)
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    for a, b in zip(quiet, features(encoder.train(), CLOUDS), strict=True):
        assert torch.equal(a, b)
    assert all(torch.equal(tensor, before[name]) for name, tensor in encoder.state_dict().items())
    fresh = Groups(3)  # as it is built, before anyone says whether it trains
    with torch.no_grad():
        assert fresh(torch.randn(1, 2, 4, 3)).shape == (1, 2, 256)
    assert fresh.first_conv[1].num_batches_tracked == 0


def test_the_order_of_the_points_changes_no_bit():
    encoder, points = tiny(), cloud()
    mixed = points[np.random.default_rng(3).permutation(len(points))]
    assert torch.equal(features(encoder, [points])[0], features(encoder, [mixed])[0])


@pytest.mark.parametrize(("variant", "told"), [("point-bert", False), ("ulip-2", True)])
def test_colour_is_read_by_ulip_2_alone(variant, told):
    encoder, points = tiny(variant), cloud()
    painted = np.column_stack((points[:, :3], 1 - points[:, 3:]))
    same = torch.equal(features(encoder, [points])[0], features(encoder, [painted])[0])
    assert same != told


def test_places_are_told_again_to_each_block():
    """Without its blocks' own weights a block adds nothing but the place it is told."""
    torch.manual_seed(0)
    network = PointTransformer(24, 3, 3, 3).eval()
    for block in network.blocks.blocks:
        for last in (block.attn.proj, block.mlp.fc2):
            torch.nn.init.zeros_(last.weight)
            torch.nn.init.zeros_(last.bias)
    x, places = torch.randn(1, 5, 24), torch.randn(1, 5, 24)
    assert torch.allclose(network.blocks(x, places), x + 3 * places, atol=1e-5)


def test_attention_is_torchs_with_the_same_weights():
    torch.manual_seed(0)
    ours, theirs = Attention(24, 3), torch.nn.MultiheadAttention(24, 3, batch_first=True)
    torch.nn.init.zeros_(theirs.in_proj_bias)
    theirs.in_proj_weight.data.copy_(ours.qkv.weight)
    theirs.out_proj.load_state_dict(ours.proj.state_dict())
    x = torch.randn(2, 7, 24)
    assert torch.allclose(ours(x), theirs(x, x, x)[0], atol=1e-5)


@pytest.mark.parametrize(("variant", "file"), [("point-bert", "Point-BERT.pth"), ("ulip-2", "ulip-2.pt")])
def test_the_authors_file_is_read_by_name(variant, file, tmp_path):
    options, media = released(tmp_path / file)
    loaded = make("pointbert", variant=variant, **options)
    held = torch.load(options["path"])["base_model" if variant == "point-bert" else "state_dict"]
    prefix = "module.transformer_q." if variant == "point-bert" else "module."
    for name, tensor in loaded.network.state_dict().items():
        assert torch.equal(tensor, held[prefix + name]), name
    assert len(features(loaded, media)) == len(CLOUDS)
    with pytest.raises(RecipeError, match="has no '(base_model|state_dict)'"):
        make("pointbert", variant="point-bert" if variant == "ulip-2" else "ulip-2", path=options["path"])


def test_a_cloud_of_too_few_points_and_an_embedding_of_point_bert_are_refused():
    with pytest.raises(MediaError, match="a cloud of 5 points is too small"):
        tiny().prepare(cloud(0, 5))
    with pytest.raises(RecipeError, match="only variant 'ulip-2' has an embedding"):
        tiny("point-bert", features="embedding")
