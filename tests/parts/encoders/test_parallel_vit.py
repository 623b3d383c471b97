"""ViT-22B: as large as its paper says, and built of parallel layers."""

from __future__ import annotations

import pytest
import torch

from polymodal.errors import RecipeError
from polymodal.parts import tiny
from polymodal.parts.encoders.parallel_vit import ParallelLayer, ParallelViT
from tests.conftest import picture
from tests.parts.encoders.contract import check_lengths_and_neighbours, check_options_rebuild, make

TINY = tiny.RELEASED["parallel-vit"]
MEDIA = [picture(1), picture(2, (50, 90))]


def test_it_is_as_large_as_its_paper_says():
    with torch.device("meta"):
        encoder = ParallelViT(config={})
    assert 21.7e9 < sum(p.numel() for p in encoder.parameters()) < 21.8e9  # 21,743 million in table 1
    assert (encoder.cells, encoder.width, len(encoder.layers)) == (256, 6144, 48 + 1)


def test_lengths_and_neighbours():
    encoder = make("parallel-vit", config=TINY)
    check_lengths_and_neighbours(encoder, MEDIA)
    check_options_rebuild(encoder, "parallel-vit", MEDIA)


def test_both_halves_of_a_layer_read_the_same_norm():
    """What they add does not depend on one another, unlike in a ViT."""
    layer, x = ParallelLayer(24, 3, 48), torch.randn(2, 5, 24)
    with torch.no_grad():
        both = layer(x) - x
        feed_forward = layer.feed_forward(layer.norm(x))
        layer.feed_forward[2].weight.zero_()
        layer.feed_forward[2].bias.zero_()
        attention = layer(x) - x
    assert torch.allclose(both, attention + feed_forward, atol=1e-5)
    assert not torch.allclose(both, feed_forward, atol=1e-3)
    assert layer.query_key_value.bias is None
    assert not any(name.endswith("bias") for name, _ in layer.named_parameters() if "norm" in name)


def test_a_size_that_it_has_not_is_named():
    with pytest.raises(RecipeError, match=r"'parallel-vit', option 'config' has no 'widht'.*'width'"):
        make("parallel-vit", config={"widht": 24})
