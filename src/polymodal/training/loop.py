"""The training loop. One file to read from top to bottom: stages -> batches -> losses -> step -> log -> checkpoint.

What it decides: a step's loss is a mean over the tokens of the whole step; whatever is random is found again from
(seed, place); a run that is killed and started again with the same recipe goes on where its last checkpoint stood.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from polymodal.errors import DataError, RecipeError
from polymodal.model.composing import compose
from polymodal.model.composition import Composition
from polymodal.model.config import ModelRecipe
from polymodal.model.modeling import MultimodalLM
from polymodal.model.sequence import Batch
from polymodal.parts import peft
from polymodal.training import dump, state
from polymodal.training.cache import FeatureCache
from polymodal.training.data import Mix
from polymodal.training.distributed import Processes, filled, full, skeleton
from polymodal.training.evaluate import Evaluations
from polymodal.training.filling import Forecast, forecast
from polymodal.training.loading import Loader, MicroBatch, Renderer
from polymodal.training.log import Log
from polymodal.training.objectives import objective
from polymodal.training.sources import build_source
from polymodal.training.stage import Stage, TrainRecipe, adapt, decaying, select
from polymodal.training.step import Step, Whole

Sums = dict[str, tuple[Tensor, Tensor]]

# What may change while a run goes on: nothing that its weights depend on.
FREE: Any = {
    "run": {"threads", "log_every", "save_every", "tensorboard", "workers", "parallel", "folder"},
    "evaluate": True,
}


class Losses(nn.Module):
    """The model with its objectives: what is wrapped or sliced for several processes, so that every objective goes through
    one `forward`."""

    def __init__(self, model: MultimodalLM, weights: dict[str, float]) -> None:
        super().__init__()
        self.model = model
        self.minimise(weights)

    def minimise(self, weights: dict[str, float]) -> None:
        self.objectives = {name: (objective(name), weight) for name, weight in weights.items()}
        self.reduced: dict[str, Tensor] = {}  # of a stage: what is frozen in it may learn in the next

    def forward(self, batch: Batch, whole: Whole | None = None) -> tuple[Tensor, Sums]:
        """(what the batch adds to the loss of the `whole` step, {objective: (per-example sums [B], token counts [B])})."""
        whole = whole or Whole.of([batch], self.objectives, self.model.backbone)
        step = Step(self.model, batch, whole, self.reduced)
        parts = {name: (function(step), weight) for name, (function, weight) in self.objectives.items()}
        total = sum(weight * loss.each.sum() / max(1, whole.counts[name]) for name, (loss, weight) in parts.items())
        if step.zero is not None:
            total = total + step.zero
        return torch.as_tensor(total), {n: (loss.each.detach(), loss.counts.detach()) for n, (loss, _) in parts.items()}


def train(
    recipe: TrainRecipe,
    on_log: Callable[[dict[str, Any]], None] | None = None,
    stop: Callable[[], bool] | None = None,
    on_cache: Callable[[Forecast], None] | None = None,
) -> Composition:
    """Run every stage, from the last checkpoint in `run.folder` if there is one, and write the model to
    `run.folder`/model. `on_log` receives what the JSONL log receives. `stop` is asked after each step: if it says so, a
    checkpoint is written and KeyboardInterrupt raised. `on_cache` is told what `run.cache` lacks, at the beginning.

    Raises `RecipeError` if the folder holds a run of another recipe, `DataError` naming the samples of a batch whose
    loss is not finite.
    """
    run = recipe.run
    folder = Path(run.folder)
    processes = Processes(run.parallel)
    if run.threads is not None:
        torch.set_num_threads(run.threads)
    autocast = processes.autocast(run.precision)
    composition = Composition(compose(recipe.model), recipe.model.model_copy(deep=True))  # stages add adapters to it
    model = composition.model
    if run.init_from is not None:
        state.begin_from(run.init_from, model)
    attention = model.backbone.lm.config._attn_implementation
    if run.attention is not None:
        model.backbone.lm.set_attn_implementation(run.attention)
    sources = {name: build_source(name, part) for name, part in recipe.data.items()}
    stages = [stage.counted({name: len(source) for name, source in sources.items()}) for stage in recipe.stages]
    with peft.trial(model):
        wanted = composition.recipe.model_copy(deep=True)
        learning = set[str]()
        for stage in stages:
            learning |= _check(stage, model, wanted, run.cache is not None, processes)
    # Only a recipe that can run takes the folder: correcting a mistake is not another run.
    if processes.main:
        state.claim(folder, recipe.model_dump(mode="json", exclude=FREE))
    processes.wait()
    place = state.find(folder)
    progress = state.Progress() if place is None else state.standing(place)
    # What is sliced is sliced once: adapters of later stages, which change nothing until they learn, join at the start.
    for index, stage in enumerate(stages if processes.sharded else stages[: progress.stage + 1]):
        adapt(model, composition.recipe, stage, run.seed + index)
    cache = FeatureCache(Path(run.cache).expanduser(), model, run.cache_dtype) if run.cache else None
    if cache is not None and on_cache is not None:
        on_cache(forecast(cache, {name: sources[name] for stage in stages for name in stage.data}))
    renderer = Renderer(composition, sources, cache, run.workers, run.remember)
    plain = skeleton(model) if processes.sharded else model
    objectives = Losses(model, stages[0].objectives)
    processes.place(objectives, model, learning)
    if place is not None:
        state.load(place, model)
    if processes.main:
        state.rewind(folder, progress.sizes)
    log = Log(folder, stages, on_log, run.tensorboard, processes)
    evaluations = Evaluations(recipe.evaluate, recipe.data, composition, folder, log)
    trained: set[str] = set()
    with closing(renderer):  # broken off, too: workers would first prepare all that they were asked for
        for index, stage in enumerate(stages):
            adapt(model, composition.recipe, stage, run.seed + index)
            groups = select(model, stage.train, stage.peft)
            trained |= {name for name, parameter in peft.named_parameters(model).items() if parameter.requires_grad}
            if index < progress.stage:
                continue
            if index > progress.stage:
                progress, place = state.Progress(stage=index, seconds=progress.seconds), None
            optimizer = torch.optim.AdamW(decaying(groups, stage.weight_decay))
            if place is not None:
                state.restore_optimizer(place, model, optimizer)
            objectives.minimise(stage.objectives)
            losses = processes.wrap(objectives)
            mix = Mix({name: sources[name] for name in stage.data}, stage.data, seed=run.seed + 1000 * index)
            model.backbone.checkpoint(False)  # the stage before's, first: taking it off puts whole layers into one mode
            losses.train()
            _freeze_statistics(model)
            model.backbone.checkpoint(stage.checkpointing)
            started = time.perf_counter() - progress.seconds
            for step in Loader(composition, stage, mix, progress, renderer, processes):
                begun = time.perf_counter()
                for group in optimizer.param_groups:
                    group["lr"] = group["rate"] * rate(stage, progress.step)
                own = Whole.of([micro.batch for micro in step], stage.objectives, model.backbone)
                whole = Whole.joined(processes.gather(own))
                done: list[tuple[Tensor, Sums]] = []
                learns = True  # DDP, once told of the last backward pass, waits for it until a step that has one
                with processes.step(model):
                    for i, micro in enumerate(step):
                        # Seeded by its place, so that a resumed run draws what an uninterrupted one draws.
                        torch.manual_seed(random.Random(f"{mix.seed}/{progress.step}/{i}/{processes.rank}").getrandbits(63))
                        with processes.accumulating(losses, last=learns and i == len(step) - 1):
                            with autocast:
                                loss, sums = losses(micro.batch, whole)
                            learns = loss.requires_grad  # of several processes in all parts of a step or none (`Step.zero`)
                            if learns:  # text alone, in a stage of projectors, leads to nothing that learns
                                processes.accelerator.backward(loss * processes.world)  # averaged over processes
                        done.append((loss.detach(), sums))
                norm = full(processes.accelerator.clip_grad_norm_([p for g in groups for p in g["params"]], stage.clip))
                _require_finite(norm, done, step, stage, progress, folder, processes)
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
                progress.step += 1
                progress.seconds = time.perf_counter() - started
                log.add(*_joined(step, done), float(norm), time.perf_counter() - begun)
                if progress.step % run.log_every == 0 or progress.step == stage.length:
                    log.write(stage, progress, optimizer.param_groups[0]["lr"])
                with processes.gathered(objectives):
                    evaluations.run(stage, progress, cache)
                stopped = any(processes.gather(stop is not None and stop()))
                if progress.step % run.save_every == 0 or progress.step == stage.length or stopped:
                    if cache is not None:  # before the checkpoint: a resumed run finds what the steps before it encoded
                        cache.flush()
                    with log.paused():
                        state.save(folder, model, trained, optimizer, progress, processes)
                if stopped:
                    raise KeyboardInterrupt
    if processes.sharded:
        composition.model = filled(plain, model, keep=processes.main)
    if processes.main:
        _finish(composition, recipe, attention, progress, trained)
        evaluations.finish(stage, progress, cache)
    if cache is not None:
        cache.flush()
    return composition


def _finish(
    composition: Composition, recipe: TrainRecipe, attention: str, progress: state.Progress, trained: set[str]
) -> None:
    """The finished model, in memory and in `run.folder`/model."""
    composition.model.backbone.checkpoint(False)
    composition.model.eval().requires_grad_(False)
    composition.model.backbone.lm.set_attn_implementation(attention)
    composition.about = {
        **recipe.model_dump(mode="json")["about"],
        "trained": {"seconds": round(progress.seconds), "recipe": recipe.model_dump(mode="json", exclude={"model", "run"})},
    }
    state.write_model(composition, Path(recipe.run.folder) / "model", trained)


def rate(stage: Stage, step: int) -> float:
    """Learning-rate factor: linear warm-up, then cosine to zero or constant."""
    if step < stage.warmup:
        return (step + 1) / (stage.warmup + 1)
    if stage.schedule == "constant":
        return 1.0
    done = (step - stage.warmup) / max(1, stage.length - stage.warmup)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


def _check(stage: Stage, model: MultimodalLM, recipe: ModelRecipe, cached: bool, processes: Processes) -> set[str]:
    """The names of the parameters that a stage trains. Raises `RecipeError` for what would stop the run only when it comes
    to this stage."""
    adapt(model, recipe, stage, seed=0)
    select(model, stage.train, stage.peft)
    processes.require_uniform(stage.name, model)
    if stage.packing is not None:
        _ = model.backbone.packing
    model.backbone.checkpoint(stage.checkpointing)
    model.backbone.checkpoint(False)
    for name in stage.objectives:
        objective(name)
    if stage.batch < stage.accumulate * processes.world:
        raise RecipeError(
            f"stage '{stage.name}' cannot cut a batch of {stage.batch} into {stage.accumulate} parts for each of "
            f"{processes.world} processes: a larger batch, or fewer"
        )
    for name, part in model.modalities.items():
        if cached and any(p.requires_grad for p in part.encoder.parameters()):
            raise RecipeError(
                f"run.cache holds features of frozen encoders, but stage '{stage.name}' trains inputs.{name}.encoder: "
                "remove run.cache"
            )
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def _joined(step: list[MicroBatch], done: list[tuple[Tensor, Sums]]) -> tuple[Sums, list[str], Tensor]:
    """The micro-batches of a step as one: losses, where each example came from, and which positions are real."""
    sums = {
        name: (torch.cat([own[name][0] for _, own in done]), torch.cat([own[name][1] for _, own in done]))
        for name in done[0][1]
    }
    mask = torch.cat([micro.batch.mask.flatten() for micro in step])
    return sums, [source for micro in step for source in micro.sources], mask


def _freeze_statistics(model: MultimodalLM) -> None:
    """What does not learn runs as in inference: no dropout, no moving statistics. So do parts that have adapters which do,
    and all in a part that has weights of which none learns: a classifier in a projector keeps the mean it learned by."""
    for part in model.parts.values():
        adapters = set(map(id, peft.weights(part).values()))
        for module in part.modules():
            weights = [p for p in module.parameters() if id(p) not in adapters]
            if weights and not any(p.requires_grad for p in weights):
                module.eval()
    peft.learn(model)


def _require_finite(
    norm: Tensor,
    done: list[tuple[Tensor, Sums]],
    step: list[MicroBatch],
    stage: Stage,
    progress: state.Progress,
    folder: Path,
    processes: Processes,
) -> None:
    """Raises `DataError` in every process if one of them has met a loss, or all a gradient, that is not finite; what each
    was given is kept."""
    losses = [float(loss) for loss, _ in done]
    told = processes.gather([*losses, float(norm)])
    wrong = next((value for values in told for value in values if not math.isfinite(value)), None)
    if wrong is None:
        return
    kept = folder / "bad_batch"
    if processes.main:
        dump.clear(kept)
    processes.wait()
    where = {"stage": stage.name, "step": progress.step + 1, "gradient_norm": float(norm)}
    about = [{**where, "loss": loss, "sources": micro.sources} for micro, loss in zip(step, losses, strict=True)]
    dump.write(kept, [micro.batch for micro in step], processes.rank, about)
    processes.wait()
    what = "gradient" if all(math.isfinite(value) for values in told for value in values[:-1]) else "loss"
    raise DataError(f"the {what} of step {progress.step + 1} is {wrong}: what the model was given is kept in {kept}")
