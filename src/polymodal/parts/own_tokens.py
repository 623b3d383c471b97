"""Tokens that an output owns, behind the backbone's own vocabulary. Decides that a new token changes nothing of the
backbone.

Its table of embeddings and its head stay as they are, and so can still be linked to their source. The rows of new tokens
are parts of their own; two hooks let the backbone read and say them, wherever it is called from.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from polymodal.errors import RecipeError
from polymodal.parts.backbones import Backbone


class OwnTokens(nn.Module):
    """`embedding` [K, D]: what stands where a token is read; `head` [K, D]: what a state is compared with where it could be
    said. They begin as the mean of the backbone's own and a little noise, so that an untrained token is never likely."""

    def __init__(self, count: int, backbone: Backbone) -> None:
        super().__init__()
        lm = backbone.lm
        head = lm.get_output_embeddings()
        if head is None:
            raise RecipeError(f"outputs need a backbone with a head; '{lm.config.model_type}' has none")
        self.embedding, self.head = (_begun(count, table.weight) for table in (lm.get_input_embeddings(), head))


def _begun(count: int, table: Tensor) -> nn.Parameter:
    with torch.no_grad():
        known = table.detach().float()
        return nn.Parameter(known.mean(0) + 0.1 * known.std(0) * torch.randn(count, known.shape[1]))


class Extension:
    """Hooks on a backbone's embeddings and head. `tables`: in the order of their ids, which begin behind its vocabulary."""

    def __init__(self, backbone: Backbone, tables: Sequence[OwnTokens]) -> None:
        self.tables, lm = list(tables), backbone.lm
        whole = lm.get_input_embeddings()
        both = [whole, lm.get_decoder().get_input_embeddings()] if backbone.seq2seq else [whole]  # T5's has its own module
        for embeddings in {id(module): module for module in both}.values():
            reading = _Reading(self, whole.num_embeddings)
            embeddings.register_forward_pre_hook(reading.before)
            embeddings.register_forward_hook(reading.after)
        lm.get_output_embeddings().register_forward_hook(self._said)

    def _said(self, module: nn.Module, args: tuple[Any, ...], out: Tensor) -> Tensor:
        rows = torch.cat([table.head for table in self.tables]).to(args[0].dtype)
        return torch.cat([out, (args[0] @ rows.T).to(out.dtype)], -1)


class _Reading:
    """Around a call of a table of embeddings: it is given ids of its own only, and what it lacks is put in."""

    def __init__(self, extension: Extension, vocabulary: int) -> None:
        self.extension, self.vocabulary = extension, vocabulary
        self.ids = torch.empty(0)

    def before(self, module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        self.ids = args[0]
        return (self.ids.where(self.ids < self.vocabulary, 0), *args[1:])

    def after(self, module: nn.Module, args: tuple[Any, ...], out: Tensor) -> Tensor:
        own = self.ids - self.vocabulary
        if not (own >= 0).any():
            return out
        rows = torch.cat([table.embedding for table in self.extension.tables]).to(out.dtype)
        return torch.where((own >= 0)[..., None], rows[own.clamp(min=0)], out)
