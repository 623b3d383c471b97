"""Training in several processes. Decides what each of them does: the same as one process would, on its part of each batch.

`torchrun` or `accelerate launch` starts the processes and accelerate joins them. With `ddp` every process holds the whole
model; with `fsdp2` each holds a slice of it (`fully_shard`), gathered layer by layer when it is needed. Alone, none of this
does anything.

FSDP2's units are the backbone's layers, and one unit for all the rest. The parts of modalities are in that unit and not
units of their own, so that a process whose batch holds no picture has no collective operation to miss. Encoders that no
stage trains are not sliced: a cache of features runs them outside of the training step.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn

from polymodal.errors import RecipeError
from polymodal.model.modeling import MultimodalLM
from polymodal.parts import peft
from polymodal.parts.input_projectors.running import Running

T = TypeVar("T")
M = TypeVar("M", bound=nn.Module)
Kind = Literal["ddp", "fsdp2"]


def speaks() -> bool:
    """Whether this process is the one of several that prints."""
    from accelerate import PartialState

    return PartialState(cpu=_cpu()).is_main_process


def leave() -> None:
    """Part from the other processes, when all is done."""
    from accelerate import PartialState

    PartialState(cpu=_cpu()).destroy_process_group()


def _cpu() -> bool:
    return not torch.accelerator.is_available()  # without being told, accelerate joins no processes on a CPU


class Processes:
    """This process among `world`; it is number `rank`, and the `main` one logs, saves and prints. `device`: its own."""

    def __init__(self, kind: Kind) -> None:
        from accelerate import Accelerator, DistributedDataParallelKwargs

        # A batch of text alone leaves a projector unused. Autocast is ours: accelerate's is one setting for the whole
        # life of a process.
        unused = DistributedDataParallelKwargs(find_unused_parameters=True)
        self.accelerator = Accelerator(cpu=_cpu(), mixed_precision="no", kwargs_handlers=[unused])
        self.world, self.rank = self.accelerator.num_processes, self.accelerator.process_index
        self.main, self.device = self.accelerator.is_main_process, self.accelerator.device
        self.sharded = kind == "fsdp2" and self.world > 1

    def gather(self, value: T) -> list[T]:
        """The values that all processes give, in order of rank. Every process has to call it."""
        from accelerate.utils import gather_object

        return gather_object([value])

    def wait(self) -> None:
        """Until every process has come here."""
        self.accelerator.wait_for_everyone()

    def require_uniform(self, stage: str, model: MultimodalLM) -> None:
        """Raises `RecipeError` if a `stage`, whose weights alone ask for a gradient, trains weights of different dtypes in
        one of FSDP2's units: their gradients are exchanged as one tensor."""
        rest = {parameter for parameter in model.parameters() if parameter.requires_grad}
        for unit in [*_layers(model), model] if self.sharded else ():
            own = rest.intersection(unit.parameters())
            rest -= own
            dtypes = sorted(str(dtype).removeprefix("torch.") for dtype in {parameter.dtype for parameter in own})
            if len(dtypes) > 1:
                raise RecipeError(
                    f"stage '{stage}' trains weights of {' and '.join(dtypes)} together, which parallel 'fsdp2' cannot: "
                    "use a backbone with dtype 'float32', or train the backbone's layers only"
                )

    def place(self, losses: nn.Module, model: MultimodalLM, learning: set[str]) -> None:
        """Move `losses`, which holds the model, to this process's device; with `fsdp2`, slice it. `learning`: the names of
        the parameters that some stage trains. Raises `RecipeError` for one that is a single number, which has no slices."""
        if self.sharded:
            single = {name: parameter for name, parameter in peft.named_parameters(model).items() if not parameter.ndim}
            if learned := sorted(single.keys() & learning):
                raise RecipeError(
                    f"parallel 'fsdp2' cannot slice {learned[0]}, a single number: use 'ddp', or do not train it"
                )
            from torch.distributed.device_mesh import init_device_mesh
            from torch.distributed.fsdp import fully_shard

            mesh = init_device_mesh(self.device.type, (self.world,))
            whole = set(single.values())
            for name, part in model.modalities.items():
                if not any(parameter.startswith(f"inputs.{name}.encoder.") for parameter in learning):
                    whole.update(part.encoder.parameters())
            for layer in _layers(model):
                fully_shard(layer, mesh=mesh)
            fully_shard(losses, mesh=mesh, ignored_params=whole)
            # Each layer is gathered by all processes at once, so all have to run it equally often, whatever they hold.
            model.backbone.shares_prefix = False
        losses.to(self.device)

    def autocast(self, precision: Literal["fp32", "bf16"]) -> torch.autocast:
        """Around a forward pass. With `bf16`, products are in bfloat16. The copies of weights that they take are kept to
        its end for a weight that is used again, except of slices: all copies are the whole model in every process."""
        kind = self.device.type
        return torch.autocast(kind, torch.bfloat16, enabled=precision == "bf16", cache_enabled=not self.sharded)

    def wrap(self, losses: nn.Module) -> nn.Module:
        """The module to call in a stage, once it is settled which parameters learn."""
        self.accelerator.free_memory()  # and with it the stage before
        return losses if self.sharded else self.accelerator.prepare_model(losses)

    @contextmanager
    def step(self, model: MultimodalLM) -> Iterator[None]:
        """Around a step: running statistics stand still in it, and then learn what all processes have seen in all of its
        micro-batches, so that it does not matter how it was cut."""
        running = [module for module in model.modules() if isinstance(module, Running) and module.training]
        for module in running:
            module.hold()
        try:
            yield
            for module in running:
                module.learn(self.accelerator.reduce(module.held))
        finally:  # of a step that failed nothing is learned
            for module in running:
                module.held = None

    @contextmanager
    def accumulating(self, losses: nn.Module, last: bool) -> Iterator[None]:
        """Around a micro-batch: gradients are exchanged at the `last` of a step only."""
        alone: AbstractContextManager[Any] = nullcontext() if last else self.accelerator.no_sync(losses)
        if self.sharded:
            losses.set_requires_gradient_sync(last)  # type: ignore[operator]
            alone = nullcontext()
        with alone:
            yield

    @contextmanager
    def gathered(self, losses: nn.Module) -> Iterator[None]:
        """Inside, the parts of the model may be called as they are in one process, by all processes at once."""
        if self.sharded:
            losses.unshard()  # type: ignore[operator]
        yield
        if self.sharded:
            losses.reshard()  # type: ignore[operator]


def _layers(model: MultimodalLM) -> list[nn.Module]:
    names = model.backbone.lm._no_split_modules or ()  # what transformers calls a layer of this family
    return [module for module in model.backbone.lm.modules() if type(module).__name__ in names]


def skeleton(model: M) -> M:
    """A copy of a model without its weights, to be `filled` when the model itself has been sliced."""
    empty = {id(p): nn.Parameter(torch.empty_like(p, device="meta"), p.requires_grad) for p in model.parameters()}
    return copy.deepcopy(model, dict(empty))


def filled(empty: M, sliced: nn.Module, keep: bool) -> M:
    """`empty` with the weights of `sliced`, put together on the CPU, in the processes that `keep` it. All have to call."""
    whole: dict[int, Tensor] = {}
    state = {}
    for name, tensor in sliced.state_dict(keep_vars=True).items():
        if id(tensor) not in whole:  # tied weights stay tied
            value = full(tensor.detach())
            if keep:
                value = value.cpu()
                whole[id(tensor)] = nn.Parameter(value, False) if isinstance(tensor, nn.Parameter) else value
        if keep:
            state[name] = whole[id(tensor)]
    if keep:
        empty.load_state_dict(state, strict=True, assign=True)
    return empty


def full(tensor: Tensor) -> Tensor:
    """A tensor that may be a slice of one, whole. All processes have to call it."""
    from torch.distributed.tensor import DTensor

    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
