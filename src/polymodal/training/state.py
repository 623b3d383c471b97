"""A run's folder: recipe, log, the last checkpoint of the run, and the model at its end. No pickle: tensors in
safetensors, the rest in JSON, each checkpoint one folder that is swapped in whole.

Tensors are written by torch.distributed.checkpoint, in one process as in many: each writes its slices, and any number of
processes can read them again. Everything is kept by the names of parameters. Random state is not kept: whatever is random
in a step is seeded by where the step stands.
"""

from __future__ import annotations

import json
import os
import shutil
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from polymodal.errors import CheckpointError, RecipeError
from polymodal.model import checkpoint
from polymodal.model.composition import Composition
from polymodal.model.modeling import MultimodalLM
from polymodal.parts import peft
from polymodal.parts.backbones import Backbone
from polymodal.parts.base import Encoder
from polymodal.parts.output import Generator
from polymodal.training.distributed import Processes

APPENDED = ("log.jsonl", "samples.jsonl")  # files that a run only ever appends to


@dataclass
class Progress:
    """Where a run stands. Saved with every checkpoint; together with the recipe it determines everything to come."""

    stage: int = 0
    step: int = 0  # steps done in this stage
    pool: dict[str, Any] = field(default_factory=lambda: {"drawn": 0, "cursors": {}})  # the mix when the pool was drawn
    taken: int = 0  # batches of the pool already used
    lengths: list[int] = field(default_factory=list)  # of the pool's examples, once they are known
    seconds: float = 0.0
    sizes: dict[str, int] = field(default_factory=dict)  # bytes of the files that are appended to


def claim(folder: Path, recipe: dict[str, Any]) -> None:
    """Make `folder` this recipe's. Raises `RecipeError` if it holds a run of another recipe."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "recipe.json"
    text = json.dumps(recipe, indent=1)  # in its order: of two patterns that match a parameter, the last decides
    if file.is_file() and file.read_text(encoding="utf-8") != text:
        raise RecipeError(f"{folder} holds a run of another recipe: choose another run.folder, or delete it to start anew")
    staging = file.with_suffix(".part")
    staging.write_text(text, encoding="utf-8")
    os.replace(staging, file)


def save(
    folder: Path,
    model: MultimodalLM,
    trained: set[str],
    optimizer: torch.optim.Optimizer,
    progress: Progress,
    processes: Processes,
) -> None:
    """The parameters that this stage or an earlier one `trained`, running statistics, optimizer moments and progress,
    atomically. Every process calls it."""
    from torch.distributed.checkpoint import HuggingFaceStorageWriter
    from torch.distributed.checkpoint import save as save_tensors

    kept = trained | _moving(model).keys()
    tensors = {f"weight/{name}": tensor for name, tensor in _tensors(model).items() if name in kept}
    names = {id(parameter): name for name, parameter in peft.named_parameters(model).items()}
    for parameter, slot in optimizer.state.items():
        tensors.update({f"optimizer/{names[id(parameter)]}/{key}": torch.as_tensor(value) for key, value in slot.items()})
    staging, final, old = folder / "state.part", folder / "state", folder / "state.old"
    if processes.main:
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir()
    processes.wait()
    writer = HuggingFaceStorageWriter(str(staging), save_distributed=True)  # that is: safetensors, a file per process
    with _quiet():
        save_tensors({k: v.detach() for k, v in tensors.items()}, storage_writer=writer, no_dist=processes.world == 1)
    if processes.main:
        progress.sizes = {name: (folder / name).stat().st_size for name in APPENDED if (folder / name).is_file()}
        (staging / "progress.json").write_text(json.dumps(asdict(progress)), encoding="utf-8")
        if final.exists():  # if it does not, a kill has left `old` as the only checkpoint
            shutil.rmtree(old, ignore_errors=True)
            os.replace(final, old)
        os.replace(staging, final)
        shutil.rmtree(old, ignore_errors=True)
    processes.wait()


def find(folder: Path) -> Path | None:
    """The last checkpoint of a run; None if it has not got that far."""
    # A kill between the two renames of `save` leaves the previous checkpoint as state.old: it is complete.
    return next((folder / name for name in ("state", "state.old") if (folder / name).is_dir()), None)


def standing(place: Path) -> Progress:
    """Where a checkpoint stands. Raises `CheckpointError`."""
    try:
        return Progress(**json.loads((place / "progress.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise _incomplete(place, error) from error


def load(place: Path, model: MultimodalLM) -> None:
    """Put a checkpoint's weights into `model`, which has the adapters of the stages so far. Raises `CheckpointError`."""
    tensors = _tensors(model)
    _read(place, "weight/", lambda name: tensors[name])


def restore_optimizer(place: Path, model: MultimodalLM, optimizer: torch.optim.Optimizer) -> None:
    """Put the moments of a checkpoint into the optimizer of its stage."""
    parameters = peft.named_parameters(model)

    def slot(name: str) -> Tensor:
        parameter, _, key = name.rpartition("/")
        like = parameters[parameter].detach()
        value = torch.zeros(()) if key == "step" else torch.zeros_like(like)
        optimizer.state[parameters[parameter]][key] = value
        return value

    _read(place, "optimizer/", slot)


def rewind(folder: Path, sizes: Mapping[str, int]) -> None:
    """Cut off what was appended after the checkpoint: those steps are done, and logged, again."""
    for name in APPENDED:
        if (folder / name).is_file():
            os.truncate(folder / name, sizes.get(name, 0))


def write_model(composition: Composition, folder: Path, trained: set[str]) -> None:
    """The finished model: adapters, and what stands in front of the backbone and behind it but for encoders, are rounded to
    float16 where they were `trained`, in memory as on disk, so that what was measured is what is shipped. A tensor with
    values beyond float16's stays as it is."""
    with torch.no_grad():
        for name, part in composition.model.parts.items():
            learned = any(parameter.startswith(f"{name}.") for parameter in trained)
            if learned and not isinstance(part, (Backbone, Encoder)):
                for key, tensor in part.state_dict().items():  # a generator's autoencoder may be somebody's, and frozen
                    own = not isinstance(part, Generator) or f"{name}.{key}" in trained
                    if own and tensor.is_floating_point():
                        _round(tensor)
        for name, weight in peft.weights(composition.model).items():
            if name in trained:
                _round(weight)
    composition.save(folder, dtype=torch.float16)


def _round(tensor: Tensor) -> None:
    small = tensor.half().to(tensor.dtype)
    if torch.isfinite(small).all():
        tensor.copy_(small)


def begin_from(folders: str | Mapping[str, str], model: MultimodalLM) -> None:
    """Give the parts of `model` the weights that parts of the same name have in a checkpoint folder, or in that of the
    first pattern that fits their names. Adapters come with the backbone. Raises `CheckpointError` for a part of another
    architecture, and `RecipeError` for a pattern that nothing begins by."""
    patterns = {"*": folders} if isinstance(folders, str) else folders
    of = {name: next((p for p in patterns if fnmatchcase(name, p)), None) for name in model.parts}
    for pattern, folder in patterns.items():
        begun = _begin(Path(folder).expanduser(), model, [name for name in of if of[name] == pattern])
        if not begun and not isinstance(folders, str):
            raise RecipeError(
                f"run.init_from: '{pattern}' fits no part that is here and in {folder}, or an earlier one does"
            )


def _begin(folder: Path, model: MultimodalLM, wanted: Sequence[str]) -> list[str]:
    """Those of the parts `wanted` that the folder has, which now have its weights."""
    other, _, _ = checkpoint.load(folder)
    mine, theirs = model.parts, other.parts
    common = [name for name in wanted if name in theirs]
    with peft.detached(model), peft.detached(other):
        for name in common:
            part = mine[name]
            begun = part.begins_as(theirs[name]) if isinstance(part, Generator) else part
            try:
                begun.load_state_dict(theirs[name].state_dict(), strict=True)
            except RuntimeError as error:
                reason = " ".join(str(error).split()).split(": ", 1)[-1]
                raise CheckpointError(f"run.init_from: {name} of {folder} is another architecture: {reason}") from error
    adapters = peft.weights(model)
    own = {name: weight for name, weight in peft.weights(other).items() if any(name.startswith(f"{p}.") for p in wanted)}
    for name, weight in own.items():
        if name not in adapters or adapters[name].shape != weight.shape:
            raise CheckpointError(f"run.init_from: {folder} has an adapter '{name}' that this model lacks; save it merged")
        adapters[name].data.copy_(weight)
    return common


def _tensors(model: MultimodalLM) -> dict[str, Tensor]:
    return {name: tensor.detach() for name, tensor in (peft.named_parameters(model) | _moving(model)).items()}


def _moving(model: MultimodalLM) -> dict[str, Tensor]:
    """The buffers in front of the backbone and behind it, running statistics among them."""
    rooms = {"inputs": model.inputs, "shared": model.shared, "outputs": model.outputs}
    return {name: buffer for prefix, room in rooms.items() for name, buffer in room.named_buffers(prefix=prefix)}


def _read(place: Path, prefix: str, target: Callable[[str], Tensor]) -> None:
    """Fill `target(name)` for every tensor of a checkpoint whose key is `prefix` and a name."""
    from safetensors import SafetensorError
    from torch.distributed import is_initialized
    from torch.distributed.checkpoint import CheckpointException, HuggingFaceStorageReader
    from torch.distributed.checkpoint import load as load_tensors

    reader = HuggingFaceStorageReader(str(place))
    try:
        keys = [key for key in reader.read_metadata().state_dict_metadata if key.startswith(prefix)]
        wanted = {key: target(key.removeprefix(prefix)) for key in sorted(keys)}
        with _quiet():
            load_tensors(wanted, storage_reader=reader, no_dist=not is_initialized())
    except (OSError, KeyError, ValueError, SafetensorError, CheckpointException) as error:  # the last is no Exception
        raise _incomplete(place, error) from error


def _incomplete(place: Path, error: BaseException) -> CheckpointError:
    return CheckpointError(f"{place} is not a complete checkpoint ({error}); delete it to start anew")


class _quiet(warnings.catch_warnings):
    """Without being told that a single process is a single process."""

    def __enter__(self) -> Any:
        entered = super().__enter__()
        warnings.filterwarnings("ignore", "torch.distributed is disabled", UserWarning)
        return entered
