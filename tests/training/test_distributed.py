"""What one process knows of several. What several compute is guarantee 8: `tests/guarantees/test_8_distributed.py`."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint

from polymodal.errors import RecipeError
from polymodal.model.composing import compose
from polymodal.model.config import model_recipe
from polymodal.model.modeling import MultimodalLM
from polymodal.training.distributed import Processes

WIDTH = 24


class Casts(TorchDispatchMode):
    """Remembers the memory of weights that are cast to bfloat16."""

    def __init__(self) -> None:
        super().__init__()
        self.copies: list[StorageWeakRef] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if func is torch.ops.aten._to_copy.default and out.dtype == torch.bfloat16 and out.shape == (WIDTH, WIDTH):
            self.copies.append(StorageWeakRef(out.untyped_storage()))
        return out

    def kept(self) -> int:
        return sum(not copy.expired() for copy in self.copies)


@pytest.mark.parametrize("sharded", [False, True])
def test_autocast_holds_copies_of_weights_only_where_each_process_holds_the_weights(sharded):
    """A layer that has run and will be computed again needs no weights; what autocast kept of them would be the whole
    model in every process that has a slice of it."""
    processes = Processes("fsdp2")
    processes.sharded = sharded
    layers = [nn.Linear(WIDTH, WIDTH) for _ in range(4)]
    with Casts() as casts, processes.autocast("bf16"):
        hidden = torch.randn(2, WIDTH, requires_grad=True)
        for layer in [*layers, layers[0]]:  # the first is used twice
            hidden = checkpoint(layer, hidden, use_reentrant=False)
        assert hidden.dtype == torch.bfloat16
        assert casts.kept() == (0 if sharded else 4)
        assert len(casts.copies) == (5 if sharded else 4)


def test_products_of_a_run_in_float32_are_in_float32():
    with Processes("ddp").autocast("fp32"):
        assert nn.Linear(WIDTH, WIDTH)(torch.ones(1, WIDTH)).dtype == torch.float32


@pytest.fixture(scope="module")
def half(tiny_recipe) -> MultimodalLM:
    """A backbone in bfloat16 with projectors in float32."""
    raw = tiny_recipe()
    raw["model"]["backbone"]["dtype"] = "bfloat16"
    return compose(model_recipe(raw))


def chosen(model: MultimodalLM, *names: str) -> MultimodalLM:
    model.requires_grad_(False)
    for name in names:
        model.get_submodule(name).requires_grad_(True)
    return model


def test_slices_of_two_dtypes_that_learn_together_are_refused_before_training(half):
    """FSDP2 itself says so at the first step, or when the second stage begins."""
    sliced, whole = Processes("fsdp2"), Processes("ddp")
    sliced.sharded = True
    model = chosen(half, "backbone", "inputs.image.projector")
    with pytest.raises(RecipeError, match="stage 'two' trains weights of bfloat16 and float32 together.*dtype 'float32'"):
        sliced.require_uniform("two", model)
    whole.require_uniform("two", model)
    # Each layer is exchanged on its own.
    sliced.require_uniform("two", chosen(half, "backbone.lm.model.layers", "inputs.image.projector"))
    sliced.require_uniform("two", chosen(half, "inputs.image.projector"))


def test_a_single_number_that_learns_is_refused_before_anything_is_sliced(tiny_recipe):
    """FSDP2 itself says so of a parameter by its last name alone, learning or not."""
    tags = {"kind": "tags", "names": ["cat", "red fox"], "top": 1, "tokens": 2, "rank": 4}
    raw = tiny_recipe()
    raw["model"]["inputs"]["image"]["projector"] = tags
    model = compose(model_recipe(raw))
    sliced = Processes("fsdp2")
    sliced.sharded = True
    name = "inputs.image.projector.classifier.sharpness"
    with pytest.raises(RecipeError, match=f"cannot slice {name}, a single number: use 'ddp'"):
        sliced.place(model, model, {name, "inputs.image.projector.certainty"})
