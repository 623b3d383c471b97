"""OpenCLIP's ConvNeXt-XXLarge (arXiv 2212.07143), in transformers' ConvNeXt. *Unverified on real weights*: names and shapes
are those of its authors' code, and the weights (MIT) were never loaded here. Smaller ones of OpenCLIP have norms of another
epsilon and some another head, so that only this one's is read."""

from __future__ import annotations

from typing import Any, Literal

from torch import Tensor, nn

from polymodal.parts import released
from polymodal.parts.base import Encoder, Features, Inputs, run_by_shape
from polymodal.parts.encoders.clip_convnext_names import ours
from polymodal.parts.encoders.clip_resnet import TEXT

XXLARGE = {
    **{"depth1": 3, "depth2": 4, "depth3": 30, "depth4": 3},
    **{"width1": 384, "width2": 768, "width3": 1536, "width4": 3072, "image": 256, "space": 1024},
}


class ClipConvNeXt(Encoder):
    """`path`: a file of the whole of CLIP with a ConvNeXt-XXLarge; `config`: sizes other than its own. `features`: `grid`,
    the cells of the last map (8 x 8), without a norm; `embedding`, CLIP's one of their mean."""

    modality = "image"

    def __init__(
        self,
        path: str | None = None,
        config: dict[str, int] | None = None,
        features: Literal["grid", "embedding"] = "grid",
    ) -> None:
        super().__init__()
        import transformers

        size = released.sizes("clip-convnext", XXLARGE, path, config)
        widths, depths = ([size[f"{name}{stage}"] for stage in range(1, 5)] for name in ("width", "depth"))
        trunk = transformers.ConvNextModel(transformers.ConvNextConfig(hidden_sizes=widths, depths=depths))
        for norm in trunk.modules():
            if isinstance(norm, nn.LayerNorm):
                norm.eps = 1e-5
        self.network = nn.ModuleDict({"trunk": trunk, "proj": nn.Linear(widths[-1], size["space"], bias=False)})
        if path is not None:
            held = {ours(name): tensor for name, tensor in released.read(path).items()}
            released.load(self.network, held, path, beside=TEXT)
        side = {"shortest_edge": size["image"]}
        self.processor = transformers.CLIPImageProcessorPil(size=side, crop_size=size["image"])
        self.features, self.cells = features, (size["image"] // 32) ** 2
        self.width = size["space"] if features == "embedding" else widths[-1]
        self.options: dict[str, Any] = {"config": size, "features": features}

    def prepare(self, media: Any) -> Inputs:
        """A `PIL.Image` -> pixel_values [3, image, image] of its middle square, standardised as for CLIP."""
        return {"pixel_values": self.processor(media, return_tensors="pt")["pixel_values"][0]}

    def length(self, inputs: Inputs) -> int:
        return 1 if self.features == "embedding" else self.cells

    def forward(self, items: list[Inputs]) -> Features:
        def run(batch: Inputs) -> Tensor:  # [B, N, De]
            states = self.network["trunk"](batch["pixel_values"])
            if self.features == "embedding":
                return self.network["proj"](states.pooler_output).unsqueeze(1)
            return states.last_hidden_state.flatten(2).transpose(1, 2)

        return Features(run_by_shape(items, run))
