"""Retrieval in place of generation (GILL, arXiv 2305.17216): the nearest of stored items is what is made. Decides that
a store is a folder of its own, `retrieval_store`, which a checkpoint names and does not hold: nothing in it learns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from polymodal.errors import CheckpointError, DataError, RecipeError
from polymodal.parts.generators.image_conditions import ImageConditions
from polymodal.parts.generators.pictures import pictures, pixels
from polymodal.parts.generators.retrieval_store import Store
from polymodal.parts.generators.text_conditions import TextConditions
from polymodal.parts.output import Generator, Target

SEEN = 256  # pixels on a side of a picture that is told by what is seen in it


class Retrieval(Generator):
    """`store`: the folder that `retrieval_store.build` filled. `digest`: the sha256 of its list, so that another store is
    refused. The store's own encoder: `conditions`, a text encoder (`TextConditions`, pooled), or `of`, an image encoder
    as a recipe names it; without either nothing is aligned to it, and its embeddings are found by contrast alone. Raises
    `CheckpointError` for a store that is damaged or another one."""

    takes = "condition"
    positions = 1
    embeddings: Tensor

    def __init__(
        self,
        store: str,
        digest: str | None = None,
        conditions: dict[str, Any] | None = None,
        of: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if conditions is not None and of is not None:
            raise RecipeError("generator 'retrieval' has one encoder: 'conditions' (of captions) or 'of' (of pictures)")
        self.store = Store(store)
        if digest not in (None, self.store.digest):
            raise CheckpointError(f"{store}: is not the store that this model was made with (sha256 of its list differs)")
        self.modality, self.width = self.store.modality, self.store.embeddings.shape[1]
        self.register_buffer("embeddings", functional.normalize(self.store.embeddings, dim=-1), persistent=False)
        self.texts = None if conditions is None else TextConditions(**{**conditions, "pooled": True})
        self.images = None if of is None else ImageConditions(of)
        self.options = {"store": store, "digest": self.store.digest, "conditions": conditions, "of": of}

    def prepare(self, media: Any) -> Tensor:
        """A picture, if pictures are what it is aligned to, -> [3, 256, 256]; of all else nothing is learned: [0]."""
        return torch.zeros(0) if self.images is None else pixels(media, (SEEN, SEEN))

    def condition(self, targets: Sequence[Target]) -> Tensor:
        """What the store's own encoder makes of the captions or pictures."""
        if self.texts is None and self.images is None:
            raise RecipeError(
                "generator 'retrieval' has neither 'conditions' nor 'of', so that nothing can be aligned to it"
            )
        field = "caption" if self.images is None else "prepared"
        found: list[Any] = [getattr(target, field) for target in targets]
        if any(item is None for item in found):
            raise DataError(f"field '{field}': a target of the generator has none")
        if self.texts is not None:
            return self.texts(found).to(self.embeddings)
        assert self.images is not None
        return self.images([picture for item in found for picture in pictures(item[None])]).to(self.embeddings)

    def nearest(self, given: Tensor) -> Tensor:
        """Conditions [S, 1, Dg] -> numbers of items [S], by cosine."""
        return (functional.normalize(given[:, 0].to(self.embeddings), dim=-1) @ self.embeddings.T).argmax(-1)

    def make(
        self,
        given: Tensor | Sequence[str],
        random: torch.Generator,
        on_step: Callable[[int, int], None] | None = None,
    ) -> list[Any]:
        """S conditions -> the item nearest to each. Raises `CheckpointError` for one that has changed."""
        assert isinstance(given, Tensor)  # it takes no text
        made = []
        for done, number in enumerate(self.nearest(given).tolist(), 1):
            made.append(self.store.item(number))
            if on_step is not None:
                on_step(done, len(given))
        return made
