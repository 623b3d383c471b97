"""From draws to micro-batches. Decides that what a step sees depends on nothing but the recipe: not on the number of
workers, nor of processes, nor on where a run was interrupted.

    pool            `grouping` batches' worth of draws, the same in every process
    lengths         each process renders every `world`-th of them and tells the others how long they are
    batches         the pool sorted by length and cut
    micro-batches   each batch cut into `accumulate` x `world` parts; a process renders its own

The next pool is asked for while this one is trained on. With `workers`, processes forked from this one render (decode
media, tokenise) what is asked; without, it is rendered when it is wanted. Whatever is random in it is seeded by the draw.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import random
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from polymodal.errors import ContentError, DataError, MediaError, RecipeError
from polymodal.model.composition import Composition
from polymodal.model.modeling import MultimodalLM
from polymodal.model.sequence import Batch, Example, MediaItem, collate
from polymodal.training.cache import FeatureCache
from polymodal.training.data import Draw, Mix, Source, by_length
from polymodal.training.distributed import Processes
from polymodal.training.stage import Stage
from polymodal.training.state import Progress

ENCODED = 16  # items an encoder is given at once: on a CPU, batches of a hundred pictures take twice as long each


class Renderer:
    """Draws -> examples. `remember`: how many samples are rendered but once, in each process that renders. Raises
    `RecipeError` for `workers` on a system that cannot fork."""

    def __init__(
        self,
        composition: Composition,
        sources: Mapping[str, Source],
        cache: FeatureCache | None,
        workers: int,
        remember: int = 0,
    ) -> None:
        self.processor, self.sources, self.cache = composition.processor, sources, cache
        self.remember = remember
        self._kept: dict[tuple[str, int, int], Example] = {}
        self.executor: ProcessPoolExecutor | None = None
        if workers:
            if "fork" not in multiprocessing.get_all_start_methods():
                raise RecipeError("run.workers needs a system that can fork; here, use 0")
            context = multiprocessing.get_context("fork")  # the model's weights are shared, not copied
            self.executor = ProcessPoolExecutor(workers, context, initializer=_begin_work, initargs=(self,))

    def ask(self, draw: Draw, limit: int) -> Callable[[], Example]:
        """Begin to render; the result waits for the end. It raises `DataError` naming the sample."""
        if self.executor is None:
            return partial(self.render, draw, limit)
        future = self.executor.submit(_work, draw, limit)
        return lambda: pickle.loads(future.result())  # written by ourselves, in memory

    def render(self, draw: Draw, limit: int) -> Example:
        key = draw.source, draw.index, limit
        if key in self._kept:
            return self._kept[key]
        example = self._rendered(draw, limit)
        if len(self._kept) < self.remember:
            self._kept[key] = example
        return example

    def _rendered(self, draw: Draw, limit: int) -> Example:
        _seed(random.Random(draw.seed).getrandbits(31))  # an encoder's `prepare` may draw
        sample = draw.sample(self.sources)
        prepared = None if self.cache is None else self.cache.items()
        try:
            example = self.processor.encode(sample.messages, limit=limit, prepared=prepared, name=sample.name)
        except (MediaError, ContentError) as error:
            raise DataError(f"{sample.name}: {error}") from error
        example.messages = []  # pictures may hang on them, and they have been said
        return example

    def close(self) -> None:
        if self.executor is not None:
            self.executor.shutdown(cancel_futures=True)


def _seed(seed: int) -> None:
    """What may be drawn from where media are prepared. `torch.manual_seed` reaches for every kind of device and keeps the
    stack for those that are not there, which costs as much as rendering a text."""
    import numpy as np

    random.seed(seed)
    np.random.seed(seed)
    torch.default_generator.manual_seed(seed)


@dataclass
class MicroBatch:
    """What a process runs at once. `sources` [B]: where each example came from."""

    batch: Batch
    sources: list[str]


class Loader:
    """The remaining steps of a stage, each the micro-batches of this process. Moves `progress` along: a resumed run draws
    the pool it stood in again, and renders of it only what it has not used."""

    def __init__(
        self, composition: Composition, stage: Stage, mix: Mix, progress: Progress, renderer: Renderer, processes: Processes
    ) -> None:
        self.composition, self.stage, self.mix, self.progress = composition, stage, mix, progress
        self.renderer, self.processes = renderer, processes

    def __iter__(self) -> Iterator[list[MicroBatch]]:
        stage, progress, processes = self.stage, self.progress, self.processes
        following: Pool | None = None
        while progress.step < stage.length:
            pool = following or Pool(self.mix, progress.pool, stage, self.renderer)
            if not progress.lengths:
                progress.lengths = pool.lengths(processes)
            shuffle = random.Random(f"{self.mix.seed}/{progress.pool['drawn']}")
            if stage.packing is None:
                cut = by_length(range(len(pool.draws)), progress.lengths, stage.batch, shuffle)
            else:  # short examples fill what long ones leave of a row
                cut = [list(range(i, i + stage.batch)) for i in range(0, len(pool.draws), stage.batch)]
            first = progress.step - progress.taken  # the step that the pool's first batch was for
            parts = [self._parts(batch) for batch in cut[progress.taken : stage.length - first]]
            pool.ask([i for step in parts for part in step for i in part])
            more = first + len(cut) < stage.length
            following = Pool(self.mix, pool.after, stage, self.renderer) if more else None
            if following is not None:
                following.ask(range(processes.rank, len(following.draws), processes.world))
            for step in parts:
                progress.taken += 1
                yield [self._collated(pool, part) for part in step]
            progress.pool, progress.taken, progress.lengths = pool.after, 0, []

    def _parts(self, batch: list[int]) -> list[list[int]]:
        """This process's part of each micro-batch. Sizes differ by one at most."""
        cuts = self.stage.accumulate * self.processes.world
        bounds = [i * len(batch) // cuts for i in range(cuts + 1)]
        mine = range(self.processes.rank, cuts, self.processes.world)
        return [batch[bounds[i] : bounds[i + 1]] for i in mine]

    def _collated(self, pool: Pool, part: list[int]) -> MicroBatch:
        batch = collate([pool.take(i) for i in part], self.composition.processor.pad_id, packing=self.stage.packing)
        if self.renderer.cache is not None:
            _encode_media(self.composition.model, batch.media, self.renderer.cache)
        return MicroBatch(batch, [pool.draws[i].source for i in part])


def _encode_media(model: MultimodalLM, items: list[MediaItem], cache: FeatureCache) -> None:
    """Features the cache lacks, computed in batches of ENCODED and kept. What is used is what was kept, rounding included,
    so that a resumed run sees the features of an uninterrupted one."""
    for item in items:  # it may have been seen in an earlier batch of the same pool
        if item.encoded is None:
            item.encoded = cache.get(item.modality, item.key)
    new = [item for item in items if item.encoded is None]
    for start in range(0, len(new), ENCODED):
        some = new[start : start + ENCODED]
        for item, features in zip(some, model.encode(some), strict=True):
            item.encoded = cache.put(item, features)


class Pool:
    """Draws that are sorted together. `after`: the mix's state behind them."""

    def __init__(self, mix: Mix, begin: dict[str, Any], stage: Stage, renderer: Renderer) -> None:
        mix.load_state_dict(begin)
        self.draws = [mix.draw() for _ in range(stage.batch * stage.grouping)]
        self.after, self.limit, self.renderer = mix.state_dict(), stage.limit, renderer
        self._asked: dict[int, Callable[[], Example]] = {}
        self._done: dict[int, Example] = {}

    def ask(self, indices: Any) -> None:
        for i in indices:
            if i not in self._done and i not in self._asked:
                self._asked[i] = self.renderer.ask(self.draws[i], self.limit)

    def lengths(self, processes: Processes) -> list[int]:
        """Positions of every example. Each process renders its share of them."""
        mine = range(processes.rank, len(self.draws), processes.world)
        self.ask(mine)
        for i in mine:
            self._done[i] = self._asked.pop(i)()
        known = {i: n for part in processes.gather({i: len(self._done[i]) for i in mine}) for i, n in part.items()}
        return [known[i] for i in range(len(self.draws))]

    def take(self, i: int) -> Example:
        return self._done.pop(i) if i in self._done else self._asked.pop(i)()


_renderer: Renderer | None = None  # of a worker; set once, when it begins


def _begin_work(renderer: Renderer) -> None:
    global _renderer
    _renderer = renderer
    torch.set_num_threads(1)  # a forked process has none of its parent's threads
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A killed run leaves nobody behind who waits for work."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _work(draw: Draw, limit: int) -> bytes:
    assert _renderer is not None
    # As bytes: tensors would travel as one open file each, and a pool holds thousands.
    return pickle.dumps(_renderer.render(draw, limit))
