"""Ready features: what an encoder of the user's own made elsewhere. Decides that a file of them stands where a picture, a
recording or a clip would, so that everything behind an encoder is the same."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from pydantic import Field

from polymodal.errors import MediaError
from polymodal.media.features import load_features
from polymodal.parts.base import Encoder, Features, Inputs


class Precomputed(Encoder):
    """`modality`: which parts of a message hold features. `width`: De. A part's media is an npy or safetensors (`features`)
    file of numbers [N, De], or an array; any N of 1 or more."""

    media_reader = staticmethod(load_features)

    def __init__(self, modality: str, width: Annotated[int, Field(ge=1)]) -> None:
        super().__init__()
        self.modality, self.width = modality, width
        self.options = {"modality": modality, "width": width}

    def prepare(self, media: Any) -> Inputs:
        """Features [N, De] as they are. Raises `MediaError` for another width."""
        if media.shape[-1] != self.width:
            raise MediaError(f"features of width {media.shape[-1]}; this model's {self.modality} has {self.width}")
        return {"features": torch.from_numpy(media)}

    def length(self, inputs: Inputs) -> int:
        return len(inputs["features"])

    def forward(self, items: list[Inputs]) -> Features:
        return Features([item["features"] for item in items])
