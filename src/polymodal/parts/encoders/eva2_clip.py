"""EVA-02-CLIP-E/14 (arXiv 2303.15389), CogVLM's eye. *Unverified on real weights*: names and shapes are those of the
authors' code, and their checkpoints (MIT) were never loaded here."""

from __future__ import annotations

from typing import Any, Literal

from torch import Tensor, nn

from polymodal.parts import released
from polymodal.parts.base import Encoder, Features, Inputs, run_by_shape
from polymodal.parts.encoders.eva2_clip_network import EvaVision

E14 = {"width": 1792, "depth": 64, "heads": 16, "hidden": 15360, "image": 224, "patch": 14, "space": 1024}


class Eva2Clip(Encoder):
    """`path`: the authors' file of the whole of CLIP, `EVA02_CLIP_E_psz14_s4B.pt`; `config`: sizes other than its own.
    `features`: `patches`, as the last block is given them (CogVLM leaves that block out); `embedding`, CLIP's."""

    modality = "image"

    def __init__(
        self,
        path: str | None = None,
        config: dict[str, int] | None = None,
        features: Literal["patches", "embedding"] = "patches",
    ) -> None:
        super().__init__()
        import transformers

        size = released.sizes("eva2-clip", E14, path, config)
        self.network = nn.ModuleDict({"visual": EvaVision(**size)})
        if path is not None:
            released.load(self.network, released.read(path), path, beside=["text.", "logit_scale"])
        side = {"shortest_edge": size["image"]}
        self.processor = transformers.CLIPImageProcessorPil(size=side, crop_size=size["image"])
        self.features, self.cells = features, (size["image"] // size["patch"]) ** 2
        self.width = size["space" if features == "embedding" else "width"]
        self.options: dict[str, Any] = {"config": size, "features": features}

    def prepare(self, media: Any) -> Inputs:
        """A `PIL.Image` -> pixel_values [3, image, image] of its middle square, standardised as for CLIP."""
        return {"pixel_values": self.processor(media, return_tensors="pt")["pixel_values"][0]}

    def length(self, inputs: Inputs) -> int:
        return 1 if self.features == "embedding" else self.cells

    def forward(self, items: list[Inputs]) -> Features:
        def run(batch: Inputs) -> Tensor:  # [B, N, De]
            states, embeddings = self.network["visual"](batch["pixel_values"])
            return embeddings.unsqueeze(1) if self.features == "embedding" else states[:, 1:]

        return Features(run_by_shape(items, run))
