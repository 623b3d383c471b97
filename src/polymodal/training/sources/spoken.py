"""Spoken questions: another source's conversations, asked aloud. Decides that a question is heard or read, never both.

The words of a question and their recording stand for each other, so a model can be taught, and tested, to answer what it
hears as it answers what it reads.
"""

from __future__ import annotations

import random
from collections import defaultdict
from typing import Any, Literal

from polymodal.content import Message, Part
from polymodal.errors import DataError
from polymodal.training.data import Sample
from polymodal.training.sources.corpus import media_of

DRAWS = 8  # of a sample that may be worded otherwise, before the next one is tried


class SpokenSource:
    """The source described by the recipe `of`, with its questions spoken: each that has a recording in `corpus` is heard
    in one of its voices at random, and all else stays as it is. A sample without such a question is replaced by the next
    that has one (`missing: next`) or stays typed (`missing: keep`). `split`: of the recordings."""

    def __init__(
        self,
        of: dict[str, Any],
        corpus: str = "spoken-questions",
        split: str = "train",
        missing: Literal["next", "keep"] = "next",
    ) -> None:
        from polymodal import corpora
        from polymodal.training.sources import build_source

        self.inner = build_source("spoken.of", of)
        self.corpus, self.missing = corpus, missing
        self.recordings: dict[str, list[Any]] = defaultdict(list)
        for item in corpora.read(corpus):
            if item.split == split and item.text is not None:
                self.recordings[item.text].append(item)
        if not self.recordings:
            raise DataError(f"corpus '{corpus}' has no recording of split '{split}'")
        if missing == "next":
            self.sample(0, random.Random(0))  # refuses now what could never be drawn

    def __len__(self) -> int:
        return len(self.inner)

    def sample(self, index: int, rng: random.Random) -> Sample:
        for step in range(DRAWS * len(self)):
            sample = self.inner.sample((index + step // DRAWS) % len(self), rng)
            spoken = [self._spoken(message, rng) for message in sample.messages]
            if self.missing == "keep" or spoken != sample.messages:
                return Sample(spoken, f"{sample.name} spoken")
        raise DataError(f"data of kind 'spoken': no question of its source is recorded in the corpus '{self.corpus}'")

    def _spoken(self, message: Message, rng: random.Random) -> Message:
        if message.role != "user":
            return message
        return Message(message.role, tuple(self._part(part, rng) for part in message.parts), message.train)

    def _part(self, part: Part, rng: random.Random) -> Part:
        recordings = self.recordings.get(part.text) if part.text is not None else None
        return part if not recordings else media_of(rng.choice(recordings))
