"""Samples that follow one another as turns of one conversation. Decides that what was asked before has nothing to do with
what is asked now.

Who learned from one question at a time takes the second for more of the first: after a wish it grants another. Here the
sample that is asked for stands behind others, with their answers.
"""

from __future__ import annotations

import random
from typing import Annotated, Any

from pydantic import Field

from polymodal.errors import DataError, RecipeError
from polymodal.training.data import Sample

Count = Annotated[int, Field(ge=2)]


class FollowedSource:
    """2 to `most` samples of the sources described by the recipes `of`, each of any of them, as turns. Raises `DataError`
    for a sample that is no question and its answer, or brings a system message."""

    def __init__(self, of: list[dict[str, Any]], most: Count = 2) -> None:
        from polymodal.training.sources import build_source

        if not of:
            raise RecipeError("data of kind 'followed': 'of' is a list of recipes of sources")
        self.inner = [build_source(f"followed.of[{i}]", recipe) for i, recipe in enumerate(of)]
        self.most = most

    def __len__(self) -> int:
        return sum(map(len, self.inner))

    def sample(self, index: int, rng: random.Random) -> Sample:
        which = 0
        while index >= len(self.inner[which]):
            index -= len(self.inner[which])
            which += 1
        drawn = [self.inner[which].sample(index, rng)]
        for _ in range(rng.randint(2, self.most) - 1):
            source = rng.choice(self.inner)
            drawn.insert(0, source.sample(rng.randrange(len(source)), rng))
        for sample in drawn:
            roles = [message.role for message in sample.messages]
            if roles != ["user", "assistant"] * (len(roles) // 2):
                raise DataError(f"data of kind 'followed': {sample.name} is not questions and answers, but {roles}")
        name = " then ".join(sample.name for sample in drawn)
        return Sample([message for sample in drawn for message in sample.messages], name)
