"""The training loop. One file to read from top to bottom: stages -> batches -> losses -> step -> log -> checkpoint.

What it decides: a step's loss is a mean over the tokens of the whole step; whatever is random is found again from
(seed, place); a run that is killed and started again with the same recipe goes on where its last checkpoint stood.
"""

from __future__ import annotations

import json
import math
import os
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from polymodal.errors import ContentError, DataError, MediaError, RecipeError
from polymodal.model.composition import Composition
from polymodal.model.modeling import MultimodalLM, compose
from polymodal.model.sequence import Batch, Example, MediaItem, collate
from polymodal.training import state
from polymodal.training.cache import FeatureCache
from polymodal.training.data import Mix, Sample, by_length
from polymodal.training.objectives import Step, objective
from polymodal.training.sources import build_source
from polymodal.training.stage import Stage, TrainRecipe, select


class Losses(nn.Module):
    """The model with its objectives: what accelerate wraps, so that every objective goes through one `forward`."""

    def __init__(self, model: MultimodalLM, weights: dict[str, float]) -> None:
        super().__init__()
        self.model = model
        self.objectives = {name: (objective(name), weight) for name, weight in weights.items()}

    def forward(self, batch: Batch) -> tuple[Tensor, dict[str, tuple[Tensor, Tensor]]]:
        """(the loss to minimise, {objective: (per-example sums [B], token counts [B])})."""
        step = Step(self.model, batch)
        parts = {name: (function(step), weight) for name, (function, weight) in self.objectives.items()}
        total = sum(weight * loss.each.sum() / loss.counts.sum().clamp(min=1) for loss, weight in parts.values())
        return torch.as_tensor(total), {n: (loss.each.detach(), loss.counts.detach()) for n, (loss, _) in parts.items()}


def train(recipe: TrainRecipe, on_log: Callable[[dict[str, Any]], None] | None = None) -> Composition:
    """Run every stage, from the last checkpoint in `run.folder` if there is one, and write the model to
    `run.folder`/model. `on_log` receives what the JSONL log receives.

    Raises `RecipeError` if the folder holds a run of another recipe, `DataError` naming the samples of a batch whose
    loss is not finite.
    """
    from accelerate import Accelerator

    run = recipe.run
    folder = Path(run.folder)
    if run.threads is not None:
        torch.set_num_threads(run.threads)
    # Autocast is ours: accelerate's is one setting for the whole life of a process.
    accelerator = Accelerator(mixed_precision="no")
    autocast = torch.autocast(accelerator.device.type, torch.bfloat16, enabled=run.precision == "bf16")
    composition = Composition(compose(recipe.model), recipe.model)
    model = composition.model.to(accelerator.device)
    attention = model.backbone.lm.config._attn_implementation
    if run.attention is not None:
        model.backbone.lm.set_attn_implementation(run.attention)
    sources = {name: build_source(name, part) for name, part in recipe.data.items()}
    for stage in recipe.stages:
        _check(stage, model, cached=run.cache is not None)
    # Only a recipe that can run takes the folder: correcting a mistake is not another run.
    state.claim(folder, recipe.model_dump(mode="json", exclude={"run": {"threads", "log_every", "save_every"}}))
    progress = state.Progress()
    resumed = state.load(folder, model)
    if resumed is not None:
        progress = state.Progress(**resumed.progress)
    log = Log(folder / "log.jsonl", on_log)
    trained: set[str] = set()
    for index, stage in enumerate(recipe.stages):
        groups = select(model, stage.train)
        trained |= {name for name, parameter in model.named_parameters() if parameter.requires_grad}
        if index < progress.stage:
            continue
        if index > progress.stage or resumed is None:
            progress = state.Progress(stage=index, seconds=progress.seconds)
        optimizer = torch.optim.AdamW(groups, weight_decay=stage.weight_decay)
        torch.manual_seed(run.seed + index)
        if resumed is not None and resumed.progress["stage"] == index:
            state.restore_optimizer(optimizer, resumed)
        losses, optimizer = accelerator.prepare(Losses(model, stage.objectives), optimizer)
        cache = FeatureCache(Path(run.cache).expanduser(), model) if run.cache else None
        mix = Mix({name: sources[name] for name in stage.data}, stage.data, seed=run.seed + 1000 * index)
        losses.train()
        _freeze_statistics(model)
        started = time.perf_counter() - progress.seconds
        for batch, samples in batches(composition, stage, mix, progress, cache):
            begun = time.perf_counter()
            for group in optimizer.param_groups:
                group["lr"] = stage.train[group["name"]] * rate(stage, progress.step)
            with autocast:
                loss, parts = losses(batch)
            _require_finite(loss, "loss", samples, folder)
            if loss.requires_grad:  # text alone, in a stage of projectors, leads to nothing that learns
                accelerator.backward(loss)
            norm = accelerator.clip_grad_norm_([p for g in groups for p in g["params"]], stage.clip)
            _require_finite(norm, "gradient", samples, folder)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            progress.step += 1
            progress.seconds = time.perf_counter() - started
            log.add(stage, progress, parts, samples, batch, float(norm), time.perf_counter() - begun)
            if progress.step % run.log_every == 0 or progress.step == stage.steps:
                log.write(stage, optimizer.param_groups[0]["lr"])
            if progress.step % run.save_every == 0 or progress.step == stage.steps:
                state.save(folder, model, trained, optimizer, progress)
        resumed = None
    model.eval().requires_grad_(False)
    model.backbone.lm.set_attn_implementation(attention)
    composition.about = {
        **recipe.model_dump(mode="json")["about"],
        "trained": {"seconds": round(progress.seconds), "recipe": recipe.model_dump(mode="json", exclude={"model", "run"})},
    }
    state.write_model(composition, folder / "model", trained)
    return composition


def rate(stage: Stage, step: int) -> float:
    """Learning-rate factor: linear warm-up, then cosine to zero or constant."""
    if step < stage.warmup:
        return (step + 1) / (stage.warmup + 1)
    if stage.schedule == "constant":
        return 1.0
    done = (step - stage.warmup) / max(1, stage.steps - stage.warmup)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


def batches(
    composition: Composition, stage: Stage, mix: Mix, progress: state.Progress, cache: FeatureCache | None
) -> Iterator[tuple[Batch, list[Sample]]]:
    """The stage's remaining batches. Samples are drawn in pools of `grouping` batches and sorted by length; a resumed run
    draws the pool it stood in again and skips what it had used."""
    while progress.step < stage.steps:
        mix.load_state_dict(progress.pool)
        samples = [next(mix) for _ in range(stage.batch * stage.grouping)]
        examples = [_encode(composition, sample, stage.limit, cache) for sample in samples]
        pairs = list(zip(samples, examples, strict=True))
        cut = by_length(
            pairs, [len(e) for e in examples], stage.batch, random.Random(f"{mix.seed}/{progress.pool['drawn']}")
        )
        for group in cut[progress.taken :]:
            if progress.step >= stage.steps:
                return
            progress.taken += 1
            batch = collate([example for _, example in group], composition.processor.pad_id)
            if cache is not None:
                _encode_media(composition.model, batch.media, cache)
            yield batch, [sample for sample, _ in group]
        progress.pool, progress.taken = mix.state_dict(), 0


def _encode(composition: Composition, sample: Sample, limit: int, cache: FeatureCache | None) -> Example:
    prepared = None if cache is None else cache.items(composition.model)
    try:
        return composition.processor.encode(sample.messages, limit=limit, prepared=prepared, name=sample.name)
    except (MediaError, ContentError) as error:
        raise DataError(f"{sample.name}: {error}") from error


def _encode_media(model: MultimodalLM, items: list[MediaItem], cache: FeatureCache) -> None:
    """Features the cache lacks, computed as one batch and kept. What is used is what was kept, rounding included, so that
    a resumed run sees the features of an uninterrupted one."""
    for item in items:  # it may have been seen in an earlier batch of the same pool
        if item.encoded is None:
            item.encoded = cache.get(item.modality, item.key)
    new = [item for item in items if item.encoded is None]
    for item, features in zip(new, model.encode(new), strict=True):
        item.encoded = cache.put(item, features)


def _check(stage: Stage, model: MultimodalLM, cached: bool) -> None:
    """Raises `RecipeError` for what would stop the run only when it comes to this stage."""
    select(model, stage.train)
    for name in stage.objectives:
        objective(name)
    for name, part in model.modalities.items():
        if cached and any(p.requires_grad for p in part.encoder.parameters()):
            raise RecipeError(
                f"run.cache holds features of frozen encoders, but stage '{stage.name}' trains inputs.{name}.encoder: "
                "remove run.cache"
            )


def _freeze_statistics(model: MultimodalLM) -> None:
    """Parts that do not learn run as in inference: no dropout, no moving batch statistics."""
    for module in [model.backbone, *(p for m in model.modalities.values() for p in (m.encoder, m.projector))]:
        if not any(p.requires_grad for p in module.parameters()):
            module.eval()


def _require_finite(value: Tensor, what: str, samples: list[Sample], folder: Path) -> None:
    if torch.isfinite(value):
        return
    file = folder / "bad_batch.json"
    file.write_text(json.dumps([sample.name for sample in samples], indent=1))
    raise DataError(f"the {what} is {float(value)}: the samples of this batch are listed in {file}")


class Log:
    """JSONL, one object per `log_every` steps: mean loss per objective and per source, speed, padding."""

    def __init__(self, file: Path, on_log: Callable[[dict[str, Any]], None] | None) -> None:
        self.file, self.on_log = file, on_log
        self._clear()

    def _clear(self) -> None:
        self.sums: dict[str, list[float]] = {}
        self.steps = self.examples = self.real = self.padded = 0
        self.busy = self.norm = 0.0
        self.since = time.perf_counter()

    def add(
        self,
        stage: Stage,
        progress: state.Progress,
        parts: dict[str, tuple[Tensor, Tensor]],
        samples: list[Sample],
        batch: Batch,
        norm: float,
        busy: float,
    ) -> None:
        for name, (each, counts) in parts.items():
            for sample, value, count in zip(samples, each.tolist(), counts.tolist(), strict=True):
                for key in (name, f"{name}/{sample.source}"):
                    total = self.sums.setdefault(key, [0.0, 0.0])
                    total[0], total[1] = total[0] + value, total[1] + count
        self.steps, self.examples = self.steps + 1, self.examples + len(samples)
        self.real, self.padded = self.real + int(batch.mask.sum()), self.padded + batch.mask.numel()
        self.busy, self.norm = self.busy + busy, max(self.norm, norm)
        self.progress = progress

    def write(self, stage: Stage, lr: float) -> None:
        elapsed = time.perf_counter() - self.since
        row = {
            "stage": stage.name,
            "step": self.progress.step,
            "steps": stage.steps,
            "lr": lr,
            "loss": {key: round(a / max(b, 1), 4) for key, (a, b) in self.sums.items()},
            "grad_norm": round(self.norm, 3),
            "examples_per_s": round(self.examples / elapsed, 2),
            "positions_per_s": round(self.real / elapsed),
            "data_wait": round(1 - self.busy / elapsed, 3),
            "padding": round(1 - self.real / self.padded, 3),
            "seconds": round(self.progress.seconds, 1),
        }
        with open(self.file, "a", encoding="utf-8") as stream:
            stream.write(json.dumps(row) + "\n")
            stream.flush()
            os.fsync(stream.fileno())
        if self.on_log is not None:
            self.on_log(row)
        self._clear()
