"""Clips as pictures: any codec of pictures, frame by frame. Decides that a clip is one sequence, a frame behind the
other; what joins them is the backbone's work."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from polymodal.errors import MediaError, RecipeError
from polymodal.media.video import Video
from polymodal.parts.base import Positive, build
from polymodal.parts.output import Generator


class FrameCodec(Generator):
    """`of`: a codec of pictures as a recipe names it (`vq`, `fsq`, `autoencoder`, `patches`); its weights come from `path`.
    Of a clip it learns the pictures in the middles of `frames` equal spans, and what it makes is shown at `fps`. Raises
    `RecipeError` for what is no codec of pictures."""

    modality = "video"

    def __init__(
        self,
        of: dict[str, Any],
        path: str | None = None,
        frames: Positive = 8,
        fps: Annotated[float, Field(gt=0)] = 8.0,
    ) -> None:
        from polymodal.parts.generators import GENERATORS

        super().__init__()
        if "path" in of:
            raise RecipeError("generator 'frames': 'path' stands beside 'of', not in it")
        self.of: Generator = build("generator.of", GENERATORS, of if path is None else {**of, "path": path})
        if self.of.modality != "image" or self.of.takes not in ("codes", "latents"):
            raise RecipeError(f"generator 'frames': 'of' is a codec of pictures, which '{of['kind']}' is not")
        self.frames, self.fps, self.takes = frames, fps, self.of.takes
        self.positions, self.width, self.vocabulary = frames * self.of.positions, self.of.width, self.of.vocabulary
        kept = {"kind": of["kind"], **{key: value for key, value in self.of.options.items() if key != "path"}}
        self.options = {"of": kept, "frames": frames, "fps": fps}

    def prepare(self, media: Any) -> Tensor:
        """A `media.video.Video` -> [frames, 3, size, size]. Raises `MediaError` for what is no clip, or a damaged one."""
        if not isinstance(media, Video):
            raise MediaError(f"a clip is learned from a Video, not from a {type(media).__name__}")
        times = [(number + 0.5) * media.seconds / self.frames for number in range(self.frames)]
        return torch.stack([self.of.prepare(picture) for picture in media.at(times)])

    def fit(self, targets: Tensor) -> Tensor:
        return self.of.fit(targets.flatten(0, 1)).unflatten(0, (-1, self.frames)).mean(1)

    def encode(self, targets: Tensor) -> Tensor:
        return self.of.encode(targets.flatten(0, 1)).unflatten(0, (-1, self.frames)).flatten(1, 2)

    def make(
        self,
        given: Tensor | Sequence[str],
        random: torch.Generator,
        on_step: Callable[[int, int], None] | None = None,
    ) -> list[Any]:
        """S codes or latents -> S clips, `frames` `PIL.Image`s each."""
        assert isinstance(given, Tensor)  # no codec of pictures takes text
        each = self.of.make(given.unflatten(1, (self.frames, -1)).flatten(0, 1), random, on_step)
        return [(each[first : first + self.frames], self.fps) for first in range(0, len(each), self.frames)]
