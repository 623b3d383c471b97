"""Objectives: what a stage minimises. Each is a sum over tokens and the number of tokens it is a sum of, so that a step's
loss is a mean over all the tokens of the step, however they fell into batches.

* `lm`: cross-entropy of the supervised tokens given everything before them (the survey's text-generation loss).
* `ctc`: connectionist temporal classification (Graves et al. 2006) of projected features against the backbone's own token
  embeddings: speech learns to sound like its transcript in embedding space, without running the backbone.
* `align`: projected position j should be the embedding of token j of the answer: pictures learn to spell their names in
  embedding space, without running the backbone.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from polymodal.errors import DataError, RecipeError, nearest
from polymodal.model.modeling import MultimodalLM
from polymodal.model.sequence import Batch


class Loss(NamedTuple):
    """`each` [B]: summed loss of each example; `counts` [B]: the tokens it is a sum over."""

    each: Tensor
    counts: Tensor


class Step:
    """One batch through one model: what several objectives share is computed once, and only if asked for."""

    def __init__(self, model: MultimodalLM, batch: Batch) -> None:
        self.model, self.batch = model, batch

    @cached_property
    def features(self) -> list[Tensor]:
        return self.model.features(self.batch.media)

    @cached_property
    def answers(self) -> list[Tensor]:
        """Supervised ids of each example without the end token."""
        batch = self.batch
        if batch.target is not None and batch.target_mask is not None:
            rows = [row[on] for row, on in zip(batch.target, batch.target_mask, strict=True)]
        else:
            rows = [row[on] for row, on in zip(batch.ids, batch.supervised, strict=True)]
        return [row[:-1].to(self.model.device) for row in rows]

    def only_item(self, objective: str) -> list[Tensor]:
        """The projected features [N', D] of the one media item each example must have."""
        if self.batch.owner != list(range(len(self.batch.names))):
            raise DataError(f"objective '{objective}' needs exactly one media item in each sample of the batch")
        return self.features


def lm(step: Step) -> Loss:
    out = step.model(step.batch, step.features)
    token = F.cross_entropy(out.logits.float(), out.labels, reduction="none")
    size = len(step.batch.names)
    zeros = torch.zeros(size, device=token.device)
    return Loss(zeros.index_add(0, out.owner, token), zeros.index_add(0, out.owner, torch.ones_like(token)))


def ctc(step: Step) -> Loss:
    """Classes are the tokens of this batch's transcripts and a blank (the zero vector: its logit is the projector's own
    bias-free zero). Only these, not the whole vocabulary: exact for the ranking that matters and far cheaper."""
    features = step.only_item("ctc")
    answers = step.answers
    vocabulary, flat = torch.unique(torch.cat(answers), return_inverse=True)
    table = F.normalize(step.model.backbone.embed(vocabulary).float(), dim=-1)
    lengths = torch.tensor([len(f) for f in features], device=flat.device)
    wide = torch.nn.utils.rnn.pad_sequence([f.float() for f in features], batch_first=True)
    logits = wide @ table.T * CTC_SCALE
    blank = torch.zeros_like(logits[..., :1])
    logp = torch.cat([blank, logits], -1).log_softmax(-1).transpose(0, 1)
    sizes = torch.tensor([len(a) for a in answers], device=flat.device)
    each = F.ctc_loss(logp, flat + 1, lengths, sizes, reduction="none", zero_infinity=True)
    return Loss(each, sizes.float())


CTC_SCALE = 10.0


def align(step: Step) -> Loss:
    """Position j of an item should lie nearest to the embedding of token j of its answer, among the tokens of this batch;
    positions behind the answer should say the filler. Nearest by Euclidean distance: with logits (o.e - |e|^2 / 2) / tau,
    softmax over tokens is the posterior of a Gaussian around each embedding."""
    features = step.only_item("align")
    length = min(map(len, features))
    filler = step.model.backbone.tokenizer(FILLER, add_special_tokens=False)["input_ids"]
    fill = torch.tensor(filler[-1:] * length, device=step.model.device)
    wanted = torch.stack([torch.cat([answer, fill])[:length] for answer in step.answers])  # [B, length]
    vocabulary, target = torch.unique(wanted, return_inverse=True)
    table = step.model.backbone.embed(vocabulary).float()
    square = table.pow(2).sum(-1)
    said = torch.stack([f[:length].float() for f in features])
    logits = (said @ table.T - square / 2) / (square.mean() / SHARPNESS)
    each = F.cross_entropy(logits.flatten(0, 1), target.flatten(), reduction="none").view(len(said), length)
    return Loss(each.sum(1), torch.full((len(said),), float(length), device=each.device))


FILLER = "."
SHARPNESS = 10.0


OBJECTIVES: dict[str, Callable[[Step], Loss]] = {"lm": lm, "ctc": ctc, "align": align}


def objective(name: str) -> Callable[[Step], Loss]:
    if name not in OBJECTIVES:
        raise RecipeError(f"objective '{name}' is not known{nearest(name, OBJECTIVES)}")
    return OBJECTIVES[name]
