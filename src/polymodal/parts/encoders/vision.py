"""Any transformers vision encoder by id or folder: CLIP, SigLIP and SigLIP 2, DINOv2/3, ViT, MAE, Swin, BEiT, AIMv2,
ConvNeXt, InternVL's and BLIP-2's EVA-ViT. The features are the patches: prefix tokens (CLS, registers) are dropped."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor

from polymodal.errors import RecipeError
from polymodal.parts.base import Encoder, Features, Inputs, run_by_shape
from polymodal.parts.sources import load_strictly, pretrained, transformers_config

# model_type -> class, where AutoModel does not know the vision tower alone
_CLASSES = {"blip_2_vision_model": "Blip2VisionModel"}
_TOWER = {r"^(model\.)?(vision_model|vision_tower)\.": ""}  # where checkpoints of whole models keep their tower


class TransformersVision(Encoder):
    """`path` (Hub id, folder, `asset:`) or `config` (a dict with `model_type`, random weights). Preprocessing is the
    checkpoint's own image processor, saved with it; a random encoder squashes to its image size and scales to -1..1."""

    modality = "image"

    def __init__(
        self, path: str | None = None, config: dict[str, Any] | None = None, preprocessor: dict[str, Any] | None = None
    ) -> None:
        super().__init__()
        import transformers

        full = transformers_config(path, config, "encoder")
        vision = getattr(full, "vision_config", full)
        cls = _network(vision)
        # No feature needs the pooler, and a classifier's checkpoint (ViT, BEiT) has none to load.
        bare = {"add_pooling_layer": False} if "add_pooling_layer" in inspect.signature(cls).parameters else {}
        self.masked = vision.model_type == "vit_mae"
        vision.update({"mask_ratio": 0.0} if self.masked else {})  # MAE hides patches while pre-training
        if path is not None:
            self.network = load_strictly(cls, path, "encoder", config=vision, key_mapping=_TOWER, **bare)
            self.processor = pretrained(transformers.AutoImageProcessor, path, "encoder.path")
        else:
            self.network = cls(vision, **bare)
            self.processor = _processor(vision, preprocessor)
        self.width = getattr(vision, "hidden_size", None) or vision.hidden_sizes[-1]
        self.options = {"config": vision.to_dict(), "preprocessor": self.processor.to_dict()}
        patch = vision.patch_size[0] if isinstance(vision.patch_size, (list, tuple)) else vision.patch_size
        self.stride = patch * 2 ** (len(getattr(vision, "depths", [0])) - 1)  # Swin and ConvNeXt halve between stages

    def prepare(self, media: Any) -> Inputs:
        """A `PIL.Image` -> the image processor's tensors without their batch dimension."""
        return {key: value[0] for key, value in self.processor(media, return_tensors="pt").items()}

    def length(self, inputs: Inputs) -> int:
        if "pixel_attention_mask" in inputs:  # SigLIP 2's NaFlex: patches come flat, padded to a fixed number
            return int(inputs["pixel_attention_mask"].sum())
        height, width = inputs["pixel_values"].shape[-2:]
        return (height // self.stride) * (width // self.stride)

    def forward(self, items: list[Inputs]) -> Features:
        def run(batch: Inputs) -> list[Tensor]:
            if self.masked:  # MAE takes its patches in the order of random numbers: these keep them where they are
                batch = {**batch, "noise": self._order(batch)}
            out = self.network(**batch).last_hidden_state
            if out.ndim == 4:  # ConvNeXt: [B, De, h, w]
                out = out.flatten(2).transpose(1, 2)
            lengths = [self.length({key: value[i] for key, value in batch.items()}) for i in range(len(out))]
            flat = "pixel_attention_mask" in batch  # NaFlex pads at the end; others put prefix tokens at the start
            return [x[:n] if flat else x[len(x) - n :] for x, n in zip(out, lengths, strict=True)]

        return Features(run_by_shape(items, run))

    def _order(self, batch: Inputs) -> Tensor:  # [B, N]
        pixels = batch["pixel_values"]
        return torch.arange(self.length({"pixel_values": pixels[0]}), device=pixels.device).expand(len(pixels), -1)


def _network(config: Any) -> Any:
    """The transformers class of a vision tower."""
    import transformers

    name = _CLASSES.get(config.model_type)
    cls = getattr(transformers, name) if name else transformers.MODEL_MAPPING.get(type(config), None)
    if getattr(cls, "main_input_name", None) != "pixel_values":
        raise RecipeError(f"encoder 'vision' takes a vision model, and '{config.model_type}' is none")
    return cls


def _processor(config: Any, saved: dict[str, Any] | None) -> Any:
    """The image processor of a random encoder, or the one saved with a checkpoint."""
    import transformers

    if saved is not None:
        name = saved.get("image_processor_type", "")
        cls = getattr(transformers, name, None)
        if cls is None or not hasattr(cls, "from_dict"):
            raise RecipeError(f"encoder.preprocessor names no image processor of transformers: '{name}'")
        return cls.from_dict(saved)
    if config.model_type == "siglip2_vision_model":
        return transformers.Siglip2ImageProcessorPil(patch_size=config.patch_size, max_num_patches=config.num_patches)
    size = getattr(config, "image_size", 224)
    height, width = size if isinstance(size, (list, tuple)) else (size, size)
    half = [0.5, 0.5, 0.5]
    return transformers.ViTImageProcessorPil(size={"height": height, "width": width}, image_mean=half, image_std=half)
