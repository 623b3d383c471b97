"""CLIP's ResNet-50 (arXiv 2103.00020), and PMC-CLIP's (2303.07240), the same network taught with figures of medical papers.
*Unverified on real weights*: names and shapes are those of the authors' code, and the weights (MIT; PMC-CLIP's authors say
no licence) were never loaded here. OpenAI's own `RN50.pt` is a program, which is not run: take OpenCLIP's file of its state
dict."""

from __future__ import annotations

from typing import Any, Literal

from torch import Tensor, nn

from polymodal.parts import released
from polymodal.parts.base import Encoder, Features, Inputs, run_by_shape
from polymodal.parts.encoders.clip_resnet_network import ClipResNet

RN50 = {"width": 64, "depth1": 3, "depth2": 4, "depth3": 6, "depth4": 3, "image": 224, "space": 1024}
TEXT = "transformer.", "token_embedding.", "positional_embedding", "ln_final.", "text_projection", "logit_scale"


class ClipResNetImages(Encoder):
    """`path`: a file of the whole of CLIP with an RN50, or with `variant: pmc-clip` its authors' file of the image encoder;
    `config`: `width`, `depth1` to `depth4`, `image`, `space`. `features`: `grid`, the cells of the last map (7 x 7);
    `embedding`, the one that attention makes of them, of CLIP's heads (a notebook of PMC-CLIP's has wider ones)."""

    modality = "image"

    def __init__(
        self,
        variant: Literal["clip", "pmc-clip"] = "clip",
        path: str | None = None,
        config: dict[str, int] | None = None,
        features: Literal["grid", "embedding"] = "grid",
    ) -> None:
        super().__init__()
        import transformers

        published = RN50 if variant == "clip" else {**RN50, "space": 768}
        size = released.sizes("clip-resnet", published, path, config)
        depths = [size[f"depth{stage}"] for stage in range(1, 5)]
        self.network = nn.ModuleDict({"visual": ClipResNet(size["width"], depths, size["image"], size["space"])})
        if path is not None:
            if variant == "clip":
                released.load(self.network, released.read(path), path, beside=TEXT)
            else:  # the half of pictures alone
                released.load(self.network["visual"], released.read(path), path)
        side = {"shortest_edge": size["image"]}
        self.processor = transformers.CLIPImageProcessorPil(size=side, crop_size=size["image"])
        self.features, self.image = features, size["image"]
        self.width = size["space"] if features == "embedding" else 32 * size["width"]
        self.options: dict[str, Any] = {"variant": variant, "config": size, "features": features}

    def prepare(self, media: Any) -> Inputs:
        """A `PIL.Image` -> pixel_values [3, image, image] of its middle square, standardised as for CLIP."""
        return {"pixel_values": self.processor(media, return_tensors="pt")["pixel_values"][0]}

    def length(self, inputs: Inputs) -> int:
        return 1 if self.features == "embedding" else (self.image // 32) ** 2

    def forward(self, items: list[Inputs]) -> Features:
        def run(batch: Inputs) -> Tensor:  # [B, N, De]
            maps, embeddings = self.network["visual"](batch["pixel_values"])
            return embeddings.unsqueeze(1) if self.features == "embedding" else maps.flatten(2).transpose(1, 2)

        return Features(run_by_shape(items, run))
