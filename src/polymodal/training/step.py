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
    the step it is a part of, by default nothing but this."""

    def __init__(self, model: MultimodalLM, batch: Batch, whole: Whole | None = None) -> None:
        self.model, self.batch, self.whole = model, batch, whole or Whole.of([batch], [], model.backbone)

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


def lm(step: Step) -> Loss:
    out = step.out
    token = F.cross_entropy(out.logits.float(), out.labels, reduction="none")
    size = len(step.batch.names)
    zeros = torch.zeros(size, device=token.device)
    return Loss(zeros.index_add(0, out.owner, token), zeros.index_add(0, out.owner, torch.ones_like(token)))


def ctc(step: Step) -> Loss:
    """Classes are the tokens of this step's transcripts, a blank and STRANGERS tokens that nobody said, each a Gaussian
    around its embedding (`nearness`); the blank's is that of a token which no transcript holds. The whole vocabulary would
    cost more than the rest of the step; without strangers, words of other steps are never told apart (docs/log.md). Raises
    `DataError` for a transcript of more tokens than its sound has positions."""
    features = step.only_item("ctc")
    said = torch.cat(step.answers)
    vocabulary = step.vocabulary(said)
    flat = torch.searchsorted(vocabulary, said)
    ids = torch.cat([step.token(BLANK), vocabulary])
    table = step.model.backbone.embed(ids).float()
    others = step.model.backbone.embed(step.strangers(ids, STRANGERS)).float()
    wide = torch.nn.utils.rnn.pad_sequence([f.float() for f in features], batch_first=True)
    logp = nearness(wide, torch.cat([table, others]), sharpness=20.0).log_softmax(-1).transpose(0, 1)
    lengths = torch.tensor([len(f) for f in features], device=flat.device)
    sizes = torch.tensor([len(a) for a in step.answers], device=flat.device)
    for name, n, positions in zip(step.batch.names, sizes.tolist(), lengths.tolist(), strict=True):
        if n > positions:
            raise DataError(f"{name}: a transcript of {n} tokens cannot be aligned to {positions} positions of sound")
    each = F.ctc_loss(logp, flat + 1, lengths, sizes, reduction="none", zero_infinity=True)
    # Without this, outputs grow to ten times an embedding's norm and the frozen backbone cannot read them.
    scale = table.norm(dim=-1).mean()
    loud = torch.stack([(f.float().norm(dim=-1) / scale - 1).pow(2).mean() for f in features])
    return Loss(each + loud * sizes, sizes.float())


def align(step: Step) -> Loss:
    """Position j of an item should lie nearest to the embedding of token j of its answer, among the tokens of this step,
    and close to it; positions behind the answer should say the filler."""
    features = step.only_item("align")
    lengths = [len(positions) for positions in features]
    fill = step.token(FILLER)
    wanted = torch.cat(
        [torch.cat([answer, fill.expand(n)])[:n] for answer, n in zip(step.answers, lengths, strict=True)]
    )  # [sum of lengths]
    vocabulary = step.vocabulary(torch.cat([*step.answers, fill]))
    target = torch.searchsorted(vocabulary, wanted)
    table = step.model.backbone.embed(vocabulary).float()
    said = torch.cat(features).float()
    which = F.cross_entropy(nearness(said, table, sharpness=10.0), target, reduction="none")
    # Nearest is not near: without this term outputs leave the region in which the frozen backbone reads words.
    far = (said - table[target]).pow(2).sum(-1) / table.pow(2).sum(-1).mean()
    counts = torch.tensor(lengths, device=said.device)
    owner = torch.arange(len(lengths), device=said.device).repeat_interleave(counts)
    return Loss(torch.zeros(len(lengths), device=said.device).index_add(0, owner, which + 2 * far), counts.float())


def words(step: Step) -> Loss:
    """Line j of the answer is the word that position j of the item should say: its first token should be the nearest among
    the words of this step, and near. A blank line, or none, leaves a position free."""
    features = step.only_item("words")
    backbone = step.model.backbone
    lines = [heads(answer, backbone)[: len(own)] for answer, own in zip(step.answers, features, strict=True)]
    place = [(i, j) for i, said in enumerate(lines) for j, head in enumerate(said) if head is not None]
    if not place and not step.whole.heads:
        raise DataError(f"{step.batch.names[0]}: objective 'words' learns from lines of the answer, and none holds a word")
    each = torch.stack([own.sum() * 0 for own in features]).float()
    if not place:
        return Loss(each, torch.ones_like(each))
    wanted = torch.tensor([lines[i][j] for i, j in place], device=step.model.device)
    vocabulary = torch.unique(torch.cat([wanted.new_tensor(step.whole.heads), wanted]))
    target = torch.searchsorted(vocabulary, wanted)
    table = backbone.embed(vocabulary).float()
    said = torch.stack([features[i][j] for i, j in place]).float()
    which = F.cross_entropy(nearness(said, table, sharpness=10.0), target, reduction="none")
    far = (said - table[target]).pow(2).sum(-1) / table.pow(2).sum(-1).mean()
    owner = torch.tensor([i for i, _ in place], device=said.device)
    size = torch.bincount(owner, minlength=len(features)).clamp(min=1)
    return Loss(each.index_add(0, owner, (which + 2 * far) / size[owner]), torch.ones_like(each))


def heads(answer: Tensor, backbone: Backbone) -> list[int | None]:
    """The first token of the word that each line of an answer is; None of a blank line."""
    lines = backbone.tokenizer.decode(answer).split("\n")
    return [backbone.ids(f" {word}")[0] if word else None for word in lines]


def tags(step: Step) -> Loss:
    """The answer is the name that the classifiers of `tags` projectors which learn should find likeliest (smoothed by 0.05:
    nothing is only one thing). Raises `DataError` for an answer that is no name of theirs."""
    step.one_item_each("tags")
    items, model = step.batch.media, step.model
    said = [model.backbone.tokenizer.decode(answer).strip() for answer in step.answers]
    encoded = model.encode(items)
    each = torch.zeros(len(items), device=model.device)
    for modality in sorted({item.modality for item in items}):
        own = [i for i, item in enumerate(items) if item.modality == modality]
        for part in _learning(model, modality):
            for i in own:
                if said[i] not in part.index:
                    hint = nearest(said[i], part.index)
                    raise DataError(f"{step.batch.names[i]}: '{said[i]}' is not among the names of the tags{hint}")
            kind = part.certainty.dtype  # a cache gives features on the CPU, and ready ones are of any type
            features = Features([encoded[i].to(model.device, kind) for i in own])
            scores = part.scores(features)
            target = torch.tensor([part.index[said[i]] for i in own], device=model.device)
            target = target.repeat_interleave(len(scores) // len(own))  # each of the features that are named
            if isinstance(part.classifier, Discriminant) and part.training:
                part.classifier.example(part.rows(features), target)
            spoken = ~part.silent  # a blank name has no likelihood to be smoothed
            place = spoken.cumsum(0) - 1
            token = F.cross_entropy(scores[:, spoken], place[target], reduction="none", label_smoothing=0.05)
            each = each.index_add(0, torch.tensor(own, device=model.device), token.reshape(len(own), -1).mean(1))
    return Loss(each, torch.ones_like(each))


def _learning(model: MultimodalLM, modality: str) -> list[Tags]:
    """The `tags` projectors that learn behind an encoder, its own and shared ones."""
    port = model.modalities[modality]
    roots = [port.projector, *(model.shared[name] for name in port.shares)]
    parts = [part for root in roots for part in root.modules() if isinstance(part, Tags)]
    learning = [part for part in parts if any(p.requires_grad for p in part.classifier.parameters())]
    if not learning:
        raise RecipeError(f"objective 'tags': the stage trains no projector 'tags' of inputs.{modality} that learns names")
    return learning


def nearness(x: Tensor, table: Tensor, sharpness: float) -> Tensor:
    """Logits [..., V] of the rows of `table` [V, D] for x [..., D]: the posterior of equal Gaussians around each row, of a
    variance that is `sharpness` times smaller than a row's mean square norm."""
    square = table.pow(2).sum(-1)
    return (x @ table.T - square / 2) / (square.mean() / sharpness)


STRANGERS = 2000
BLANK = "\n"  # what sound between words should be


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
    **dict.fromkeys(
        ("condition", "regression", "contrast", "diffusion", "flow", "generate", "autoencode"), spans_of
    ),
    "masked": positions_of,
}
