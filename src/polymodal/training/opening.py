"""Objective of when to make something. Decides what an answer that begins is told apart by, and that a prompt is read once.

* `open`: cross-entropy, where the answer begins, of the openers of all outputs and of everything else that can be said.

It is for stages in which nothing learns but the rows that openers are compared with: then the state at the end of a prompt
is the same in every epoch and is remembered, with the logarithm of what all other tokens sum to. The backbone runs once for
each prompt, and hundreds of epochs cost what a few of `lm` do.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from polymodal.errors import DataError, RecipeError

if TYPE_CHECKING:
    from polymodal.training.step import Step


def opening(step: Step) -> tuple[Tensor, Tensor]:
    """Losses and counts [B]. Raises `RecipeError` for a model without outputs, a seq2seq backbone, packed rows, several
    processes, and a stage in which anything else learns; `DataError` for an answer with nothing in front of it."""
    model, batch = step.model, step.batch
    alone = batch.target is None and batch.positions is None and step.whole.processes == 1
    if not model.designs or not alone:
        raise RecipeError("objective 'open' needs outputs, a causal backbone, rows that are not packed, and one process")
    learning = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    if other := [name for name in learning if not name.endswith(".tokens.head")]:
        raise RecipeError(f"objective 'open' is for stages that train outputs.*.tokens.head alone, and '{other[0]}' learns")
    begins = batch.supervised.int().argmax(1)  # [B]: where the answer does
    for name, at in zip(batch.names, begins.tolist(), strict=True):
        if at == 0:
            raise DataError(f"{name}: objective 'open' needs an answer behind a prompt")
    keys = [_key(step, e, int(at)) for e, at in enumerate(begins)]
    ends = {key: step.reduced[key] for key in keys if key in step.reduced}
    if missing := [e for e, key in enumerate(keys) if key not in ends]:
        for e, end in zip(missing, _read(step, begins, missing), strict=True):
            ends[keys[e]] = end
            step.remember(keys[e], end)
    known = torch.stack([ends[key] for key in keys]).to(model.device)  # [B, D + 1]
    openers = list(model.openers)
    rows = torch.stack([design.tokens.head[0] for design in model.designs.values()])
    scores = torch.cat([known[:, :-1] @ rows.T.float(), known[:, -1:]], 1)
    said = batch.ids[torch.arange(len(keys)), begins].tolist()
    wanted = torch.tensor([openers.index(i) if i in openers else len(openers) for i in said], device=model.device)
    return F.cross_entropy(scores, wanted, reduction="none"), torch.ones(len(keys), device=model.device)


def _key(step: Step, example: int, at: int) -> str:
    """A prompt's: its ids, and what media stand in it."""
    shown = [item.key for item, owner in zip(step.batch.media, step.batch.owner, strict=True) if owner == example]
    ids = step.batch.ids[example, :at].tolist()
    return "open:" + hashlib.sha256(repr((ids, shown)).encode()).hexdigest()


@torch.no_grad()
def _read(step: Step, begins: Tensor, which: list[int]) -> list[Tensor]:
    """[D + 1] of `which` examples: the state that predicts its answer's first token, and the log-sum of all but own ids."""
    model, batch = step.model, step.batch
    last = int(begins[which].max())  # what stands behind the prompts is not run
    mask = batch.mask.to(model.device)
    if any(part.fusion.attends for part in model.modalities.values()):  # its layers look at the media of the whole batch
        with model.attending(batch, step.features):
            hidden = model.backbone.hidden(model.embed(batch, step.features)[:, :last], mask[:, :last])[which]
    else:
        new = [i for i, owner in enumerate(batch.owner) if owner in which]
        read = iter(model.features([batch.media[i] for i in new], [batch.questions[i] for i in new]))
        blank = torch.zeros(1, model.backbone.width, device=model.device)  # of prompts that are known already
        items = enumerate(batch.media)
        features = [next(read) if i in new else blank.expand(item.length, -1) for i, item in items]
        hidden = model.backbone.hidden(model.embed(batch, features)[which, :last], mask[which, :last])
    states = hidden[torch.arange(len(which), device=hidden.device), begins[which].to(hidden.device) - 1]
    logits = model.backbone.head(states).float()[:, : min(model.own_ids)]
    return [*torch.cat([states.float(), logits.logsumexp(-1, keepdim=True)], 1).cpu()]
