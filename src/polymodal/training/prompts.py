"""P-Former's objectives (arXiv 2307.07063): reference prompts are learned from text, then projectors are pulled to them.

Both look at the one part of `model.shared` of the kind `p-former`. The paper's contrast between the sentences of a batch is
left out: it depends on how a step is cut into micro-batches.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from polymodal.errors import DataError, RecipeError
from polymodal.parts.p_former import PFormer

if TYPE_CHECKING:
    from polymodal.training.step import Step


def prompt(step: Step) -> tuple[Tensor, Tensor]:
    """Per example, summed and counted over its answer's tokens: cross-entropy of the answer behind its prompts, plus how
    far these are from the nearest token embeddings (as a share of an embedding's square norm)."""
    part, backbone = _p_former(step, "prompt"), step.model.backbone
    if backbone.seq2seq:
        raise RecipeError("objective 'prompt' puts prompts before a text: it needs a causal backbone")
    texts = _texts(step, "prompt")
    prompts = part(texts)
    table = backbone.lm.get_input_embeddings().weight
    with torch.no_grad():
        nearest = (prompts.detach() @ table.T * 2 - table.pow(2).sum(-1)).argmax(-1)
    lengths = torch.tensor([len(text) for text in texts], device=prompts.device)
    rows = pad_sequence([torch.cat([p.to(t.dtype), t]) for p, t in zip(prompts, texts, strict=True)], batch_first=True)
    columns = torch.arange(rows.shape[1], device=rows.device)
    hidden = backbone.hidden(rows, columns < part.queries + lengths[:, None])[:, part.queries - 1 : -1]
    wanted = columns[: hidden.shape[1]] < lengths[:, None]
    token = F.cross_entropy(backbone.head(hidden[wanted]).float(), torch.cat(step.answers), reduction="none")
    owner = torch.arange(len(texts), device=rows.device).repeat_interleave(lengths)
    each = torch.zeros(len(texts), device=rows.device).index_add(0, owner, token)
    return each + _distance(prompts, backbone.embed(nearest), table) * lengths, lengths.float()


def reference(step: Step) -> tuple[Tensor, Tensor]:
    """Per example: how far its item's projected features are from the reference prompts of its answer. Raises `RecipeError`
    if there are not as many."""
    part, features = _p_former(step, "reference"), step.only_item("reference")
    with torch.no_grad():
        wanted = part(_texts(step, "reference"))
    for own in features:
        if len(own) != part.queries:
            raise RecipeError(f"objective 'reference': {len(own)} features for {part.queries} prompts; set 'queries'")
    each = _distance(torch.stack(features), wanted, step.model.backbone.lm.get_input_embeddings().weight)
    return each, torch.ones_like(each)


def _distance(a: Tensor, b: Tensor, table: Tensor) -> Tensor:
    """[B, K, D] -> [B]: the mean square distance, as a share of the mean square norm of an embedding."""
    return (a.float() - b.float()).pow(2).sum(-1).mean(-1) / table.detach().float().pow(2).sum(-1).mean()


def _p_former(step: Step, objective: str) -> PFormer:
    parts = [part for part in step.model.shared.values() if isinstance(part, PFormer)]
    if len(parts) != 1:
        raise RecipeError(
            f"objective '{objective}' needs one part of kind 'p-former' in model.shared; there are {len(parts)}"
        )
    if parts[0].width != step.model.backbone.width:
        raise RecipeError(f"p-former: 'width' is {parts[0].width}, but the backbone takes {step.model.backbone.width}")
    return parts[0]


def _texts(step: Step, objective: str) -> list[Tensor]:
    """The embedded answers. Raises `DataError` for one without a word."""
    for name, answer in zip(step.batch.names, step.answers, strict=True):
        if not len(answer):
            raise DataError(f"{name}: objective '{objective}' learns from the answer, and it is empty")
    return [step.model.backbone.embed(answer) for answer in step.answers]
