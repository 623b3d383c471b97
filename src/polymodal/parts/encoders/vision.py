"""Any transformers vision encoder by id or folder: CLIP, SigLIP and SigLIP 2, DINOv2/3, ViT, MAE, Swin, BEiT, AIMv2,
ConvNeXt, SAM and SAM-HQ, InternVL's and BLIP-2's EVA-ViT. The features are the patches: prefix tokens (CLS, registers) are
dropped, but for the class token where it is asked for."""

from __future__ import annotations

import inspect
from math import prod
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from polymodal.parts.base import Encoder, Features, Inputs, run_by_shape
from polymodal.parts.encoders import towers
from polymodal.parts.encoders.tiles import Tiles, views
from polymodal.parts.sources import load_strictly, pretrained, transformers_config

_TOWER = {r"^(model\.)?(vision_model|vision_tower)\.": ""}  # where checkpoints of whole models keep their tower


class TransformersVision(Encoder):
    """`path` (Hub id, folder, `asset:`) or `config` (a dict with `model_type`, random weights). Preprocessing is the
    checkpoint's own image processor, saved with it; a random encoder squashes to its image size and scales to -1..1.
    `layer`: which state is read, counted from the end; LLaVA takes -2, what the last layer is given. `tiles: n` > 1 adds
    n x n tiles of the picture to the whole of it, each a picture to the encoder. `size`: the side of its pictures in pixels
    if not its own; where patches stand is interpolated. `class_token` keeps it, in front of the patches of each picture."""

    modality = "image"

    def __init__(
        self,
        path: str | None = None,
        config: dict[str, Any] | None = None,
        preprocessor: dict[str, Any] | None = None,
        layer: int | None = None,
        tiles: Tiles = 1,
        size: Annotated[int, Field(ge=1)] | None = None,
        class_token: bool = False,
    ) -> None:
        super().__init__()
        import transformers

        full = transformers_config(path, config, "encoder")
        vision = getattr(full, "vision_config", full)
        cls = towers.network(vision)
        # No feature needs the pooler, and a classifier's checkpoint (ViT, BEiT) has none to load.
        bare = {"add_pooling_layer": False} if "add_pooling_layer" in inspect.signature(cls).parameters else {}
        self.masked = vision.model_type == "vit_mae"
        vision.update({"mask_ratio": 0.0} if self.masked else {})  # MAE hides patches while pre-training
        if path is not None:
            self.network = load_strictly(cls, path, "encoder", config=vision, key_mapping=_TOWER, **bare)
            self.processor = pretrained(transformers.AutoImageProcessor, path, "encoder.path")
        else:
            self.network = cls(vision, **bare)
            self.processor = towers.processor(vision, preprocessor)
        kept = getattr(vision, "output_channels", None) or getattr(vision, "hidden_size", None)  # SAM narrows at its neck
        self.width = kept or vision.hidden_sizes[-1]
        self.reads = frozenset(
            inspect.signature(self.network.forward).parameters
        )  # SAM's processor also says what it resized
        self.layer, self.tiles, self.size = layer, tiles, size or towers.size(vision, layer, tiles)
        self.prefix = towers.class_tokens(vision) if class_token else 0
        patch = vision.patch_size[0] if isinstance(vision.patch_size, (list, tuple)) else vision.patch_size
        self.stride = patch * 2 ** (len(getattr(vision, "depths", [0])) - 1)  # Swin and ConvNeXt halve between stages
        self.stretched: dict[str, bool] = {}
        if size is not None:
            self.stretched = towers.resize(vision, self.processor, size, self.stride, self.reads)
        options = {"config": vision.to_dict(), "preprocessor": self.processor.to_dict()}
        self.options = options | {"layer": layer, "tiles": tiles, "size": size, "class_token": class_token}

    def prepare(self, media: Any) -> Inputs:
        """A `PIL.Image` -> the image processor's tensors, with one leading dimension, of views, if there are tiles."""
        pictures = views(media, self.size, self.tiles) if self.tiles > 1 else media
        inputs = self.processor(pictures, return_tensors="pt")
        return {key: value if self.tiles > 1 else value[0] for key, value in inputs.items() if key in self.reads}

    def length(self, inputs: Inputs) -> int:
        if "pixel_attention_mask" in inputs:  # SigLIP 2's NaFlex: patches come flat, padded to a fixed number
            return int(inputs["pixel_attention_mask"].sum())
        *several, _, height, width = inputs["pixel_values"].shape
        return prod(several) * (self.prefix + (height // self.stride) * (width // self.stride))

    def forward(self, items: list[Inputs]) -> Features:
        def run(batch: Inputs) -> list[Tensor]:
            if self.masked:  # MAE takes its patches in the order of random numbers: these keep them where they are
                batch = {**batch, "noise": self._order(batch)}
            states = self.network(**batch, **self.stretched, output_hidden_states=self.layer is not None)
            out = states.last_hidden_state if self.layer is None else states.hidden_states[self.layer]
            if out.ndim == 4:  # ConvNeXt and SAM: [B, De, h, w]
                out = out.flatten(2).transpose(1, 2)
            lengths = [self.length({key: value[i] for key, value in batch.items()}) for i in range(len(out))]
            if "pixel_attention_mask" in batch:  # NaFlex pads at the end; others put prefix tokens at the start
                return [x[:n] for x, n in zip(out, lengths, strict=True)]
            patches = out[:, out.shape[1] - lengths[0] + self.prefix :]
            return list(torch.cat([out[:, : self.prefix], patches], 1))

        if self.tiles == 1:
            return Features(run_by_shape(items, run))
        pictures = [{"pixel_values": view} for item in items for view in item["pixel_values"]]
        tokens, n = run_by_shape(pictures, run), 1 + self.tiles**2
        return Features([torch.cat(tokens[i : i + n]) for i in range(0, len(tokens), n)])

    def _order(self, batch: Inputs) -> Tensor:  # [B, N]
        pixels = batch["pixel_values"]
        patches = self.length({"pixel_values": pixels[0]}) - self.prefix
        return torch.arange(patches, device=pixels.device).expand(len(pixels), -1)
