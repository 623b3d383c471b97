"""Segments of a picture, drawn in colours, through an image encoder (VCoder, arXiv 2312.14233): beside the picture they say
where things begin and end. Who drew them, and in which colours, is whoever made them; a model learns its own drawer's."""

from __future__ import annotations

from typing import Any

from polymodal.parts.base import Encoder, Features, Inputs
from polymodal.parts.encoders.pictures import image_encoder


class SegmentImages(Encoder):
    """`of`: an image encoder as a recipe names it; its weights come from `path`, and are its own, not those of the encoder
    of `image`. The features are those of the drawing."""

    modality = "segmentation"

    def __init__(self, of: dict[str, Any], path: str | None = None) -> None:
        super().__init__()
        self.of, rebuilt = image_encoder("segments", of, path)
        self.width, self.options = self.of.width, {"of": rebuilt}

    def prepare(self, media: Any) -> Inputs:
        """A `PIL.Image` of the segments -> the image encoder's inputs."""
        return self.of.prepare(media)

    def length(self, inputs: Inputs) -> int:
        return self.of.length(inputs)

    def forward(self, items: list[Inputs]) -> Features:
        return self.of(items)
