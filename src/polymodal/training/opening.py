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
    """Losses and counts [B], over the answers of each conversation. Raises `RecipeError` for a model without an `opening`,
    packed rows, several processes, and a stage in which anything else learns; `DataError` for an answer with nothing in
    front of it."""
    model, batch = step.model, step.batch
    if model.opening is None or batch.positions is not None or step.whole.processes > 1:
        raise RecipeError("objective 'open' needs 'opening' in the model, rows that are not packed, and one process")
    learning = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    if other := [name for name in learning if not name.startswith("opening.")]:
        raise RecipeError(f"objective 'open' is for stages that train opening.* alone, and '{other[0]}' learns")
    if nothing := [row for row, _, begin in batch.turns if begin == 0]:
        raise DataError(f"{batch.names[nothing[0]]}: objective 'open' needs an answer behind a prompt")
    keys = [_key(step, turn) for turn in batch.turns]
    known = {key: step.reduced[key] for key in keys if key in step.reduced}
    missing = {key: turn for key, turn in zip(keys, batch.turns, strict=True) if key not in known}
    if missing:
        for key, read in zip(missing, _read(step, [*missing.values()]), strict=True):
            known[key] = read
            step.remember(key, read)
    scores = model.opening(torch.stack([known[key] for key in keys]).to(model.device))  # [answers, outputs + 1]
    openers = list(model.openers)
    rows = torch.tensor([row for row, _, _ in batch.turns], device=model.device)
    said = [int(batch.ids[row, begin]) for row, _, begin in batch.turns]
    wanted = torch.tensor([openers.index(i) if i in openers else len(openers) for i in said], device=model.device)
    each = F.cross_entropy(scores, wanted, reduction="none")
    losses = torch.zeros(len(batch.ids), device=model.device)
    return losses.index_add(0, rows, each), losses.index_add(0, rows, torch.ones_like(each))


def _key(step: Step, turn: tuple[int, int, int]) -> str:
    """A prompt's: its ids, and what media stand in the conversation."""
    row, _, begin = turn
    shown = [item.key for item, owner in zip(step.batch.media, step.batch.owner, strict=True) if owner == row]
    ids = step.batch.ids[row, :begin].tolist()
    return "open:" + hashlib.sha256(repr((ids, shown)).encode()).hexdigest()


@torch.no_grad()
def _read(step: Step, turns: list[tuple[int, int, int]]) -> list[Tensor]:
    """What the opening reads [F] of each of `turns`."""
    model, batch = step.model, step.batch
    assert model.opening is not None
    which = sorted({row for row, _, _ in turns})
    last = max(begin for _, _, begin in turns)  # what stands behind the prompts is not run
    starts, ends = (torch.tensor([turn[i] for turn in turns]) for i in (1, 2))
    mask = batch.mask.to(model.device)
    reading = Turn(model.opening, starts, ends)
    attends = any(part.fusion.attends for part in model.modalities.values())  # layers look at the media of the whole batch
    rows = torch.tensor([row if attends else which.index(row) for row, _, _ in turns])

    def see(states: dict[int, Tensor]) -> None:
        reading.see({layer: found[rows.to(found.device)] for layer, found in states.items()})

    with model.backbone.telling(reading.layers, see):
        if attends:
            with model.attending(batch, step.features):
                model.backbone.hidden(model.embed(batch, step.features)[:, :last], mask[:, :last])
        else:
            new = [i for i, owner in enumerate(batch.owner) if owner in which]
            fresh = iter(model.features([batch.media[i] for i in new], [batch.questions[i] for i in new]))
            blank = torch.zeros(1, model.backbone.width, device=model.device)  # of prompts that are known already
            features = [next(fresh) if i in new else blank.expand(item.length, -1) for i, item in enumerate(batch.media)]
            model.backbone.hidden(model.embed(batch, features)[which, :last], mask[which, :last])
    return [*reading.read().cpu()]
