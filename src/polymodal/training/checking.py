"""What training would make of data, without training. Decides that every row goes the way that training sends it.

A row is asked of its source, rendered by the model's own processor and cut to the limit; whatever would stop a run stops
nothing here and is listed. Media are decoded as training decodes them, each distinct item once; with `fast` they are read
and hashed, but only their headers are looked at, and positions follow from sizes.

Besides errors there are the things that cost people days and stop nothing: rows cut to the limit, rows that are there
twice, empty answers, one picture with two answers to one question, and held-out media among what is trained on.
"""

from __future__ import annotations

import hashlib
import random
from array import array
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from polymodal import media
from polymodal.content import Message, Part
from polymodal.errors import ContentError, DataError, MediaError
from polymodal.model.composition import Composition
from polymodal.model.sequence import Example, MediaItem
from polymodal.training.data import Source, by_length

CUT = "rows over the limit, which lose their oldest exchanges (a document its end)"
TWICE = "rows that are there twice"
EMPTY = "rows with an empty answer"
CONTRADICTORY = "rows that answer a question about the same media otherwise than an earlier row"
SHOWN = 3  # rows that a warning names


@dataclass
class Media:
    """Items of one modality: how many occur, how many positions they take in all, the distinct ones by fingerprint, and how
    many encoder features (N) these have in all."""

    items: int = 0
    positions: int = 0
    features: int = 0
    keys: set[str] = field(default_factory=set)


@dataclass
class Findings:
    """What was found in one source. `lengths` [rows]: positions before cutting; `kept`: after. `supervised`: tokens."""

    rows: int
    checked: int = 0
    held_out: bool = False
    lengths: array = field(default_factory=lambda: array("L"))
    kept: array = field(default_factory=lambda: array("L"))
    supervised: int = 0
    total: int = 0  # positions, and those of a decoder
    media: dict[str, Media] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    failed: int = 0
    warnings: dict[str, list[str]] = field(default_factory=dict)
    warned: dict[str, int] = field(default_factory=dict)
    previews: list[tuple[str, Any]] = field(default_factory=list)
    samples: list[list[Message]] = field(default_factory=list)

    def warn(self, what: str, row: str) -> None:
        self.warned[what] = self.warned.get(what, 0) + 1
        if len(rows := self.warnings.setdefault(what, [])) < SHOWN:
            rows.append(row)


class Checker:
    """Checks sources against one composition. `listed`: errors that are kept word by word. `keep`: samples kept, for a
    measurement of time."""

    def __init__(self, composition: Composition, fast: bool = False, listed: int = 10, previews: int = 3, keep: int = 16):
        self.composition, self.fast = composition, fast
        self.listed, self.previews, self.keep = listed, previews, keep
        self.seen = Seen(composition)

    def check(
        self, source: Source, limit: int, rows: int | None = None, on_row: Callable[[], None] | None = None
    ) -> Findings:
        """The first `rows` rows of a source, in their order; all by default."""
        found = Findings(len(source))
        rendered: dict[bytes, int] = {}
        answered: dict[bytes, bytes] = {}
        for index in range(min(len(source), rows or len(source))):
            try:
                example, kept = self._encode(source, index, limit)
            except (DataError, MediaError, ContentError) as error:
                found.failed += 1
                if len(found.errors) < self.listed:
                    found.errors.append(str(error))
            else:
                self._count(found, example, kept)
                self._warn(found, example, kept, rendered, answered, index)
            found.checked += 1
            if on_row is not None:
                on_row()
        return found

    def _encode(self, source: Source, index: int, limit: int) -> tuple[Example, Example]:
        """The example whole, and within the limit. The errors are those of training, and name the row."""
        processor = self.composition.processor
        sample = source.sample(index, random.Random(f"check/{index}"))
        try:
            if self.fast:
                self.seen.by_headers(part for message in sample.messages for part in message.parts)
            example = processor.encode(sample.messages, prepared=self.seen, name=sample.name)
        except (MediaError, ContentError) as error:
            raise DataError(f"{sample.name}: {error}") from error
        return example, processor.truncate(example, limit)

    def _count(self, found: Findings, example: Example, kept: Example) -> None:
        found.lengths.append(len(example))
        found.kept.append(len(kept))
        found.supervised += kept.supervised_count
        found.total += len(kept) + (0 if kept.target is None else len(kept.target))
        for item in kept.media:
            counted = found.media.setdefault(item.modality, Media())
            counted.items += 1
            counted.positions += item.length
            if item.key not in counted.keys and item.encoded is None:  # ready features are nothing to encode
                counted.keys.add(item.key)
                counted.features += self.seen.features[item.key]
        if len(found.samples) < self.keep:
            found.samples.append(kept.messages)
        if len(found.previews) < self.previews:
            share = kept.supervised_count / (len(kept) + (0 if kept.target is None else len(kept.target)))
            places = sum(span.length for span in kept.spans)
            heading = f"{kept.name}: {len(kept)} positions, {places} of media, {share:.0%} supervised"
            found.previews.append((heading, self.composition.processor.preview(kept)))

    def _warn(
        self,
        found: Findings,
        example: Example,
        kept: Example,
        rendered: dict[bytes, int],
        answered: dict[bytes, bytes],
        index: int,
    ) -> None:
        if len(kept) < len(example):
            found.warn(CUT, f"{example.name} ({len(example)})")
        keys = [item.key.encode() for item in example.media]
        written = [tensor.numpy().tobytes() for tensor in (example.ids, example.target) if tensor is not None]
        first = rendered.setdefault(_digest(*keys, *written), index)
        if first != index:
            found.warn(TWICE, f"{example.name} (as row {first + 1} of the source)")
        learned = [message for message in example.messages if message.supervised]
        if any(not m.text.strip() and all(part.type == "text" for part in m.parts) for m in learned):
            found.warn(EMPTY, example.name)
        if keys and len(learned) == 1 and learned[0].role == "assistant":
            asked = (m.text.encode("utf-8", "surrogatepass") for m in example.messages if not m.supervised)
            answer = _digest(" ".join(learned[0].text.lower().split()).encode("utf-8", "surrogatepass"))
            if answered.setdefault(_digest(*keys, *asked), answer) != answer:
                found.warn(CONTRADICTORY, example.name)


class Seen(dict[str, MediaItem]):
    """Media items by fingerprint, without their arrays: each distinct item is decoded once, and none is kept in memory.
    `features`: the number N of encoder features of each."""

    def __init__(self, composition: Composition) -> None:
        super().__init__()
        self.composition = composition
        self.features: dict[str, int] = {}
        self._sizes: dict[tuple[Any, ...], tuple[int, int]] = {}

    def __setitem__(self, key: str, item: MediaItem) -> None:
        if item.inputs is not None:
            self.features[key] = self.composition.model.modalities[item.modality].encoder.length(item.inputs)
        super().__setitem__(key, MediaItem(item.modality, item.key, item.length))

    def by_headers(self, parts: Iterable[Part]) -> None:
        """Enters the items whose size their headers tell; the others are decoded when they come to be rendered."""
        for part in parts:
            port = self.composition.model.modalities.get(part.type)
            if port is None or not isinstance(part.media, (str, bytes)):
                continue
            key = media.fingerprint(part)
            if key in self or (size := _size(part)) is None:
                continue
            if size not in self._sizes:
                inputs = port.prepare(_blank(size))
                self._sizes[size] = port.positions(inputs), port.encoder.length(inputs)
            length, self.features[key] = self._sizes[size]
            super().__setitem__(key, MediaItem(part.type, key, length))


def _size(part: Part) -> tuple[Any, ...] | None:
    """("image", width, height) or ("audio", tenths of a second), from the header alone; None where it does not tell, or
    tells of what the gate refuses: decoding then says why. Raises `MediaError`."""
    import importlib
    import io

    from polymodal.media import gate, image

    data, name = gate.read(part.media)
    kind = gate.sniff(data)
    with gate.decoding(name):
        if part.type == "image" and kind in image.DECODERS:
            module, decoder = image.DECODERS[kind]
            width, height = getattr(importlib.import_module(f"PIL.{module}"), decoder)(io.BytesIO(data)).size
            image.check_size((width, height), name, media.DEFAULT_LIMITS)
            return "image", width, height
        if part.type == "audio" and kind in ("wav", "flac", "ogg"):
            import soundfile

            seconds = soundfile.info(io.BytesIO(data)).duration
            if media.DEFAULT_LIMITS.min_seconds <= seconds <= media.DEFAULT_LIMITS.max_seconds:
                return "audio", max(1, round(10 * seconds))
    return None


def _blank(size: tuple[Any, ...]) -> Any:
    import numpy as np
    from PIL import Image

    return Image.new("RGB", size[1:]) if size[0] == "image" else np.zeros(size[1] * 1600, dtype=np.float32)


def padding(lengths: dict[str, array], weights: dict[str, float], batch: int, grouping: int, pools: int = 20) -> float:
    """The share of padding in batches of `batch`, drawn from the weighted sources and sorted in pools of `grouping`, as the
    loop does it."""
    rng = random.Random(0)
    names = [name for name in weights if len(lengths[name])]
    real = padded = 0
    for _ in range(pools if names else 0):
        drawn = [rng.choice(lengths[n]) for n in rng.choices(names, [weights[n] for n in names], k=batch * grouping)]
        for group in by_length(drawn, drawn, batch, rng):
            real, padded = real + sum(group), padded + max(group) * len(group)
    return 1 - real / padded if padded else 0.0


def shared(found: dict[str, Findings]) -> list[dict[str, Any]]:
    """Media that held-out sources share with those trained on: `{"held_out", "trained", "modality", "items"}`."""
    leaks = []
    for held, test in found.items():
        for trained, learned in found.items():
            for modality, items in test.media.items():
                both = len(items.keys & learned.media.get(modality, Media()).keys)
                if test.held_out and not learned.held_out and both:
                    leaks.append({"held_out": held, "trained": trained, "modality": modality, "items": both})
    return leaks


def measure(
    composition: Composition, conversations: list[list[Message]], limit: int, patterns: Iterable[str]
) -> dict[str, Any]:
    """Two steps over one batch, the second of which counts: `{"positions_per_s": ..., "items_per_s": {modality: ...}}`. A
    step is the language-model loss with its gradient in the parameters that match `patterns`; encoding is timed apart."""
    import time

    from torch.nn.functional import cross_entropy

    from polymodal.model.sequence import collate

    model, processor = composition.model, composition.processor
    examples = [processor.encode(messages, limit=limit) for messages in conversations]
    batch = collate(examples, processor.pad_id)
    before = [parameter.requires_grad for parameter in model.parameters()]
    model.requires_grad_(False)
    rates: dict[str, float] = {}
    for modality in model.modalities:
        items = [item for item in batch.media if item.modality == modality and item.inputs is not None]
        if items:
            began = time.perf_counter()
            for item, features in zip(items, model.encode(items), strict=True):
                item.encoded = features
            rates[modality] = len(items) / (time.perf_counter() - began)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(any(fnmatchcase(name, pattern) for pattern in patterns))
    seconds = 0.0
    for _ in range(2):
        began = time.perf_counter()
        out = model(batch)
        loss = cross_entropy(out.logits.float(), out.labels)
        if loss.requires_grad:
            loss.backward()
        seconds = time.perf_counter() - began
    for parameter, flag in zip(model.parameters(), before, strict=True):
        parameter.requires_grad_(flag)
    model.zero_grad(set_to_none=True)
    return {"positions_per_s": int(batch.mask.sum()) / seconds, "items_per_s": rates}


def _digest(*fields: bytes) -> bytes:
    digest = hashlib.blake2b(digest_size=8)
    for value in fields:
        digest.update(len(value).to_bytes(8, "big"))
        digest.update(value)
    return digest.digest()
