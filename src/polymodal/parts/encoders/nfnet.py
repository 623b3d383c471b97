"""NFNet-F6 (arXiv 2102.06171), of the family that is Flamingo's eye. *Unverified on real weights*: names and shapes are
those of the port of DeepMind's weights to torch, and that file was never loaded here. Flamingo's own, which learned from
pictures and their texts, is closed."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field
from torch import Tensor

from polymodal.parts import released
from polymodal.parts.base import Encoder, Features, Inputs, run_by_shape
from polymodal.parts.encoders.nfnet_network import NFNet

STAGES = 1, 2, 3, 4
F6 = {f"depth{stage}": depth for stage, depth in zip(STAGES, (7, 14, 42, 21), strict=True)}
F6 |= {f"width{stage}": width for stage, width in zip(STAGES, (256, 512, 1536, 1536), strict=True)}
F6 |= {"stem": 128, "group": 128, "classes": 1000}
CROP = 0.956  # of a picture's side that is seen


class NFNetImages(Encoder):
    """`path`: `dm_nfnet_f6-e0f12116.pth`, or the same as safetensors; `config`: sizes other than F6's own. `size`: the side
    of its pictures in pixels, of which it was tested on 576 and trained on 448; Flamingo's has 320. Features: the cells of
    the last map, behind the last activation."""

    modality = "image"

    def __init__(
        self,
        path: str | None = None,
        config: dict[str, int] | None = None,
        size: Annotated[int, Field(ge=32)] = 576,
    ) -> None:
        super().__init__()
        import transformers

        sizes = released.sizes("nfnet", F6, path, config)
        depths, widths = ([sizes[f"{what}{stage}"] for stage in STAGES] for what in ("depth", "width"))
        self.network = NFNet(depths, widths, sizes["stem"], sizes["group"], sizes["classes"])
        if path is not None:
            released.load(self.network, released.read(path), path)
        squashed, mean, std = int(size / CROP), [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
        side = {"height": squashed, "width": squashed}
        self.processor = transformers.CLIPImageProcessorPil(size=side, crop_size=size, image_mean=mean, image_std=std)
        self.cells, self.width = (-(-size // 32)) ** 2, 2 * widths[-1]
        self.options: dict[str, Any] = {"config": sizes, "size": size}

    def prepare(self, media: Any) -> Inputs:
        """A `PIL.Image` -> pixel_values [3, size, size]: squashed to a square, its middle, standardised as for ImageNet."""
        return {"pixel_values": self.processor(media, return_tensors="pt")["pixel_values"][0]}

    def length(self, inputs: Inputs) -> int:
        return self.cells

    def forward(self, items: list[Inputs]) -> Features:
        def run(batch: Inputs) -> Tensor:  # [B, N, De]
            return self.network(batch["pixel_values"]).flatten(2).transpose(1, 2)

        return Features(run_by_shape(items, run))
