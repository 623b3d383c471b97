"""Held-out questions, asked of a model and of its controls. Decides what a control is, so that every number stands beside
what the same model answers without looking:

* blind: each media item is replaced by the mean encoded feature of its modality over the questions asked;
* shuffled: each question gets the media of another;
* chance: the best that one constant answer would do.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, MutableMapping, Sequence
from dataclasses import dataclass, replace
from itertools import cycle
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import torch
from torch import Tensor
from torch.nn import functional as F

from polymodal.content import Message, Part
from polymodal.evaluation.choice import likelihoods
from polymodal.evaluation.metrics import bootstrap, contains, exact, wilson, word_errors
from polymodal.model.generation import Sampling, generate
from polymodal.model.sequence import Example, MediaItem, collate

if TYPE_CHECKING:
    from polymodal.model.composition import Composition
    from polymodal.training.cache import FeatureCache

Metric = Literal["exact", "contains", "wer", "choice"]
Control = Literal["blind", "shuffled"]
BATCH = 16  # questions at a time
T = TypeVar("T")


@dataclass(frozen=True)
class Question:
    """`messages`: the conversation up to the answer. `name`: of the sample it is made from."""

    messages: tuple[Message, ...]
    answer: Message
    name: str

    @property
    def wanted(self) -> str:
        return self.answer.text.strip()

    @property
    def media(self) -> list[Part]:
        return [part for message in self.messages for part in message.parts if part.type != "text"]


@dataclass
class Score:
    """`value`: of the metric, a share between 0 and 1 or a word error rate. `interval`: 95 %, Wilson's of a share, the
    bootstrap's of an error rate. `loss`: nats per token of the wanted answers."""

    value: float
    interval: tuple[float, float]
    loss: float
    answers: list[str]
    right: list[bool]


@torch.no_grad()
def measure(
    composition: Composition,
    questions: Sequence[Question],
    metric: Metric,
    *,
    controls: Iterable[Control] = ("blind", "shuffled"),
    options: Sequence[str] = (),
    sampling: Sampling | None = None,
    cache: FeatureCache | None = None,
) -> dict[str, Score]:
    """{"model": its score, and that of each control by name}. `options`: what `choice` chooses from. `cache`: of frozen
    encoders' features. Nothing of the model is changed but what running it changes: see `training.evaluate.undisturbed`.
    """
    sampling = sampling or Sampling()
    prepared: MutableMapping[str, MediaItem] = {} if cache is None else cache.items()
    asked = {"model": questions}
    items = _encoded(composition, questions, prepared, cache)
    for control in controls:
        asked[control] = blind(questions, items) if control == "blind" else shuffled(questions)
    return {name: _score(composition, variant, metric, options, sampling, prepared) for name, variant in asked.items()}


def blind(questions: Sequence[Question], items: Sequence[Sequence[MediaItem]]) -> list[Question]:
    """Position j of an item becomes the mean of position j over all items of its modality that are as long; an item keeps
    its length. `items`: the encoded media of each question."""
    every: dict[str, list[Tensor]] = defaultdict(list)
    for item in (item for row in items for item in row):
        assert item.encoded is not None
        every[item.modality].append(item.encoded.float())
    mean = {}
    for modality, features in every.items():
        there = torch.nn.utils.rnn.pad_sequence([torch.ones(len(f), 1, device=f.device) for f in features]).sum(1)
        mean[modality] = torch.nn.utils.rnn.pad_sequence(features).sum(1) / there
    return [
        _with_media(question, [Part(i.modality, media=mean[i.modality][: len(i.encoded)].cpu()) for i in row])  # type: ignore[arg-type]
        for question, row in zip(questions, items, strict=True)
    ]


def shuffled(questions: Sequence[Question]) -> list[Question]:
    """Each question with the media of the next, in a random but fixed order, among those that hold as many of the same
    modalities. One that has no like keeps its own."""
    alike: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for i, question in enumerate(questions):
        alike[tuple(part.type for part in question.media)].append(i)
    out = list(questions)
    for rows in alike.values():
        random.Random(0).shuffle(rows)
        following = cycle(rows)
        next(following)
        for i, other in zip(rows, following, strict=False):
            out[i] = _with_media(questions[i], questions[other].media)
    return out


def chance(questions: Sequence[Question]) -> float:
    """The share of the most frequent answer."""
    return Counter(question.wanted for question in questions).most_common(1)[0][1] / len(questions)


def beats(a: Score, b: Score, metric: Metric) -> bool:
    """Whether `a` is better than `b` beyond doubt: their 95 % intervals do not overlap. Stricter than a paired test."""
    if metric == "wer":
        return a.interval[1] < b.interval[0]
    return a.interval[0] > b.interval[1]


def _with_media(question: Question, media: Iterable[Part]) -> Question:
    """The question with other media in the same places."""
    new = iter(media)
    messages = tuple(
        replace(message, parts=tuple(part if part.type == "text" else next(new) for part in message.parts))
        for message in question.messages
    )
    return replace(question, messages=messages)


def _encoded(
    composition: Composition,
    questions: Sequence[Question],
    prepared: MutableMapping[str, MediaItem],
    cache: FeatureCache | None,
) -> list[list[MediaItem]]:
    """The media of each question, encoded; what the cache lacked is put there."""
    rows = []
    for group in _groups(questions, BATCH):
        new = [_prompt(composition, question, prepared).media for question in group]
        todo = list({item.key: item for row in new for item in row if item.encoded is None}.values())
        for item, features in zip(todo, composition.model.encode(todo), strict=True):
            item.encoded = features if cache is None else cache.put(item, features)
            item.inputs = None
        rows += new
    return rows


def _score(
    composition: Composition,
    questions: Sequence[Question],
    metric: Metric,
    options: Sequence[str],
    sampling: Sampling,
    prepared: MutableMapping[str, MediaItem],
) -> Score:
    """Questions that are one and the same (a blind model sees many of those) are answered once."""
    prompts = [_prompt(composition, question, prepared) for question in questions]
    keys = [tuple(prompt.identity()) for prompt in prompts]
    distinct = dict(zip(keys, zip(prompts, questions, strict=True), strict=True))
    said: dict[Any, str] = {}
    for group in _groups(sorted(distinct, key=len), BATCH):
        if metric == "choice":
            for key in group:
                scores = likelihoods(composition, distinct[key][1].messages, options, prepared)
                said[key] = options[int(scores.argmax())]
        else:
            stop, pad = composition.processor.stop_ids, composition.processor.pad_id
            out = generate(composition.model, [distinct[key][0] for key in group], sampling, stop, pad)
            for key, ids in zip(group, out.ids, strict=True):
                said[key] = "".join(part.text or "" for part in composition.processor.decode(ids)).strip()
    answers, wanted = [said[key] for key in keys], [question.wanted for question in questions]
    loss = _loss(composition, questions, prepared)
    if metric == "wer":
        errors = [word_errors(w, a) for w, a in zip(wanted, answers, strict=True)]
        rate = sum(e for e, _ in errors) / max(1, sum(n for _, n in errors))
        return Score(rate, bootstrap(errors), loss, answers, [e == 0 for e, _ in errors])
    same = contains if metric == "contains" else exact
    right = [same(w, a) for w, a in zip(wanted, answers, strict=True)]
    return Score(sum(right) / len(right), wilson(sum(right), len(right)), loss, answers, right)


def _loss(composition: Composition, questions: Sequence[Question], prepared: MutableMapping[str, MediaItem]) -> float:
    """Mean cross-entropy over the tokens of all wanted answers."""
    examples = []
    for question in questions:
        history = [replace(m, train=False) if m.role == "assistant" else m for m in question.messages]
        answer = replace(question.answer, train=None)
        examples.append(composition.processor.encode([*history, answer], prepared=prepared, name=question.name))
    total, count = 0.0, 0
    for group in _groups(sorted(examples, key=len), BATCH):
        out = composition.model(collate(group, composition.processor.pad_id))
        total += float(F.cross_entropy(out.logits.float(), out.labels, reduction="sum"))
        count += len(out.labels)
    return total / count


def _prompt(composition: Composition, question: Question, prepared: MutableMapping[str, MediaItem]) -> Example:
    return composition.processor.encode(question.messages, generate=True, prepared=prepared, name=question.name)


def _groups(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (items[i : i + size] for i in range(0, len(items), size))
