"""Placement: features stand in the sequence as if they were token embeddings (LLaVA, BLIP-2 and nearly all since)."""

from __future__ import annotations

from torch import Tensor

from polymodal.parts.backbones import Backbone
from polymodal.parts.base import Fusion


class Placement(Fusion):
    """N features -> N positions. Without weights, for any backbone."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()

    def length(self, n: int) -> int:
        return n

    def placed(self, features: Tensor) -> Tensor:
        return features
