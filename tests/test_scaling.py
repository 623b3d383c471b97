"""The model of memory and time behind docs/scaling.md: its numbers, and that the page says what the script says."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def scaling():
    spec = importlib.util.spec_from_file_location("scaling", ROOT / "benchmarks/scaling.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["scaling"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules["scaling"]


def test_parameters_are_those_of_the_checkpoints(scaling):
    # Llama 2: 6,738,415,616 and 13,015,864,320 with norms; CLIP's tower 303.5 million with embeddings
    assert scaling.LLAMA_7B.parameters == pytest.approx(6_738_415_616, rel=1e-3)
    assert scaling.LLAMA_13B.parameters == pytest.approx(13_015_864_320, rel=1e-3)
    assert scaling.VIT_L.stack == pytest.approx(303.5e6, rel=0.01)
    assert scaling.projector(scaling.LLAMA_7B) == 1024 * 4096 + 4096**2


def test_parameters_are_those_that_our_own_parts_have(scaling):
    """The formulas against models of the same shapes, built without weights."""
    import torch
    from transformers import AutoModelForCausalLM, LlamaConfig

    shape = scaling.Transformer(layers=3, width=64, hidden=176, vocabulary=100, gated=True)
    config = LlamaConfig(hidden_size=64, intermediate_size=176, num_hidden_layers=3, num_attention_heads=4, vocab_size=100)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    norms = sum(p.numel() for p in model.parameters() if p.dim() == 1)
    assert sum(p.numel() for p in model.parameters()) == shape.parameters + norms
    linear = [m for m in model.model.modules() if isinstance(m, torch.nn.Linear)]
    assert sum(8 * (m.in_features + m.out_features) for m in linear) == scaling.lora(shape, 8)


def test_full_tuning_takes_sixteen_bytes_a_parameter_and_eight_gpus_an_eighth(scaling):
    full = next(tuning for tuning in scaling.TUNINGS if tuning.full)
    learns = scaling.learns(scaling.LLAMA_7B, full)
    encoder = 4 * scaling.VIT_L.stack
    assert sum(scaling.states(scaling.LLAMA_7B, full).values()) == 16 * learns + encoder
    assert sum(scaling.states(scaling.LLAMA_7B, full, gpus=8).values()) == 2 * learns + encoder


def test_flops_are_six_a_parameter_and_token_and_four_where_the_llm_is_frozen(scaling):
    import dataclasses

    llm = scaling.LLAMA_7B
    for work, each in ((scaling.INSTRUCT, 6), (scaling.PRETRAIN, 4)):
        blind = dataclasses.replace(work, pictured=0.0, text=1.0)  # one token: attention is next to nothing
        assert scaling.flops(llm, blind) / blind.samples == pytest.approx(each * llm.stack, rel=1e-3)
        assert scaling.flops(llm, blind, recomputed=True) / blind.samples == pytest.approx((each + 2) * llm.stack, rel=1e-3)


def test_published_hours_imply_a_plausible_and_consistent_utilisation(scaling):
    share = {(name, work.name): scaling.utilisation(llm, work, h) for name, llm, work, h in scaling.PUBLISHED}
    pretraining, instruct = scaling.PRETRAIN.name, scaling.INSTRUCT.name
    assert share["7B", pretraining] == pytest.approx(0.284, abs=0.002)
    assert share["13B", pretraining] == pytest.approx(0.350, abs=0.002)
    assert share["7B", instruct] == pytest.approx(0.249, abs=0.002)
    assert share["13B", instruct] == pytest.approx(0.242, abs=0.002)
    for name, llm, work, h in scaling.PUBLISHED:
        assert scaling.hours(llm, work, share[name, work.name]) == pytest.approx(h)


def test_the_fixed_hours_and_the_rate_of_two_sizes_are_those_of_their_making(scaling):
    small, large, work = scaling.LLAMA_7B, scaling.LLAMA_13B, scaling.INSTRUCT
    made = [(llm, 1.5 + scaling.hours(llm, work, mfu=0.4)) for llm in (small, large)]
    assert scaling.split(*made, work) == pytest.approx((1.5, 0.4))


def test_a_cache_of_llavas_pairs_is_658_gigabytes(scaling):
    assert scaling.features(558_128) == pytest.approx(658e9, rel=1e-3)


def test_the_pages_tables_are_those_of_the_script(scaling):
    page = (ROOT / "docs/scaling.md").read_text(encoding="utf-8")
    for name, text in scaling.tables().items():
        assert text in page, f"docs/scaling.md: the table '{name}' is not what benchmarks/scaling.py prints"
