"""What one process knows of several. What several compute is guarantee 8: `tests/guarantees/test_8_distributed.py`."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint

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
