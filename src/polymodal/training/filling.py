"""What a feature cache will cost, and paying it beforehand. Decides that nobody meets either by surprise: a run says how
many items it lacks, how much disk and how many minutes they take, before it begins.

`forecast` looks at a few hundred samples of every source and encodes a handful, keeping none: a run that is resumed sees
the features of one that was never interrupted. `fill` visits every sample and encodes what is lacking, in batches of
equal shape.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from polymodal import media
from polymodal.content import Message, Part
from polymodal.errors import ContentError, DataError, MediaError
from polymodal.model.modeling import MultimodalLM
from polymodal.model.sequence import MediaItem
from polymodal.model.spans import READ
from polymodal.training.cache import FeatureCache
from polymodal.training.data import Source

LOOKED_AT = 512  # samples of each source that a forecast rests on
TIMED = 4  # items of each modality it encodes, the first of them to warm up
POOL, BATCH = 128, 16  # items prepared at once, and encoded at once


@dataclass(frozen=True)
class Forecast:
    """Items of media in the sources, how many the cache lacks, and the bytes and seconds that those will take."""

    items: int
    missing: int
    bytes: int
    seconds: float

    def __str__(self) -> str:
        cost = f"about {self.bytes / 1e6:.0f} MB, about {self.seconds / 60:.0f} min to fill"
        return f"cache: {self.items} items, {self.missing} missing" + (f", {cost}" if self.missing else "")


def forecast(cache: FeatureCache, sources: Mapping[str, Source]) -> Forecast:
    """Counts are exact where no source has more than 512 samples, and scaled up from evenly spaced ones otherwise. An item
    that two sources share counts once. Raises `DataError` for a sample that cannot be read."""
    seen: dict[tuple[str, str], tuple[Found, float]] = {}
    for source in sources.values():
        looked_at = range(0, len(source), -(-len(source) // LOOKED_AT) or 1)
        for found in _media(cache.model, source, looked_at):
            seen.setdefault((found.part.type, found.key), (found, len(source) / len(looked_at)))
    missing = size = seconds = 0.0
    for modality in {modality for modality, _ in seen}:
        lacking = [found for at, found in seen.items() if at[0] == modality and not cache.has(*at)]
        if not lacking:
            continue
        timed = []
        for found, _ in lacking[:: -(-len(lacking) // TIMED)]:
            began = time.perf_counter()
            item = _prepare(cache.model, found)
            cache.model.encode([item])
            timed.append((time.perf_counter() - began, cache.estimate([item])))
        here = sum(weight for _, weight in lacking)
        missing += here
        seconds += here * statistics.mean(s for s, _ in timed[1:] or timed)
        size += here * statistics.mean(b for _, b in timed)
    return Forecast(round(sum(weight for _, weight in seen.values())), round(missing), round(size), seconds)


def fill(cache: FeatureCache, sources: Mapping[str, Source], on_progress: Callable[[int], None] | None = None) -> int:
    """Encode every item of the sources that the cache lacks; the number encoded. What is done stays done if it is broken
    off. `on_progress` receives the samples visited, of the sum of the sources' lengths.
    Raises `DataError` naming a sample that cannot be read."""
    pool: dict[tuple[str, str], MediaItem] = {}
    encoded = visited = 0
    try:
        for source in sources.values():
            for index in range(len(source)):
                for found in _media(cache.model, source, range(index, index + 1)):
                    at = (found.part.type, found.key)
                    if at not in pool and not cache.has(*at):
                        pool[at] = _prepare(cache.model, found)
                if len(pool) >= POOL:
                    encoded += _encode(cache, pool)
                visited += 1
                if on_progress is not None:
                    on_progress(visited)
        return encoded + _encode(cache, pool)
    finally:
        cache.flush()


def _encode(cache: FeatureCache, pool: dict[tuple[str, str], MediaItem]) -> int:
    """Empty the pool into the cache; the number of its items."""
    groups: dict[object, list[MediaItem]] = {}
    for item in pool.values():
        shapes = tuple((name, tuple(value.shape)) for name, value in sorted((item.inputs or {}).items()))
        groups.setdefault((item.modality, shapes), []).append(item)
    for group in groups.values():
        for batch in (group[i : i + BATCH] for i in range(0, len(group), BATCH)):
            for item, features in zip(batch, cache.model.encode(batch), strict=True):
                cache.put(item, features)
    done = len(pool)
    pool.clear()
    return done


class Found(NamedTuple):
    """A part that an encoder would run on, its fingerprint, and the sample it is of."""

    sample: str
    part: Part
    key: str


def _media(model: MultimodalLM, source: Source, indices: range) -> Iterator[Found]:
    """The media of some samples; ready features are none."""
    for index in indices:
        sample = source.sample(index, random.Random(index))
        for message, part in ((turn, part) for turn in sample.messages for part in turn.parts):
            if part.type == "text" or isinstance(part.media, Tensor) or _made(model, message, part):
                continue
            if part.type not in model.modalities:
                raise DataError(f"{sample.name}: this model takes no {part.type}; it takes {', '.join(model.modalities)}")
            with _named(sample.name):
                key = media.fingerprint(part)
            yield Found(sample.name, part, key)


def _made(model: MultimodalLM, message: Message, part: Part) -> bool:
    """Whether no encoder sees a part, since an output makes it, or reads it where no input does."""
    makers = [design for name, design in model.designs.items() if part.output in (None, name)]
    makers = [design for design in makers if design.modality == part.type]
    if part.type not in model.modalities and not model.backbone.seq2seq:
        return any(design.grammar.body.kind in READ for design in makers)
    given = message.role != "assistant" and part.output is None
    return bool(makers) and not given and (part.media is None or not makers[0].seen)


def _prepare(model: MultimodalLM, found: Found) -> MediaItem:
    port = model.modalities[found.part.type]
    with _named(found.sample):
        inputs = port.prepare(port.load(found.part))
    return MediaItem(found.part.type, found.key, port.positions(inputs), inputs)


@contextmanager
def _named(sample: str) -> Iterator[None]:
    try:
        yield
    except (MediaError, ContentError) as error:
        raise DataError(f"{sample}: {error}") from error
