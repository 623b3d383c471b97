"""A run's folder: recipe, log, the last checkpoint of the run, and the model at its end. No pickle: tensors in
safetensors, the rest in JSON, each checkpoint one folder that is swapped in whole."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from polymodal.errors import CheckpointError, RecipeError
from polymodal.model.composition import Composition
from polymodal.model.modeling import MultimodalLM


@dataclass
class Progress:
    """Where a run stands. Saved with every checkpoint; together with the recipe it determines everything to come."""

    stage: int = 0
    step: int = 0  # steps done in this stage
    pool: dict[str, Any] = field(default_factory=lambda: {"drawn": 0, "cursors": {}})  # the mix when the pool was drawn
    taken: int = 0  # batches of the pool already used
    seconds: float = 0.0


@dataclass
class Resumed:
    progress: dict[str, Any]
    tensors: dict[str, Tensor]


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
    folder: Path, model: MultimodalLM, trained: set[str], optimizer: torch.optim.Optimizer, progress: Progress
) -> None:
    """The parameters that this stage or an earlier one `trained`, running statistics, optimizer moments, random state and
    progress, atomically."""
    from safetensors.torch import save_file

    tensors = {f"weight/{name}": p.detach() for name, p in model.named_parameters() if name in trained}
    tensors.update({f"weight/{name}": buffer for name, buffer in model.inputs.named_buffers(prefix="inputs")})
    for i, slot in optimizer.state_dict()["state"].items():
        tensors.update({f"optimizer/{i}/{key}": torch.as_tensor(value) for key, value in slot.items()})
    tensors["random"] = torch.get_rng_state()
    staging, final, old = folder / "state.part", folder / "state", folder / "state.old"
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir()
    save_file({key: value.clone().contiguous() for key, value in tensors.items()}, staging / "tensors.safetensors")
    (staging / "progress.json").write_text(json.dumps(asdict(progress)), encoding="utf-8")
    if final.exists():  # if it does not, a kill has left `old` as the only checkpoint
        shutil.rmtree(old, ignore_errors=True)
        os.replace(final, old)
    os.replace(staging, final)
    shutil.rmtree(old, ignore_errors=True)


def load(folder: Path, model: MultimodalLM) -> Resumed | None:
    """The last checkpoint of a run, its weights put into `model`; None if the run has not got that far."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    # A kill between the two renames of `save` leaves the previous checkpoint as state.old: it is complete.
    place = next((folder / name for name in ("state", "state.old") if (folder / name).is_dir()), None)
    if place is None:
        return None
    try:
        tensors = load_file(place / "tensors.safetensors")
        progress = json.loads((place / "progress.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, SafetensorError) as error:
        raise CheckpointError(f"{place} is not a complete checkpoint ({error}); delete it to start anew") from error
    parameters = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    with torch.no_grad():
        for key, value in tensors.items():
            if key.startswith("weight/"):
                parameters[key.removeprefix("weight/")].copy_(value)
    return Resumed(progress, tensors)


def restore_optimizer(optimizer: torch.optim.Optimizer, resumed: Resumed) -> None:
    current = optimizer.state_dict()
    slots: dict[int, dict[str, Tensor]] = {}
    for key, value in resumed.tensors.items():
        if key.startswith("optimizer/"):
            _, index, name = key.split("/")
            slots.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({"state": slots, "param_groups": current["param_groups"]})
    torch.set_rng_state(resumed.tensors["random"])


def write_model(composition: Composition, folder: Path, trained: set[str]) -> None:
    """The finished model: projectors that were `trained` are rounded to float16, in memory as on disk, so that what was
    measured is what is shipped."""
    with torch.no_grad():
        for name, part in composition.model.modalities.items():
            learned = any(parameter.startswith(f"inputs.{name}.projector.") for parameter in trained)
            for tensor in part.projector.state_dict().values():
                if learned and tensor.is_floating_point():
                    tensor.copy_(tensor.half().to(tensor.dtype))
    composition.save(folder, dtype=torch.float16)
