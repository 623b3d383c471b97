"""Every output projector: the promised shape, spans independent of their batch, gradients everywhere, strict state."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from polymodal.errors import RecipeError
from polymodal.parts.base import build
from polymodal.parts.output import OutputProjector
from polymodal.parts.output_projectors import OUTPUT_PROJECTORS

N, IN, OUT = 4, 12, 8
TINY = {"hidden": 16, "heads": 2, "encoder_layers": 2, "decoder_layers": 2, "inner": 24}
PROJECTORS: dict[str, tuple[int, dict[str, Any]]] = {  # Q, and the recipe
    "linear": (N, {"kind": "linear"}),
    "linear, with a bias": (N, {"kind": "linear", "bias": True}),
    "mlp": (N, {"kind": "mlp", "depth": 3, "hidden": 10}),
    "transformer": (6, {"kind": "transformer", **TINY}),
    "transformer to one vector": (1, {"kind": "transformer", **TINY}),
    "MiniGPT-5's": (6, {"kind": "transformer", **TINY, "hidden": OUT, "enter": 2, "leave": False}),
    "resampler": (3, {"kind": "resampler", "heads": 2}),
    "resampler of its own width": (7, {"kind": "resampler", "depth": 2, "hidden": 16, "heads": 2}),
}


def make(name: str, seed: int = 0) -> OutputProjector:
    torch.manual_seed(seed)
    positions, recipe = PROJECTORS[name]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return build("projector", OUTPUT_PROJECTORS, recipe, N, IN, positions, OUT).eval()


def states(spans: int = 3, seed: int = 1) -> torch.Tensor:
    return torch.randn(spans, N, IN, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", PROJECTORS)
def test_a_condition_has_the_promised_shape_and_no_span_depends_on_another(name):
    projector, given = make(name), states()
    made = projector(given)
    assert made.shape == (3, PROJECTORS[name][0], OUT)
    assert torch.isfinite(made).all()
    for span, alone in zip(made, given, strict=True):
        assert torch.allclose(span, projector(alone[None])[0], atol=1e-5)
    assert not torch.allclose(made[0], made[1], atol=1e-4)
    assert projector(given[:0]).shape == (0, *made.shape[1:])


@pytest.mark.parametrize("name", PROJECTORS)
def test_the_gradient_reaches_every_state_and_every_parameter(name):
    projector, given = make(name).train(), states().requires_grad_()
    target = torch.randn(3, PROJECTORS[name][0], OUT)
    (projector(given) - target).pow(2).mean().backward()
    assert given.grad.abs().amax(-1).min() > 0
    for parameter_name, parameter in projector.named_parameters():
        assert parameter.grad is not None, parameter_name
        if "k_proj.bias" not in parameter_name:  # softmax does not see it
            assert parameter.grad.abs().max() > 0, parameter_name


@pytest.mark.parametrize("name", PROJECTORS)
def test_saved_and_loaded_it_is_the_same_projector(name, tmp_path):
    projector, again = make(name), make(name, seed=9)
    assert not torch.allclose(projector(states()), again(states()), atol=1e-4)
    save_file(projector.state_dict(), tmp_path / "projector.safetensors")
    again.load_state_dict(load_file(tmp_path / "projector.safetensors"), strict=True)
    assert torch.equal(projector(states()), again(states()))


def test_queries_that_start_alike_part_in_training():
    torch.manual_seed(0)
    recipe = {"kind": "transformer", **TINY, "std": 0.0}
    projector = build("projector", OUTPUT_PROJECTORS, recipe, N, IN, 2, OUT)
    made = projector(states())
    assert torch.allclose(made[:, 0], made[:, 1], atol=1e-6)
    (made - torch.randn(3, 2, OUT)).pow(2).mean().backward()
    projector.queries.data -= projector.queries.grad
    assert not torch.allclose(*projector(states()).unbind(1), atol=1e-4)


def test_dream_llms_projector_is_one_matrix():
    assert {name: tuple(tensor.shape) for name, tensor in make("linear").state_dict().items()} == {
        "layers.0.weight": (OUT, IN)
    }


def test_the_defaults_are_gills():
    projector = build("projector", OUTPUT_PROJECTORS, {"kind": "transformer"}, 8, IN, 77, 768)
    assert projector.queries.shape == (1, 77, 512)
    network = projector.network
    assert (len(network.encoder.layers), len(network.decoder.layers), network.nhead) == (4, 4, 4)
    assert network.encoder.layers[0].linear1.out_features == network.decoder.layers[0].linear1.out_features == 2048
    assert all(layer.norm_first for layer in (*network.encoder.layers, *network.decoder.layers))


@pytest.mark.parametrize(
    ("recipe", "named"),
    [
        ({"kind": "linear"}, "a span of 4 positions is no condition of 5 vectors"),
        ({"kind": "mlp"}, "a span of 4 positions is no condition of 5 vectors"),
        ({"kind": "mlp", "depth": 0}, "'depth'"),
        ({"kind": "transformer", "heads": 3}, "3 heads do not divide its hidden width of 512"),
        ({"kind": "transformer", "leave": False}, "is 512 wide; without 'leave' it has to be 8"),
        ({"kind": "transformer", "std": -1}, "'std'"),
        ({"kind": "transfromer"}, "did you mean 'transformer'"),
        ({"kind": "resampler", "heads": 0}, "'heads'"),
    ],
)
def test_what_cannot_work_is_refused_by_name(recipe, named):
    with pytest.raises(RecipeError, match=named):
        build("projector", OUTPUT_PROJECTORS, recipe, N, IN, 5, OUT)
