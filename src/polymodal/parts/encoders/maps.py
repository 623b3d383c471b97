"""Depth and temperature through an image encoder: a map is drawn in grey (`shading`), and seen as a picture."""

from __future__ import annotations

from typing import Any, Literal

from polymodal.errors import RecipeError
from polymodal.parts.base import Encoder, Features, Inputs, build
from polymodal.parts.encoders.shading import Shading


class MapImages(Encoder):
    """`unit` of the map's numbers, and `range`, those of them that are black and white (of depth in metres or millimetres:
    white and black). `encoder`: an image encoder with its options, and `path`: its weights. The features are those of the
    drawing."""

    def __init__(
        self,
        modality: Literal["depth", "thermal"],
        unit: str,
        range: tuple[float, float],
        encoder: dict[str, Any],
        path: str | None = None,  # here and not in `encoder`, so that a checkpoint can link to it
    ) -> None:
        super().__init__()
        from polymodal.parts.encoders import ENCODERS

        self.modality, self.shading = modality, Shading(modality, unit, range)
        recipe = {**encoder, "path": path} if path else encoder
        self.image: Encoder = build("encoder 'maps': encoder", ENCODERS, recipe)
        if self.image.modality != "image":
            raise RecipeError(f"encoder 'maps': its encoder takes {self.image.modality}, not image")
        self.width = self.image.width
        self.options = {"modality": modality, "unit": unit, "range": list(range)}
        self.options["encoder"] = {"kind": encoder["kind"], **self.image.options}

    def prepare(self, media: Any) -> Inputs:
        """A map [height, width] -> the image encoder's inputs of its drawing."""
        return self.image.prepare(self.shading.draw(media))

    def length(self, inputs: Inputs) -> int:
        return self.image.length(inputs)

    def forward(self, items: list[Inputs]) -> Features:
        return self.image(items)
