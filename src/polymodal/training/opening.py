"""Objective of when to make something. Decides that a prompt is read once.

* `open`: cross-entropy, where the answer begins, of all outputs and of none, by the model's `opening`.

It is for stages in which nothing else learns: then what the opening reads of a prompt is the same in every epoch and is
remembered. The backbone runs once for each prompt, and hundreds of epochs cost what a few of `lm` do.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from polymodal.errors import DataError, RecipeError
from polymodal.parts.opening import Turn

if TYPE_CHECKING:
    from polymodal.training.step import Step


def opening(step: Step) -> tuple[Tensor, Tensor]:
    """Losses and counts [B]. Raises `RecipeError` for a model without an `opening`, packed rows, several processes, and a
    stage in which anything else learns; `DataError` for an answer with nothing in front of it."""
    model, batch = step.model, step.batch
    if model.opening is None or batch.positions is not None or step.whole.processes > 1:
        raise RecipeError("objective 'open' needs 'opening' in the model, rows that are not packed, and one process")
    learning = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    if other := [name for name in learning if not name.startswith("opening.")]:
        raise RecipeError(f"objective 'open' is for stages that train opening.* alone, and '{other[0]}' learns")
    begins = batch.supervised.int().argmax(1)  # [B]: where the answer does
    for name, at in zip(batch.names, begins.tolist(), strict=True):
        if at == 0:
            raise DataError(f"{name}: objective 'open' needs an answer behind a prompt")
    keys = [_key(step, e, int(at)) for e, at in enumerate(begins)]
    known = {key: step.reduced[key] for key in keys if key in step.reduced}
    if missing := [e for e, key in enumerate(keys) if key not in known]:
        for e, read in zip(missing, _read(step, begins, missing), strict=True):
            known[keys[e]] = read
            step.remember(keys[e], read)
    scores = model.opening(torch.stack([known[key] for key in keys]).to(model.device))  # [B, outputs + 1]
    openers = list(model.openers)
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
    """What the opening reads [F] of the prompts of `which` examples."""
    model, batch = step.model, step.batch
    assert model.opening is not None
    last = int(begins[which].max())  # what stands behind the prompts is not run
    media = torch.where(batch.index_map >= batch.ids.numel(), torch.arange(1, batch.ids.shape[1] + 1), 0)
    starts = torch.stack([row[:end].max() for row, end in zip(media, begins, strict=True)])  # behind the last medium
    mask = batch.mask.to(model.device)
    if any(part.fusion.attends for part in model.modalities.values()):  # its layers look at the media of the whole batch
        turn = Turn(model.opening, starts, begins)
        with model.attending(batch, step.features), model.backbone.telling(turn.layers, turn.see):
            model.backbone.hidden(model.embed(batch, step.features)[:, :last], mask[:, :last])
        return [*turn.read()[which].cpu()]
    new = [i for i, owner in enumerate(batch.owner) if owner in which]
    read = iter(model.features([batch.media[i] for i in new], [batch.questions[i] for i in new]))
    blank = torch.zeros(1, model.backbone.width, device=model.device)  # of prompts that are known already
    features = [next(read) if i in new else blank.expand(item.length, -1) for i, item in enumerate(batch.media)]
    turn = Turn(model.opening, starts[which], begins[which])
    with model.backbone.telling(turn.layers, turn.see):
        model.backbone.hidden(model.embed(batch, features)[which, :last], mask[which, :last])
    return [*turn.read().cpu()]
