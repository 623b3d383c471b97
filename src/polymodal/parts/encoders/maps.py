"""Depth and temperature through an image encoder: a map is drawn in grey (`shading`), and seen as a picture."""

from __future__ import annotations

from typing import Any, Literal

from polymodal.parts.base import Encoder, Features, Inputs
from polymodal.parts.encoders.pictures import image_encoder
from polymodal.parts.encoders.shading import Shading


class MapImages(Encoder):
    """`unit` of the map's numbers, and `range`, those of them that are black and white (of depth in metres or millimetres:
    white and black). `of`: an image encoder as a recipe names it; its weights come from `path`. The features are those of
    the drawing."""

    def __init__(
        self,
        modality: Literal["depth", "thermal"],
        unit: str,
        range: tuple[float, float],
        of: dict[str, Any],
        path: str | None = None,
    ) -> None:
        super().__init__()
        self.modality, self.shading = modality, Shading(modality, unit, range)
        self.of, rebuilt = image_encoder("maps", of, path)
        self.width = self.of.width
        self.options = {"modality": modality, "unit": unit, "range": list(range), "of": rebuilt}

    def prepare(self, media: Any) -> Inputs:
        """A map [height, width] -> the image encoder's inputs of its drawing."""
        return self.of.prepare(self.shading.draw(media))

    def length(self, inputs: Inputs) -> int:
        return self.of.length(inputs)

    def forward(self, items: list[Inputs]) -> Features:
        return self.of(items)
