"""Point-BERT (arXiv 2111.14819) and ULIP-2 (2305.08275), which brought it into the space of pictures and text. *Unverified
on real weights*: names and shapes are those of the authors' code, and their checkpoints were never loaded here. For points
that are learned from nothing there is `point-patches`, whose norms need no batch."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from polymodal.errors import MediaError, RecipeError
from polymodal.parts import released
from polymodal.parts.base import Encoder, Features, Inputs, run_by_shape
from polymodal.parts.encoders.grouping import grouped
from polymodal.parts.encoders.pointbert_network import PointTransformer, Ulip

POINT_BERT = {"width": 384, "depth": 12, "heads": 6, "groups": 64, "size": 32, "points": 1024}
ULIP_2 = {"width": 384, "depth": 18, "heads": 6, "groups": 512, "size": 32, "points": 10_000, "space": 1280}
BESIDE = "mask_token", "lm_head.", "cls_head.", "logit_scale", "open_clip_model."  # of pre-training


class PointBert(Encoder):
    """`path`: the authors' `Point-BERT.pth`, or ULIP-2's file of clouds with colours; `config`: sizes other than theirs.
    `features`: `tokens`, the class token and a feature of each group; `embedding`, ULIP-2's one in OpenCLIP's space."""

    modality = "points"

    def __init__(
        self,
        variant: Literal["point-bert", "ulip-2"] = "point-bert",
        path: str | None = None,
        config: dict[str, int] | None = None,
        features: Literal["tokens", "embedding"] = "tokens",
    ) -> None:
        super().__init__()
        aligned = variant == "ulip-2"
        if features == "embedding" and not aligned:
            raise RecipeError("encoder 'pointbert', option 'features': only variant 'ulip-2' has an embedding")
        size = released.sizes("pointbert", ULIP_2 if aligned else POINT_BERT, path, config)
        self.groups, self.size, self.points = size["groups"], size["size"], size["points"]
        self.channels, self.features = 6 if aligned else 3, features
        shape = size["width"], size["depth"], size["heads"], self.channels
        self.network: PointTransformer | Ulip = Ulip(*shape, size["space"]) if aligned else PointTransformer(*shape)
        if path is not None:
            held = released.read(path, "state_dict" if aligned else "base_model")
            held = {name.removeprefix("module."): tensor for name, tensor in held.items()}
            if (
                not aligned
            ):  # of the two networks and the tokeniser that learned together, the one that learned by gradients
                held = released.without(held, "transformer_q.")
            released.load(self.network, held, path, beside=BESIDE)
        self.width = size["space" if features == "embedding" else "width"]
        self.options = {"variant": variant, "config": size, "features": features}

    def prepare(self, media: Any) -> Inputs:
        """A cloud [N, 6] in the unit sphere -> centres [groups, 3] and patches [groups, size, 3 or 6] around them."""
        if len(media) < (least := max(self.groups, self.size)):
            raise MediaError(f"a cloud of {len(media)} points is too small for this encoder, which needs {least} of them")
        centres, patches = grouped(media, self.points, self.groups, self.size)
        return {"centres": torch.from_numpy(centres), "patches": torch.from_numpy(patches[..., : self.channels])}

    def length(self, inputs: Inputs) -> int:
        return 1 if self.features == "embedding" else 1 + len(inputs["centres"])

    def forward(self, items: list[Inputs]) -> Features:
        def run(batch: Inputs) -> Tensor:  # [B, N, De]
            if isinstance(self.network, PointTransformer):
                return self.network(**batch)
            embeddings, states = self.network(**batch)
            return embeddings.unsqueeze(1) if self.features == "embedding" else states

        return Features(run_by_shape(items, run))
