"""NFNet-F6: the port's names and shapes, the size that its paper states, and variances that stay at 1 without a norm."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from polymodal.parts.encoders.nfnet import F6, NFNetImages
from polymodal.parts.encoders.nfnet_network import ALPHA, Convolution, NFNet
from polymodal.parts.tiny_encoders import NFNET
from tests.conftest import picture
from tests.parts.encoders.contract import check_lengths_and_neighbours, check_options_rebuild, features, make
from tests.parts.encoders.published import published, save, shapes

TINY = {"config": NFNET, "size": 64}
MEDIA = [picture(1), picture(2, (50, 90))]


def awake(encoder: nn.Module) -> None:
    """Blocks add nothing before they have learned to: let them."""
    for name, parameter in encoder.named_parameters():
        if name.endswith("skipinit_gain"):
            parameter.data.fill_(1.0)


def released(file: Path) -> tuple[dict, list]:
    """A tiny file, what a recipe needs to read it, and media for it."""
    encoder = make("nfnet", **TINY)
    awake(encoder)
    save(encoder.network, file)
    return {"path": str(file), **TINY}, MEDIA


def test_the_state_dict_is_the_published_one_name_for_name_and_shape_for_shape():
    with torch.device("meta"):
        encoder = NFNetImages(config=F6)
    assert shapes(encoder.network) == published("nfnet_f6")
    assert sum(p.numel() for p in encoder.parameters()) == pytest.approx(438.4e6, rel=1e-3)  # the paper's table 3


def test_length_is_what_is_emitted_alone_or_in_a_batch():
    encoder = make("nfnet", **TINY)
    awake(encoder)
    assert encoder.length(encoder.prepare(MEDIA[0])) == 4
    check_lengths_and_neighbours(encoder, MEDIA)
    check_options_rebuild(encoder, "nfnet", MEDIA)


def test_sides_that_are_no_multiple_of_32_are_rounded_up():
    encoder = make("nfnet", **TINY | {"size": 90})
    check_lengths_and_neighbours(encoder, MEDIA)
    assert encoder.length(encoder.prepare(MEDIA[0])) == 9


def test_a_released_file_is_read_by_name(tmp_path):
    options, media = released(tmp_path / "nfnet.pth")
    loaded = make("nfnet", **options)
    held = torch.load(options["path"])
    for name, tensor in loaded.network.state_dict().items():
        assert torch.equal(held[name], tensor)
    assert not torch.equal(features(loaded, media)[0], features(make("nfnet", **TINY), media)[0])


def test_weights_are_standardised_row_by_row_and_shifting_or_scaling_them_changes_nothing():
    torch.manual_seed(0)
    layer = Convolution(6, 8, 3, stride=2)
    x = torch.randn(2, 6, 9, 9)
    with torch.no_grad():
        rows = layer.weight.flatten(1)
        standard = (rows - rows.mean(1, keepdim=True)) / (rows.var(1, correction=0, keepdim=True) + 1e-5).sqrt()
        weight = (standard * 54**-0.5).view_as(layer.weight)
        before = layer(x)
        padded = nn.functional.pad(x, (1, 1, 1, 1))  # 9 of stride 2 are 5: two more pixels, one on each side
        assert torch.allclose(before, nn.functional.conv2d(padded, weight, layer.bias, 2), atol=1e-5)
        layer.weight.mul_(50).add_(7)
        assert torch.allclose(before, layer(x), atol=0.02)


def test_each_block_adds_its_share_of_variance():
    """With gates of one half a block adds alpha squared, and the first of a stage starts anew."""
    torch.manual_seed(0)
    network = NFNet([2, 3, 1, 1], [64, 64, 64, 64], 64, 32, 2).eval()
    awake(network)
    for block in network.modules():
        if hasattr(block, "attn_last"):
            nn.init.zeros_(block.attn_last.fc2.weight)
            nn.init.zeros_(block.attn_last.fc2.bias)
    for module in network.modules():
        if isinstance(module, Convolution):
            nn.init.zeros_(module.bias)
    block = network.stages[1][1]
    x = torch.randn(4, 64, 32, 32)
    with torch.no_grad():
        grown = (block(x) - x).var() / ALPHA**2
    assert block.beta == pytest.approx((1 + ALPHA**2) ** -0.5)
    assert network.stages[1][0].beta == pytest.approx((1 + 2 * ALPHA**2) ** -0.5)
    assert network.stages[2][0].beta == pytest.approx((1 + 3 * ALPHA**2) ** -0.5)
    assert 0.5 < grown < 1.6
