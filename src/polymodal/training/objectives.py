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

    def token(self, text: str) -> Tensor:
        """The id of a text that is one token, [1]."""
        ids = self.model.backbone.tokenizer(text, add_special_tokens=False)["input_ids"]
        return torch.tensor(ids[-1:], device=self.model.device)

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
    """Classes are the tokens of this batch's transcripts and a blank, each a Gaussian around its embedding (`nearness`);
    the blank's is that of a token which no transcript holds. Only the batch's tokens, not the whole vocabulary: far
    cheaper, and enough to rank by. Raises `DataError` for a transcript of more tokens than its sound has positions."""
    features = step.only_item("ctc")
    vocabulary, flat = torch.unique(torch.cat(step.answers), return_inverse=True)
    table = step.model.backbone.embed(torch.cat([step.token(BLANK), vocabulary])).float()
    wide = torch.nn.utils.rnn.pad_sequence([f.float() for f in features], batch_first=True)
    logp = nearness(wide, table, sharpness=20.0).log_softmax(-1).transpose(0, 1)
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
    """Position j of an item should lie nearest to the embedding of token j of its answer, among the tokens of this batch,
    and close to it; positions behind the answer should say the filler."""
    features = step.only_item("align")
    length = min(map(len, features))
    fill = step.token(FILLER).expand(length)
    wanted = torch.stack([torch.cat([answer, fill])[:length] for answer in step.answers])  # [B, length]
    vocabulary, target = torch.unique(wanted, return_inverse=True)
    table = step.model.backbone.embed(vocabulary).float()
    said = torch.stack([f[:length].float() for f in features])
    which = F.cross_entropy(nearness(said, table, sharpness=10.0).flatten(0, 1), target.flatten(), reduction="none")
    # Nearest is not near: without this term outputs leave the region in which the frozen backbone reads words.
    far = (said - table[target]).pow(2).sum(-1) / table.pow(2).sum(-1).mean()
    each = which.view_as(far) + 2 * far
    return Loss(each.sum(1), torch.full((len(said),), float(length), device=each.device))


def nearness(x: Tensor, table: Tensor, sharpness: float) -> Tensor:
    """Logits [..., V] of the rows of `table` [V, D] for x [..., D]: the posterior of equal Gaussians around each row, of a
    variance that is `sharpness` times smaller than a row's mean square norm."""
    square = table.pow(2).sum(-1)
    return (x @ table.T - square / 2) / (square.mean() / sharpness)


BLANK = "\n"  # what sound between words should be
FILLER = "."  # what positions with nothing to say should say: a token that the backbone reads past


OBJECTIVES: dict[str, Callable[[Step], Loss]] = {"lm": lm, "ctc": ctc, "align": align}


def objective(name: str) -> Callable[[Step], Loss]:
    if name not in OBJECTIVES:
        raise RecipeError(f"objective '{name}' is not known{nearest(name, OBJECTIVES)}")
    return OBJECTIVES[name]
