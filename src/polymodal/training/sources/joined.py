"""Joined recordings: several of another source's, one after the other. Decides that what is asked of one is asked of all.

Who learns from recordings of one sentence each stops after the first of several (docs/log.md, nano v1). Here the sounds of
two or more samples become one, with a pause in between, and their answers one answer. Where the same is said again, what
was written last is no guide to what comes next, and who does not keep the place repeats it for ever. Where two begin
alike, who goes by how they begin writes the first for both.
"""

from __future__ import annotations

import random
from typing import Annotated, Any

from pydantic import Field

from polymodal.content import Part, assistant, user
from polymodal.errors import DataError
from polymodal.training.data import Sample

RATE = 16_000  # Hz
Count = Annotated[int, Field(ge=2)]
Seconds = Annotated[float, Field(ge=0, le=10)]
Share = Annotated[float, Field(ge=0, le=1)]


class JoinedSource:
    """2 to `most` samples of the source described by the recipe `of`, drawn at random, as one: a question about one
    recording and its answer. The question is the first one's; between recordings there are 0 to `pause` seconds of silence.
    A share `again` of those after the first are drawn from those that were already heard; of the others a share `alike`
    from those whose answer begins with the same two words as the last, if there is another. Which do is found out once, at
    the start, by one answer of each sample. Raises `DataError` for a sample that is anything else."""

    def __init__(
        self, of: dict[str, Any], most: Count = 3, pause: Seconds = 0.8, again: Share = 0.0, alike: Share = 0.0
    ) -> None:
        from polymodal.training.sources import build_source

        self.inner, self.most, self.pause = build_source("joined.of", of), most, pause
        self.again, self.alike = again, alike
        self.kin: list[list[int]] = []  # of each sample those that begin as it does
        if alike:
            rng = random.Random(0)
            found: dict[tuple[str, ...], list[int]] = {}
            for i in range(len(self)):
                words = self._one(self.inner.sample(i, rng))[2].lower().split()
                self.kin.append(found.setdefault(tuple(words[:2]), []))
                self.kin[i].append(i)

    def __len__(self) -> int:
        return len(self.inner)

    def sample(self, index: int, rng: random.Random) -> Sample:
        import numpy as np

        from polymodal.media import load

        chosen = [index]
        for _ in range(rng.randint(2, self.most) - 1):
            heard = self.again and rng.random() < self.again  # without a share nothing is drawn for it
            chosen.append(rng.choice(chosen) if heard else self._other(chosen[-1], rng))
        samples = [self.inner.sample(i, rng) for i in chosen]
        parts = [self._one(sample) for sample in samples]
        sounds = [load(parts[0][0])]
        for sound, _, _ in parts[1:]:
            sounds += [np.zeros(round(rng.uniform(0, self.pause) * RATE), np.float32), load(sound)]
        joined = Part("audio", media=(np.concatenate(sounds), RATE))
        answer = " ".join(answer for _, _, answer in parts)
        return Sample([user(joined, *parts[0][1]), assistant(answer)], f"{samples[0].name} and {len(samples) - 1} more")

    def _other(self, last: int, rng: random.Random) -> int:
        """A sample that stands behind the sample `last`."""
        if self.alike and rng.random() < self.alike:
            others = [i for i in self.kin[last] if i != last]
            if others:
                return rng.choice(others)
        return rng.randrange(len(self))

    @staticmethod
    def _one(sample: Sample) -> tuple[Part, list[Part], str]:
        """The recording, the question and the answer of a sample that has one of each."""
        if len(sample.messages) == 2:
            asked, answered = sample.messages
            sounds = [part for part in asked.parts if part.type == "audio"]
            rest = [part for part in asked.parts if part.type == "text"]
            if len(sounds) == 1 and len(sounds) + len(rest) == len(asked.parts):
                return sounds[0], rest, "".join(part.text or "" for part in answered.parts)
        raise DataError(f"data of kind 'joined': {sample.name} is not a question about one recording and its answer")
