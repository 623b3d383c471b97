"""QLLaMA: what its queries see of each other and of a picture, and that it is a LLaMA."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from polymodal.errors import RecipeError
from polymodal.parts.base import Features, build
from polymodal.parts.input_projectors import INPUT_PROJECTORS
from tests.parts.test_input_projectors import awake

SMALL: dict[str, Any] = {"kind": "qllama", "queries": 4, "depth": 3, "hidden": 16, "heads": 2, "inner": 20}


def make(**options: Any) -> Any:
    torch.manual_seed(0)
    return awake(build("projector", INPUT_PROJECTORS, {**SMALL, **options}, 12, 8).eval())


def test_without_cross_attention_it_is_a_llama_whose_queries_see_each_other_in_both_directions():
    """Its states are transformers' own, given a mask that hides nothing."""
    projector = make(every=3)  # the first layer alone reads
    projector.reads["0"].leave.weight.data.zero_()
    picture = Features([torch.randn(5, 12)])
    all_seen = torch.zeros(1, 1, 4, 4)
    with torch.no_grad():
        wanted = projector.llama(inputs_embeds=projector.queries[None], attention_mask=all_seen).last_hidden_state
        (found,) = projector(picture)
        assert torch.allclose(found, projector.leave(wanted)[0], atol=1e-4)
        projector.queries[-1] += 1
        assert not torch.isclose(projector(picture)[0], found, atol=1e-4).all(1).any()  # the first one, too


def test_every_second_layer_reads_the_features():
    projector = make(depth=5)
    assert set(projector.reads) == {"0", "2", "4"}
    features = torch.randn(5, 12)
    with torch.no_grad():
        before = projector(Features([features]))[0]
        after = projector(Features([features.flip(1)]))[0]
    assert not torch.isclose(before, after, atol=1e-4).all(1).any()


def test_its_own_size_is_that_of_the_paper():
    """A LLaMA-7B without its words, and the billion parameters of cross-attention that the paper adds."""
    with torch.device("meta"):
        projector = build("projector", INPUT_PROJECTORS, {"kind": "qllama"}, 3200, 5120)
    sizes = {name: sum(p.numel() for p in part.parameters()) for name, part in projector.named_children()}
    assert projector.length(1024) == 96
    assert sizes["llama"] == 6738415616 - 2 * 32000 * 4096
    assert 0.9e9 < sizes["reads"] < 1.0e9


def test_heads_that_do_not_fit_are_refused():
    with pytest.raises(
        RecipeError, match="projector 'qllama': 'hidden' is a multiple of twice 'heads', and 16 is none of 6"
    ):
        make(heads=3)
