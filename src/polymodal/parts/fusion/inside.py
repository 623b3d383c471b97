"""Fusions inside the backbone's layers. Decides how a layer knows which columns of a batch it is given.

What a layer is given are hidden states of some columns. Which ones, follows from how many positions the cache holds when
the backbone's model is called; columns behind the prompt are generated. Hooks before the model and in its layers are all
that there is of this in a backbone: its modules, their names and weights stay as they are, and a run that nobody said
anything about is one of text alone.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from polymodal.errors import RecipeError
from polymodal.parts.backbones import Backbone
from polymodal.parts.base import Fusion


class Inside(Fusion):
    """What they share. A subclass hooks into the backbone's layers, gives what they need of a batch by `giving`, and reads
    it in a layer from `running`, beside the first column that the layer is given. `columns`: how many it is given."""

    attends = True

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        model = backbone.stack
        signature = inspect.signature(model.forward)
        if backbone.seq2seq or "past_key_values" not in signature.parameters:
            kind = backbone.lm.config.model_type
            raise RecipeError(f"fusion: a '{kind}' backbone has no layers that could look at media: use 'placement'")
        self._given: Any = None
        self.running: tuple[Any, int] = None, 0
        self.columns = 0
        model.register_forward_pre_hook(functools.partial(self._begin, signature), with_kwargs=True)

    @contextmanager
    def giving(self, what: Any) -> Iterator[None]:
        """Around a run of the backbone: of which batch its columns are."""
        self._given = what
        try:
            yield
        finally:
            self._given = None

    def _begin(self, signature: inspect.Signature, model: nn.Module, args: Any, kwargs: Any) -> None:
        """Before the backbone's model runs. It stays until the model runs again: a layer whose states were not kept runs
        once more in the backward pass."""
        called = signature.bind_partial(*args, **kwargs).arguments
        cache, embeds = called.get("past_key_values"), called.get("inputs_embeds")
        self.running = self._given, 0 if cache is None else cache.get_seq_length()
        self.columns = (called["input_ids"] if embeds is None else embeds).shape[1]

    def __getstate__(self) -> dict[str, Any]:
        """A copy looks at nothing: what is looked at is part of a graph, and of one run."""
        return {**self.__dict__, "_given": None, "running": (None, 0)}
