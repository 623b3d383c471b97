"""EVA-02-CLIP-E: the authors' names and shapes, and norms behind what they norm."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from polymodal.parts.encoders.eva2_clip import E14, Eva2Clip
from polymodal.parts.encoders.eva2_clip_network import Attention, Block, EvaVision
from tests.conftest import picture
from tests.parts.encoders.contract import check_lengths_and_neighbours, check_options_rebuild, features, make
from tests.parts.encoders.published import published, save, shapes

TINY = {"width": 24, "depth": 3, "heads": 3, "hidden": 40, "image": 28, "patch": 7, "space": 12}
MEDIA = [picture(1), picture(2, (50, 90))]


def released(file: Path) -> tuple[dict, list]:
    """A tiny file with the other half of CLIP, what a recipe needs to read it, and media for it."""
    torch.manual_seed(1)
    save(EvaVision(**TINY), file, prefix="visual.", **{"text.proj": torch.zeros(2), "logit_scale": torch.ones(())})
    return {"path": str(file), "config": TINY}, MEDIA


def test_the_state_dict_is_the_published_one_name_for_name_and_shape_for_shape():
    with torch.device("meta"):
        encoder = Eva2Clip(config=E14)
    assert shapes(encoder.network) == published("eva2_clip_e14")
    assert 4.3e9 < sum(p.numel() for p in encoder.parameters()) < 4.5e9  # 4.4 billion, as its authors say


@pytest.mark.parametrize(("kind", "length"), [("patches", 16), ("embedding", 1)])
def test_length_is_what_is_emitted_alone_or_in_a_batch(kind, length):
    encoder = make("eva2-clip", config=TINY, features=kind)
    assert encoder.length(encoder.prepare(MEDIA[0])) == length
    check_lengths_and_neighbours(encoder, MEDIA)
    check_options_rebuild(encoder, "eva2-clip", MEDIA)


def test_the_authors_file_is_read_by_name_and_text_is_left(tmp_path):
    options, media = released(tmp_path / "eva.pt")
    loaded = make("eva2-clip", **options)
    held = torch.load(options["path"])
    for name, tensor in loaded.network.state_dict().items():
        assert torch.equal(tensor, held[name]), name
    assert not torch.equal(features(loaded, media)[0], features(make("eva2-clip", config=TINY), media)[0])


def test_the_patches_are_those_before_the_last_block():
    encoder = make("eva2-clip", config=TINY)
    before = features(encoder, MEDIA)
    for parameter in encoder.network["visual"].blocks[-1].parameters():
        torch.nn.init.ones_(parameter)
    assert torch.equal(before[0], features(encoder, MEDIA)[0])
    torch.nn.init.ones_(encoder.network["visual"].blocks[-2].norm2.bias)
    assert not torch.allclose(before[0], features(encoder, MEDIA)[0])


def test_a_block_adds_what_is_normed_and_so_no_more_than_its_norms_allow():
    torch.manual_seed(0)
    block, x = Block(24, 3, 40), torch.randn(2, 5, 24)
    for parameter in block.mlp.parameters():
        parameter.data.mul_(100)
    added = block(x) - x - block.norm1(block.attn(x))
    assert torch.allclose(added.std(-1, correction=0), torch.ones(2, 5), atol=1e-3)


def test_attention_is_torchs_with_a_bias_for_queries_and_values():
    torch.manual_seed(0)
    ours, theirs = Attention(24, 3), torch.nn.MultiheadAttention(24, 3, batch_first=True)
    for bias in (ours.q_bias, ours.v_bias):
        torch.nn.init.normal_(bias)
    theirs.in_proj_weight.data.copy_(ours.qkv.weight)
    theirs.in_proj_bias.data.copy_(torch.cat((ours.q_bias, torch.zeros(24), ours.v_bias)))
    theirs.out_proj.load_state_dict(ours.proj.state_dict())
    x = torch.randn(2, 7, 24)
    assert torch.allclose(ours(x), theirs(x, x, x)[0], atol=1e-5)
