"""RAM++ (arXiv 2310.15111), which names what is in a picture. *Unverified on real weights*: names and shapes are those of
the authors' code, and their file (Apache-2.0) was never loaded here."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from polymodal.errors import RecipeError
from polymodal.parts import released
from polymodal.parts.base import Encoder, Features, Inputs, Writing, run_by_shape
from polymodal.parts.encoders.ram_plus_network import RamPlus, named
from polymodal.parts.sources import read_lines

STAGES = 1, 2, 3, 4
L14 = {"embed": 192, "window": 12, "image": 384}
L14 |= {f"depth{stage}": depth for stage, depth in zip(STAGES, (2, 2, 18, 2), strict=True)}
L14 |= {f"heads{stage}": heads for stage, heads in zip(STAGES, (6, 12, 24, 48), strict=True)}
DECODER = {"space": 512, "hidden": 768, "inner": 3072, "layers": 2, "tags": 4585, "descriptions": 51}


class RamPlusImages(Encoder):
    """`path`: the authors' `ram_plus_swin_large_14m.pth`; `config`: sizes other than its own. `features`: `cells`, the 12 x
    12 that its decoder reads, width 512; `tags`, the `top` likeliest of `names` (the authors' `ram_tag_list.txt`, or a list
    in its order), each a row over all tags in which only its own probability is not 0. The projector `posteriors` says them
    in the backbone's words."""

    modality = "image"

    def __init__(
        self,
        path: str | None = None,
        config: dict[str, int] | None = None,
        features: Literal["cells", "tags"] = "cells",
        names: list[str] | str | None = None,
        top: Annotated[int, Field(ge=1)] = 10,
    ) -> None:
        super().__init__()
        import transformers

        size = released.sizes("ram-plus", L14 | DECODER, path, config)
        depths, heads = ([size[f"{what}{stage}"] for stage in STAGES] for what in ("depth", "heads"))
        shape: dict[str, Any] = {"embed_dim": size["embed"], "depths": depths, "num_heads": heads, "drop_path_rate": 0.0}
        swin = transformers.SwinConfig(image_size=size["image"], window_size=size["window"], **shape)
        self.network = RamPlus(swin, **{key: size[key] for key in DECODER})
        if path is not None:
            released.load(self.network, named(released.read(path, "model")), path)
        texts = read_lines(names) if isinstance(names, str) else names or []
        if features == "tags" and (len(texts) != size["tags"] or top > size["tags"]):
            raise RecipeError(f"encoder 'ram-plus' writes {size['tags']} tags, 'names' are {len(texts)}, 'top' is {top}")
        self.processor = transformers.ViTImageProcessorPil(
            size=dict.fromkeys(("height", "width"), size["image"]),
            image_mean=[0.485, 0.456, 0.406],
            image_std=[0.229, 0.224, 0.225],
        )
        self.tags, self.top, self.cells = features == "tags", top, (size["image"] // 32) ** 2
        self.width = size["tags" if self.tags else "space"]
        self.writing = Writing(_or_nothing, [*texts, ""]) if self.tags else None
        self.options: dict[str, Any] = {"config": size, "features": features, "names": texts, "top": top}

    def prepare(self, media: Any) -> Inputs:
        """A `PIL.Image` -> pixel_values [3, image, image], squashed to a square and standardised as for ImageNet."""
        return {"pixel_values": self.processor(media, return_tensors="pt")["pixel_values"][0]}

    def length(self, inputs: Inputs) -> int:
        return self.top if self.tags else self.cells

    def forward(self, items: list[Inputs]) -> Features:
        def run(batch: Inputs) -> Tensor:  # [B, N, De]
            seen = self.network.see(batch["pixel_values"])
            if not self.tags:
                return seen[:, 1:]
            sure, best = self.network.tags(seen).sigmoid().topk(self.top)
            return torch.zeros(*best.shape, self.width, dtype=sure.dtype, device=sure.device).scatter(
                2, best[..., None], sure[..., None]
            )

        return Features(run_by_shape(items, run))


def _or_nothing(rows: Tensor) -> Tensor:
    """Rows [.., tags] with one probability each -> logits [.., tags + 1]: that tag, or the empty text for the rest of 1."""
    return torch.cat((rows, 1 - rows.sum(-1, keepdim=True)), dim=-1).clamp_min(0).log()
