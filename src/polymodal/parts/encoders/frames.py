"""Video as pictures: any image encoder of the house, run on frames at even times. To join them is the projector's work."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from polymodal.parts.base import Encoder, Features, Inputs, Positive
from polymodal.parts.encoders.pictures import image_encoder


class Frames(Encoder):
    """`of`: an image encoder as a recipe names it; its weights come from `path`. It is given the middles of `frames` equal
    spans of the clip or, with `fps`, of as many as that makes, `most` at most. Features: those of each frame, in order."""

    modality = "video"

    def __init__(
        self,
        of: dict[str, Any],
        path: str | None = None,
        frames: Positive = 5,
        fps: Annotated[float, Field(gt=0)] | None = None,
        most: Positive = 32,
    ) -> None:
        super().__init__()
        self.of, rebuilt = image_encoder("frames", of, path)
        self.frames, self.fps, self.most, self.width = frames, fps, most, self.of.width
        self.options = {"of": rebuilt, "frames": frames, "fps": fps, "most": most}

    def prepare(self, media: Any) -> Inputs:
        """A `media.video.Video` -> what the image encoder makes of each picture, stacked: [F, ...]."""
        count = self.frames if self.fps is None else min(max(1, round(self.fps * media.seconds)), self.most)
        times = [(number + 0.5) * media.seconds / count for number in range(count)]
        pictures = [self.of.prepare(picture) for picture in media.at(times)]
        return {key: torch.stack([picture[key] for picture in pictures]) for key in pictures[0]}

    def length(self, inputs: Inputs) -> int:
        return sum(map(self.of.length, _pictures(inputs)))

    def forward(self, items: list[Inputs]) -> Features:
        clips = [_pictures(item) for item in items]
        tokens = iter(self.of([picture for clip in clips for picture in clip]).tokens)
        return Features([torch.cat([next(tokens) for _ in clip]) for clip in clips])


def _pictures(inputs: Inputs) -> list[dict[str, Tensor]]:
    count = len(next(iter(inputs.values())))
    return [{key: value[number] for key, value in inputs.items()} for number in range(count)]
