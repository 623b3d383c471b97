"""ImageBind (arXiv 2305.05665): pictures, films, sounds, depth, temperature and motion in one space. *Unverified on real
weights*: names and shapes are those of the authors' code, and their checkpoint was never loaded here. Its licence, CC
BY-NC-SA 4.0, allows no commercial use."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Literal

from torch import Tensor

from polymodal.parts import released
from polymodal.parts.base import Encoder, Features, Inputs, build, run_by_shape
from polymodal.parts.encoders.imagebind_inputs import INPUTS
from polymodal.parts.encoders.imagebind_network import CELLS, HUGE, SPACE, ImageBind, Size


class ImageBindMedia(Encoder):
    """One tower of it. `path`: the authors' `imagebind_huge.pth`, of which this tower is read; `config`: `width`, `depth`,
    `heads` and `space` of another size. `input`: how the medium is shown (`imagebind_inputs`). `features`: `embedding`, one
    in the common space, the mean over the views of the item; `views`, those of each; `patches`, the tower's states."""

    def __init__(
        self,
        modality: Literal["image", "video", "audio", "depth", "thermal", "imu"],
        path: str | None = None,
        config: dict[str, int] | None = None,
        input: dict[str, Any] | None = None,
        features: Literal["embedding", "views", "patches"] = "embedding",
    ) -> None:
        super().__init__()
        self.modality, self.features = modality, features
        self.reader = build("encoder.input", INPUTS, {"kind": modality, **(input or {})})
        self.tower = self.reader.tower
        size = released.sizes("imagebind", {**asdict(HUGE[self.tower]), "space": SPACE}, path, config)
        self.network = ImageBind({self.tower: Size(size["width"], size["depth"], size["heads"])}, size["space"])
        if path is not None:
            others = [f"{part}.{name}." for part, _ in self.network.named_children() for name in HUGE if name != self.tower]
            released.load(self.network, released.read(path), path, beside=others)
        self.width = size["width"] if features == "patches" else size["space"]
        self.options = {"modality": modality, "config": size, "input": input or {}, "features": features}

    def prepare(self, media: Any) -> Inputs:
        """One item -> its views [V, ...]."""
        return {"views": self.reader.views(media)}

    def length(self, inputs: Inputs) -> int:
        views = len(inputs["views"])
        return {"embedding": 1, "views": views, "patches": views * CELLS[self.tower]}[self.features]

    def forward(self, items: list[Inputs]) -> Features:
        def run(batch: Inputs) -> Tensor:  # [B, V, ...] -> [B, N, De]
            embeddings, states = self.network(self.tower, batch["views"].flatten(0, 1))
            if self.features == "patches":
                return states[:, 1:].reshape(len(batch["views"]), -1, self.width)
            each = embeddings.unflatten(0, batch["views"].shape[:2])
            return each if self.features == "views" else each.mean(dim=1, keepdim=True)

        return Features(run_by_shape(items, run))
