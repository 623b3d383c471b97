"""The recipe of a training run: what data, which parts learn, how fast, for how long. Decides that a stage is data.

data:   {name: {kind: corpus | messages | DOTTED.PATH, ...}}
stages: a list; each names the parameters that learn (everything else is frozen), a weighted mix of the data, weighted
        objectives, and a length in steps
run:    where it is written, and how often
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field
from torch import nn

from polymodal.errors import RecipeError, nearest
from polymodal.model.config import ModelRecipe, Strict, model_recipe, validate

Weights = Annotated[dict[str, Annotated[float, Field(gt=0, allow_inf_nan=False)]], Field(min_length=1)]


class Stage(Strict):
    """`train`: {pattern over parameter names: learning rate}. `data`: {source: weight}. `objectives`: {name: weight}.
    `batch`: examples per step. `grouping`: batches drawn at once and sorted by length, so that little is padded."""

    name: str
    train: Weights
    data: Weights
    objectives: Weights = Field(default_factory=lambda: {"lm": 1.0})
    steps: int = Field(ge=1)
    batch: int = Field(16, ge=1)
    warmup: int = Field(20, ge=0)
    schedule: Literal["cosine", "constant"] = "cosine"
    weight_decay: float = Field(0.0, ge=0)
    clip: float = Field(1.0, gt=0)
    grouping: int = Field(8, ge=1)
    limit: int = Field(1024, ge=8)


class Run(Strict):
    """`precision: bf16` runs products in bfloat16; weights stay in float32. `attention`: how the backbone attends while it
    trains (in bfloat16 on a CPU, `eager` is a fifth faster than the default)."""

    folder: str
    seed: int = 0
    save_every: int = Field(100, ge=1)
    log_every: int = Field(10, ge=1)
    precision: Literal["fp32", "bf16"] = "fp32"
    attention: Literal["eager", "sdpa"] | None = None
    threads: int | None = Field(None, ge=1)
    cache: str | None = None  # folder of frozen encoder features; absent, they are computed again for every batch


class TrainRecipe(Strict):
    model: ModelRecipe
    data: dict[str, dict[str, Any]]
    stages: list[Stage] = Field(min_length=1)
    run: Run
    about: dict[str, Any] = Field(default_factory=dict)


def train_recipe(data: dict[str, Any], where: str = "recipe") -> TrainRecipe:
    """A validated training recipe. Raises `RecipeError` naming the key and the nearest match."""
    recipe: TrainRecipe = validate(TrainRecipe, data, where)
    model_recipe(data, where)  # what it asks of a model beyond the schema
    for stage in recipe.stages:
        for name in stage.data:
            if name not in recipe.data:
                raise RecipeError(
                    f"{where}: stage '{stage.name}' mixes '{name}', which is not in data{nearest(name, recipe.data)}"
                )
    if len({stage.name for stage in recipe.stages}) < len(recipe.stages):
        raise RecipeError(f"{where}: two stages have the same name")
    recipe.run.folder = str(Path(recipe.run.folder).expanduser())
    return recipe


def select(model: nn.Module, train: dict[str, float]) -> list[dict[str, Any]]:
    """Freeze the whole model, thaw what the patterns name, and return the optimizer's parameter groups.

    The last pattern that matches a parameter decides its rate. Raises `RecipeError` for a pattern that matches nothing.
    """
    names = [name for name, _ in model.named_parameters()]
    for pattern in train:
        if not any(fnmatchcase(name, pattern) for name in names):
            roots = sorted({".".join(name.split(".")[:3]) + ".*" for name in names})
            raise RecipeError(f"the pattern '{pattern}' matches no parameter{nearest(pattern, roots)}")
    groups: dict[str, list[nn.Parameter]] = {pattern: [] for pattern in train}
    for name, parameter in model.named_parameters():
        matching = [pattern for pattern in train if fnmatchcase(name, pattern)]
        parameter.requires_grad_(bool(matching))
        if matching:
            groups[matching[-1]].append(parameter)
    return [{"params": params, "lr": train[pattern], "name": pattern} for pattern, params in groups.items() if params]
