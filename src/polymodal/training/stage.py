"""The recipe of a training run: what data, which parts learn, how fast, for how long. Decides that a stage is data.

data:   {name: {kind: corpus | messages | DOTTED.PATH, ...}}
stages: a list; each names the parameters that learn (everything else is frozen), a weighted mix of the data, weighted
        objectives, and a length in steps
evaluate: {name: a held-out set and how it is measured}; see `training.evaluate`
run:    where it is written, and how often
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import nn

from polymodal.errors import RecipeError, nearest
from polymodal.model.config import ModelRecipe, Strict, model_recipe, validate
from polymodal.parts import peft
from polymodal.parts.peft import Adapter
from polymodal.training import evaluate as evaluation
from polymodal.training.distributed import Kind
from polymodal.training.evaluate import Evaluation

Rates = dict[str, Annotated[float, Field(gt=0, allow_inf_nan=False)]]
Weights = Annotated[Rates, Field(min_length=1)]


class Stage(Strict):
    """`train`: {pattern over parameter names: learning rate}. `peft`: {pattern over module names: adapter and its rate};
    they stay in the model, frozen unless a later stage names them. `data`: {source: weight}. `objectives`: {name: weight}.
    `batch`: examples per step, over all processes; they are run `accumulate` parts after another. `steps`, or `epochs`:
    passes over as many samples as the sources have. `grouping`: batches drawn at once and sorted by length, so that little
    is padded. `packing`: examples share rows of this many positions instead of being padded. `checkpointing`: the backbone
    keeps only the states between its layers for the backward pass and computes the rest again."""

    name: str
    train: Rates = Field(default_factory=dict)
    peft: dict[str, Adapter] = Field(default_factory=dict)
    data: Weights
    objectives: Weights = Field(default_factory=lambda: {"lm": 1.0})
    steps: int | None = Field(None, ge=1)
    epochs: float | None = Field(None, gt=0, allow_inf_nan=False)
    batch: int = Field(16, ge=1)
    accumulate: int = Field(1, ge=1)
    warmup: int = Field(20, ge=0)
    schedule: Literal["cosine", "constant"] = "cosine"
    weight_decay: float = Field(0.0, ge=0)
    clip: float = Field(1.0, gt=0)
    grouping: int = Field(8, ge=1)
    limit: int = Field(1024, ge=8)
    packing: int | None = Field(None, ge=8)
    checkpointing: bool = False

    @property
    def length(self) -> int:
        """Optimizer steps, once `epochs` have been `counted`."""
        if self.steps is None:
            raise ValueError(f"stage '{self.name}': its epochs have not been counted")
        return self.steps

    def counted(self, sizes: Mapping[str, int]) -> Stage:
        """The stage with its `steps`. `sizes`: samples of each source."""
        if self.epochs is None:
            return self
        samples = self.epochs * sum(sizes[name] for name in self.data)
        return self.model_copy(update={"steps": max(1, math.ceil(samples / self.batch))})


class Run(Strict):
    """`precision: bf16` runs products in bfloat16; weights stay in float32. `attention`: how the backbone attends while it
    trains (in bfloat16 on a CPU, `eager` is a fifth faster than the default). `init_from`: a checkpoint folder whose parts
    of the same names are begun with, or one for each pattern of such names. `workers`: processes that prepare data.
    `remember`: samples that are rendered once and kept in memory, as they were worded the first time: for data about whose
    samples nothing is random. `parallel`: what several processes share."""

    folder: str
    init_from: str | dict[str, str] | None = None
    seed: int = 0
    save_every: int = Field(100, ge=1)
    log_every: int = Field(10, ge=1)
    precision: Literal["fp32", "bf16"] = "fp32"
    attention: Literal["eager", "sdpa"] | None = None
    threads: int | None = Field(None, ge=1)
    workers: int = Field(0, ge=0)
    remember: int = Field(0, ge=0)
    parallel: Kind = "ddp"
    cache: str | None = None  # folder of frozen encoder features; absent, they are computed again for every batch
    cache_dtype: Literal["float16", "float32"] = "float16"
    tensorboard: bool = False


class TrainRecipe(Strict):
    model: ModelRecipe
    data: dict[str, dict[str, Any]]
    stages: list[Stage] = Field(min_length=1)
    evaluate: dict[str, Evaluation] = Field(default_factory=dict)
    run: Run
    about: dict[str, Any] = Field(default_factory=dict)


def train_recipe(data: dict[str, Any], where: str = "recipe") -> TrainRecipe:
    """A validated training recipe. Raises `RecipeError` naming the key and the nearest match."""
    recipe: TrainRecipe = validate(TrainRecipe, data, where)
    recipe.model = model_recipe(data, where)  # what it asks of a model beyond the schema, and says of outputs
    _check(recipe.stages, where)
    for stage in recipe.stages:
        for name in stage.data:
            if name not in recipe.data:
                raise RecipeError(
                    f"{where}: stage '{stage.name}' mixes '{name}', which is not in data{nearest(name, recipe.data)}"
                )
    evaluation.check(recipe.evaluate, recipe.data, {name for stage in recipe.stages for name in stage.data}, where)
    recipe.run.folder = str(Path(recipe.run.folder).expanduser())
    return recipe


def read_stages(data: dict[str, Any], where: str = "recipe") -> list[Stage]:
    """The validated stages of a recipe, none if it has none. One with neither `data` nor `run` is a plan, such as a preset,
    whose sources are names. Raises `RecipeError`."""
    if "stages" not in data:
        return []
    if data.keys() & {"data", "run"}:
        return train_recipe(data, where).stages
    stages: list[Stage] = validate(_Stages, {"stages": data["stages"]}, where).stages
    _check(stages, where)
    return stages


class _Stages(Strict):
    stages: list[Stage]


def _check(stages: list[Stage], where: str) -> None:
    """Raises `RecipeError` for what a stage alone cannot mean."""
    for i, stage in enumerate(stages):
        key = f"{where}: stages.{i}"
        if not stage.train and not stage.peft:
            raise RecipeError(
                f"{key}.train: stage '{stage.name}' trains nothing; name parameters here or adapters in 'peft'"
            )
        for pattern, adapter in stage.peft.items():
            if adapter.rate is None:
                raise RecipeError(f"{key}.peft.{pattern} needs a learning rate, 'rate'")
        if stage.packing is not None and stage.packing < stage.limit:
            raise RecipeError(f"{key}.packing: rows of {stage.packing} do not hold examples of {stage.limit} ('limit')")
        if (stage.steps is None) == (stage.epochs is None):
            raise RecipeError(f"{where}: stage '{stage.name}' needs either steps or epochs, and not both")
        if stage.batch < stage.accumulate:
            raise RecipeError(f"{where}: stage '{stage.name}' cannot cut a batch of {stage.batch} into {stage.accumulate}")
    if len({stage.name for stage in stages}) < len(stages):
        raise RecipeError(f"{where}: two stages have the same name")


def adapt(model: nn.Module, recipe: ModelRecipe, stage: Stage, seed: int) -> None:
    """Attach the adapters of a stage, where an earlier one has not, and note them in the recipe of the model. `seed` draws
    their weights. Raises `RecipeError` for a pattern that matches nothing or that has another adapter already."""
    torch.manual_seed(seed)
    for pattern, adapter in stage.peft.items():
        lasting = adapter.model_copy(update={"rate": None})
        if recipe.peft.setdefault(pattern, lasting) != lasting:
            raise RecipeError(
                f"stage '{stage.name}': the peft pattern '{pattern}' has another adapter already; word it otherwise"
            )
    peft.attach(model, stage.peft)


def plan(model: nn.Module, recipe: ModelRecipe, stages: list[Stage]) -> list[Rates]:
    """What learns in each stage: {pattern over parameter names: learning rate}, an adapter's weights each by name. Attaches
    the adapters of all stages, as training does."""
    for stage in stages:
        adapt(model, recipe, stage, seed=0)
    return [
        {**stage.train, **{name: stage.peft[p].rate or 0.0 for name, p in peft.named(model, stage.peft).items()}}
        for stage in stages
    ]


def select(model: nn.Module, train: Mapping[str, float], adapters: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
    """Freeze the whole model, thaw what the patterns of `train` and of attached `adapters` name, and return the optimizer's
    parameter groups: `params`, the pattern that is their `name`, and their `rate`.

    The last pattern that matches a parameter decides its rate; adapters come after `train`. Raises `RecipeError` for a
    pattern that matches nothing.
    """
    adapters = adapters or {}
    parameters, named = peft.named_parameters(model), peft.named(model, adapters)
    for pattern in train:
        if not any(fnmatchcase(name, pattern) for name in parameters):
            roots = sorted({".".join(name.split(".")[:3]) + ".*" for name in parameters})
            raise RecipeError(f"the pattern '{pattern}' matches no parameter{nearest(pattern, roots)}")
    groups: list[dict[str, Any]] = [{"params": [], "lr": lr, "rate": lr, "name": pattern} for pattern, lr in train.items()]
    for pattern, adapter in adapters.items():
        groups.append({"params": [], "lr": adapter.rate, "rate": adapter.rate, "name": pattern})
    for name, parameter in parameters.items():
        matching = [i for i, pattern in enumerate(train) if fnmatchcase(name, pattern)]
        if name in named:
            matching.append(len(train) + list(adapters).index(named[name]))
        parameter.requires_grad_(bool(matching))
        if matching:
            groups[matching[-1]]["params"].append(parameter)
    return [group for group in groups if group["params"]]


def decaying(groups: list[dict[str, Any]], weight_decay: float) -> list[dict[str, Any]]:
    """The optimizer's groups with their weight decay: of matrices only. Biases, gains and gates have a scale that they
    need; pulling them to zero pulls the part's output to zero."""
    split = []
    for group in groups:
        matrices = [p for p in group["params"] if p.dim() >= 2]
        vectors = [p for p in group["params"] if p.dim() < 2]
        for params, decay in ((matrices, weight_decay), (vectors, 0.0)):
            if params:
                split.append({**group, "params": params, "weight_decay": decay})
    return split
