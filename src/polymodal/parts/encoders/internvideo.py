"""InternVideo-MM-L-14 (arXiv 2212.03191): eight frames seen by CLIP and together. *Unverified on real weights*: names and
shapes are those of the authors' code, and their checkpoint (Apache-2.0) was never loaded here; should it hold more than
tensors and plain values, it is refused."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from polymodal.parts import released
from polymodal.parts.base import Encoder, Features, Inputs, run_by_shape
from polymodal.parts.encoders.clip_resnet import TEXT
from polymodal.parts.encoders.internvideo_network import InternVideo

L14 = {"width": 1024, "depth": 24, "heads": 16, "readers": 4, "image": 224, "patch": 14, "space": 768, "frames": 8}


class InternVideoClips(Encoder):
    """`path`: the authors' `InternVideo-MM-L-14.ckpt`; `config`: sizes other than its own. `features`: `patches`, the last
    states of each frame's (16 x 16); `embedding`, the one of the clip in the space of its texts."""

    modality = "video"

    def __init__(
        self,
        path: str | None = None,
        config: dict[str, int] | None = None,
        features: Literal["patches", "embedding"] = "patches",
    ) -> None:
        super().__init__()
        import transformers

        size = released.sizes("internvideo", L14, path, config)
        self.network = InternVideo(**size)
        if path is not None:
            held = released.without(released.read(path, "state_dict"), "clip.")
            released.load(self.network, held, path, beside=[*TEXT, "text_mask_embedding"])
        image, nearest = size["image"], 0
        self.processor = transformers.CLIPImageProcessorPil(
            size={"shortest_edge": image * 8 // 7}, crop_size=image, resample=nearest
        )
        self.features, self.frames, self.cells = features, size["frames"], (image // size["patch"]) ** 2
        self.width = size["space" if features == "embedding" else "width"]
        self.options: dict[str, Any] = {"config": size, "features": features}

    def prepare(self, media: Any) -> Inputs:
        """A `media.video.Video` -> pixel_values [3, frames, image, image]: from the first frame to the last at even times,
        of each the middle square, an eighth less than all of it, standardised as for CLIP."""
        times = np.linspace(0, max(0.0, media.seconds - 1e-3), self.frames).tolist()
        pictures = [self.processor(picture, return_tensors="pt")["pixel_values"][0] for picture in media.at(times)]
        return {"pixel_values": torch.stack(pictures, dim=1)}

    def length(self, inputs: Inputs) -> int:
        return 1 if self.features == "embedding" else self.frames * self.cells

    def forward(self, items: list[Inputs]) -> Features:
        def run(batch: Inputs) -> Tensor:  # [B, N, De]
            states, embeddings = self.network(batch["pixel_values"])
            return embeddings.unsqueeze(1) if self.features == "embedding" else states.flatten(1, 2)

        return Features(run_by_shape(items, run))
