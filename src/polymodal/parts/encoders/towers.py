"""What transformers calls a vision tower and its preprocessing. Decides which class, image processor and picture size a
config stands for, and refuses what it does not have."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from polymodal.errors import RecipeError

# model_type -> class, where AutoModel does not know the vision tower alone
_CLASSES = {"blip_2_vision_model": "Blip2VisionModel"}

# model_type of those whose first token is the class token, in the states of every layer
_CLASS_TOKEN = [
    *("clip_vision_model", "blip_2_vision_model", "internvl_vision", "vit", "vit_mae", "beit"),
    *("dinov2", "dinov2_with_registers", "dinov3_vit"),
]

_STRETCHES = "interpolate_pos_encoding"
_ANY_SIZE = ("dinov2", "dinov2_with_registers", "dinov3_vit", "convnext")  # without being told


def network(config: Any) -> Any:
    """The transformers class of a vision tower."""
    import transformers

    name = _CLASSES.get(config.model_type)
    cls = getattr(transformers, name) if name else transformers.MODEL_MAPPING.get(type(config), None)
    if getattr(cls, "main_input_name", None) != "pixel_values":
        raise RecipeError(f"encoder 'vision' takes a vision model, and '{config.model_type}' is none")
    return cls


def size(config: Any, layer: int | None, tiles: int) -> int:
    """The side of its pictures in pixels. Raises `RecipeError` for a `layer` or `tiles` that it does not have."""
    kind, side = config.model_type, getattr(config, "image_size", 224)
    staged = hasattr(config, "depths") or hasattr(config, "output_channels")  # SAM's last is its neck
    depth = 0 if staged else config.num_hidden_layers
    if layer is not None and not 1 <= -layer <= depth:
        has = f"-1 to -{depth}" if depth else "states of different widths"
        raise RecipeError(f"encoder 'vision', option 'layer': a '{kind}' has {has}, not {layer}")
    square = isinstance(side, int) or side[0] == side[1]
    if tiles > 1 and (not square or kind == "siglip2_vision_model"):
        raise RecipeError(f"encoder 'vision', option 'tiles': a '{kind}' takes pictures of any shape; use 1")
    return side if isinstance(side, int) else side[0]


def class_tokens(config: Any) -> int:
    """1, how many there are. Raises `RecipeError` for a tower without a class token."""
    kind = config.model_type
    if kind not in _CLASS_TOKEN:
        raise RecipeError(f"encoder 'vision', option 'class_token': a '{kind}' has none")
    return 1


def resize(config: Any, processor: Any, side: int, stride: int, reads: Collection[str]) -> dict[str, bool]:
    """Have `processor` make pictures of `side` x `side` pixels. What the network, whose `forward` `reads` these, must be
    told of it. Raises `RecipeError` for a side that is no whole number of patches, and for a network of one size."""
    kind = config.model_type
    if side % stride:
        raise RecipeError(f"encoder 'vision', option 'size': {side} pixels are no whole patches of {stride}")
    if _STRETCHES not in reads and kind not in _ANY_SIZE:
        raise RecipeError(f"encoder 'vision', option 'size': a '{kind}' takes pictures of its own size only")
    square = {"height": side, "width": side}
    processor.size = {"shortest_edge": side} if "shortest_edge" in processor.size else square
    if getattr(processor, "crop_size", None) is not None:
        processor.crop_size = square
    return {_STRETCHES: True} if _STRETCHES in reads else {}


def processor(config: Any, saved: dict[str, Any] | None) -> Any:
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
