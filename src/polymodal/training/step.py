"""A step of training, as objectives see it. Decides what is known of a whole step before any of its micro-batches runs: the
tokens of each objective, and what is told apart."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from polymodal.errors import DataError, RecipeError
from polymodal.model.modeling import MultimodalLM, Output
from polymodal.model.sequence import Batch
from polymodal.parts.backbones import Backbone
from polymodal.training.making import positions_of, spans_of

KEPT = 50_000  # tensors that the steps of a stage remember


class Loss(NamedTuple):
    """`each` [B]: summed loss of each example; `counts` [B]: the tokens it is a sum over."""

    each: Tensor
    counts: Tensor


@dataclass
class Whole:
    """What a micro-batch has to know of the step it is a part of: the tokens of each objective (`counts`), the ids of all
    answers (`vocabulary`, sorted) and those that `words` tells apart (`heads`), and the names of the `parts` in front of
    the backbone that run."""

    counts: dict[str, int]
    vocabulary: list[int]
    heads: list[int]
    parts: set[str]
    processes: int = 1

    @classmethod
    def of(cls, batches: Sequence[Batch], objectives: Iterable[str], backbone: Backbone) -> Whole:
        counts = {name: sum(COUNTS[name](batch) for batch in batches) for name in objectives}
        vocabulary = {i for batch in batches for answer in answers(batch) for i in answer.tolist()}
        spelled = [said for batch in batches for said in answers(batch)] if "words" in counts else []
        first = {i for said in spelled for i in heads(said, backbone) if i is not None}
        items = [item for batch in batches for item in batch.media]
        parts = {f"inputs.{item.modality}.{part}" for item in items for part in ("projector", "fusion")}
        parts |= {f"inputs.{item.modality}.encoder" for item in items if item.encoded is None}
        parts |= {f"outputs.{made.output}" for batch in batches for made in batch.made}
        return cls(counts, sorted(vocabulary), sorted(first), parts)

    @classmethod
    def joined(cls, parts: Sequence[Whole]) -> Whole:
        """Of all processes, what each says of its part."""
        counts = {name: sum(part.counts[name] for part in parts) for name in parts[0].counts}
        vocabulary = set().union(*(part.vocabulary for part in parts))
        first = set().union(*(part.heads for part in parts))
        return cls(counts, sorted(vocabulary), sorted(first), set().union(*(part.parts for part in parts)), len(parts))


class Step:
    """One micro-batch through one model: what several objectives share is computed once, and only if asked for. `whole`:
    the step it is a part of, by default nothing but this. `reduced`: what the steps of a stage `remember`, where that does
    not change in it: media to be made, and the ends of prompts."""

    def __init__(
        self,
        model: MultimodalLM,
        batch: Batch,
        whole: Whole | None = None,
        reduced: dict[str, Tensor] | None = None,
    ) -> None:
        self.model, self.batch, self.whole = model, batch, whole or Whole.of([batch], [], model.backbone)
        self.reduced = {} if reduced is None else reduced

    def remember(self, key: str, found: Tensor) -> None:
        """For the steps to come, in place of the oldest where there are KEPT already."""
        if len(self.reduced) >= KEPT:
            del self.reduced[next(iter(self.reduced))]
        self.reduced[key] = found.cpu()

    @cached_property
    def features(self) -> list[Tensor]:
        return self.model.features(self.batch.media, self.batch.questions)

    @cached_property
    def out(self) -> Output:
        """The model's own pass over the batch."""
        return self.model(self.batch, self.features, self.zero)

    @cached_property
    def answers(self) -> list[Tensor]:
        """Supervised ids of each example without the end token."""
        return [answer.to(self.model.device) for answer in answers(self.batch)]

    def vocabulary(self, extra: Tensor) -> Tensor:
        """Ids [V], sorted: those that the answers of the whole step are spelled with, and `extra`. What an objective tells
        apart must not depend on how a step is cut into micro-batches."""
        return torch.unique(torch.cat([torch.tensor(self.whole.vocabulary, device=extra.device, dtype=extra.dtype), extra]))

    def strangers(self, known: Tensor, n: int) -> Tensor:
        """At most n ids that are none of `known`, drawn anew in each step and alike in all its micro-batches."""
        size = self.model.backbone.lm.get_input_embeddings().num_embeddings
        generator = torch.Generator().manual_seed(sum(self.whole.vocabulary))
        ids = torch.randint(size, (n,), generator=generator).unique().to(known.device)
        return ids[~torch.isin(ids, known)]

    @cached_property
    def zero(self) -> Tensor | None:
        """See `MultimodalLM.zero`; None in one process."""
        return self.model.zero(self.whole.parts) if self.whole.processes > 1 else None

    def token(self, text: str) -> Tensor:
        """The id of a text that is one token, [1]."""
        ids = self.model.backbone.tokenizer(text, add_special_tokens=False)["input_ids"]
        return torch.tensor(ids[-1:], device=self.model.device)

    def one_item_each(self, objective: str) -> None:
        if self.batch.owner != list(range(len(self.batch.names))):
            raise DataError(f"objective '{objective}' needs exactly one media item in each sample of the batch")

    def only_item(self, objective: str) -> list[Tensor]:
        """The projected features [N', D] of the one media item each example must have. They are compared with embeddings:
        raises `RecipeError` where the backbone's layers look at them instead."""
        self.one_item_each(objective)
        for name in {item.modality for item in self.batch.media}:
            if not self.model.modalities[name].fusion.stands:
                raise RecipeError(
                    f"objective '{objective}' is for features that stand in the sequence: inputs.{name}.fusion"
                )
        return self.features


def heads(answer: Tensor, backbone: Backbone) -> list[int | None]:
    """The first token of the word that each line of an answer is; None of a blank line."""
    lines = backbone.tokenizer.decode(answer).split("\n")
    return [backbone.ids(f" {word}")[0] if word else None for word in lines]


def answers(batch: Batch) -> list[Tensor]:
    """The supervised ids of each example [U], without the end token."""
    if batch.target is not None and batch.target_mask is not None:
        rows = [row[on] for row, on in zip(batch.target, batch.target_mask, strict=True)]
    else:
        rows = [batch.ids[batch.supervised & (batch.segments == e)] for e in range(len(batch.names))]
    return [row[:-1] for row in rows]


def predicted(batch: Batch) -> int:
    """The tokens that `lm` sums over: all that are supervised but an example's first, which nothing precedes."""
    if batch.target_mask is not None:
        return int(batch.target_mask.sum())
    return int((batch.supervised[:, 1:] & (batch.segments[:, 1:] == batch.segments[:, :-1])).sum())


# The tokens of each objective in a batch, known before the model runs: a step's are counted before its first backward.
COUNTS: dict[str, Callable[[Batch], int]] = {
    "lm": predicted,
    "ctc": lambda batch: sum(map(len, answers(batch))),
    "align": lambda batch: sum(item.length for item in batch.media),
    "words": lambda batch: len(batch.names),
    "tags": lambda batch: len(batch.names),
    "prompt": lambda batch: sum(map(len, answers(batch))),
    "reference": lambda batch: len(batch.names),
    "open": lambda batch: len(batch.names),
    **dict.fromkeys(("condition", "regression", "contrast", "diffusion", "flow", "generate", "autoencode"), spans_of),
    "masked": positions_of,
}
