"""Media of several kinds in one conversation. Decides how one of them is asked about: by what it is called.

Who learned from one medium at a time does not know which of three a question is about. Here samples of different sources
become one: all their media first, in any order, then a question about each, which says of which.
"""

from __future__ import annotations

import random
from typing import Annotated, Any

from pydantic import Field

from polymodal.content import Message, Part, user
from polymodal.errors import DataError, RecipeError
from polymodal.training.data import Sample

Count = Annotated[int, Field(ge=2)]
CALLED = {  # modality: what a question calls it
    "image": "picture",
    "video": "clip",
    "audio": "recording",
    "points": "model",
    "imu": "movement",
    "depth": "depth map",
    "thermal": "thermal map",
    "segmentation": "drawing of segments",
}


def about(modality: str, question: str) -> str:
    """A question as it is put where there are several media."""
    return f"About the {CALLED[modality]}: {question}"


class MixedSource:
    """2 to `most` samples, one each of some of the sources described by the recipes `of`, as one conversation. Each has one
    medium, and of its questions the first is kept. Raises `DataError` for a sample that is anything else, or two of the
    same modality."""

    def __init__(self, of: list[dict[str, Any]], most: Count = 3) -> None:
        from polymodal.training.sources import build_source

        if len(of) < 2:
            raise RecipeError("data of kind 'mixed': 'of' is a list of two recipes of sources at least")
        self.inner = [build_source(f"mixed.of[{i}]", recipe) for i, recipe in enumerate(of)]
        self.most = min(most, len(of))

    def __len__(self) -> int:
        return sum(map(len, self.inner))

    def sample(self, index: int, rng: random.Random) -> Sample:
        first = 0
        while index >= len(self.inner[first]):
            index -= len(self.inner[first])
            first += 1
        others = rng.sample([i for i in range(len(self.inner)) if i != first], rng.randint(2, self.most) - 1)
        drawn = [self.inner[first].sample(index, rng)]
        drawn += [self.inner[i].sample(rng.randrange(len(self.inner[i])), rng) for i in others]
        turns = [self._turn(sample) for sample in drawn]
        if len({part.type for part, _, _ in turns}) < len(turns):
            raise DataError(f"data of kind 'mixed': of {', '.join(each.name for each in drawn)} two have the same modality")
        shown = rng.sample([part for part, _, _ in turns], len(turns))
        messages: list[Message] = []
        for part, question, answer in rng.sample(turns, len(turns)):
            messages += [user(*shown, about(part.type, question)), answer]
            shown = []  # media are shown once, in the first turn
        return Sample(messages, f"{drawn[0].name} and {len(drawn) - 1} more")

    @staticmethod
    def _turn(sample: Sample) -> tuple[Part, str, Message]:
        """The medium, the question and the answer of a sample's first turn."""
        if [message.role for message in sample.messages[:2]] != ["user", "assistant"]:
            raise DataError(f"data of kind 'mixed': {sample.name} does not begin with a question and its answer")
        asked, answer = sample.messages[:2]
        media = [part for part in asked.parts if part.type != "text"]
        if len(media) != 1:
            raise DataError(f"data of kind 'mixed': {sample.name} has {len(media)} media in its first turn, not one")
        return media[0], "".join(part.text or "" for part in asked.parts if part.type == "text").strip(), answer
