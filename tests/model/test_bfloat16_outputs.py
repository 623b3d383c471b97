"""A backbone that computes in bfloat16 fills every kind of span: what an output owns is in float32."""

from __future__ import annotations

import pytest
import torch
from tests.conftest import LLAMA, T5
from tests.outputs import FAMILIES, with_output

from polymodal.content import user
from polymodal.model.answering import opened
from polymodal.model.composition import Composition
from polymodal.model.generation import Sampling

CASES = [(family, LLAMA) for family in FAMILIES] + [("signals", T5), ("codes", T5)]


@pytest.mark.parametrize(("family", "config"), CASES, ids=[f"{family}, {c['model_type']}" for family, c in CASES])
def test_a_span_is_filled(family, config, tiny_recipe):
    recipe = with_output(tiny_recipe, family, config)
    recipe["model"]["backbone"]["dtype"] = "bfloat16"
    composition = Composition.from_recipe(recipe)
    assert next(composition.model.backbone.lm.parameters()).dtype == torch.bfloat16
    example = composition.processor.encode([user("draw a cat")], generate=True)
    (part,) = opened(composition, example, "image", Sampling(seed=0)).parts
    assert part.failed is None
    assert part.media.size == (8, 8)
