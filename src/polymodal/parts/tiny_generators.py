"""Generators at tiny width, for presets: networks of diffusers and codecs of 8 x 8 pixels, random weights. Decides what
stays as it is: what a generator is told (how many vectors, or text), what its network predicts, what it is aligned to."""

from __future__ import annotations

from math import ceil
from pathlib import Path
from typing import Any

from polymodal.parts import tiny
from polymodal.parts.base import build
from polymodal.parts.checkpoints import unfetched, unfetched_generator

WIDTH = 12  # of conditions
BERT = {"model_type": "bert", "hidden_size": WIDTH, "intermediate_size": 16, "num_hidden_layers": 1}
BERT |= {"num_attention_heads": 2, "vocab_size": 384}
_NETWORK = {"block_out_channels": [8, 16], "layers_per_block": 1, "norm_num_groups": 4, "sample_size": 8}
_UNET = {
    **_NETWORK,
    "attention_head_dim": 4,
    "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
}
_VIDEO = {**_UNET, "down_block_types": ["CrossAttnDownBlock3D", "DownBlock3D"]}
_VIDEO |= {"up_block_types": ["UpBlock3D", "CrossAttnUpBlock3D"]}
_TOLD = {  # as AudioLDM's, which is told its condition as a class
    **_NETWORK,
    "attention_head_dim": 4,
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"],
    "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"],
    "cross_attention_dim": [8, 16],  # it attends to itself where others look at their condition
    "class_embed_type": "simple_projection",
    "projection_class_embeddings_input_dim": WIDTH,
    "class_embeddings_concat": True,
}
_PAIR = {"intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 384}
_BOTH = [{**_PAIR, "hidden_size": 4}, {**_PAIR, "hidden_size": 8, "projection_dim": 8}]  # WIDTH side by side
_SUMMED = {"addition_embed_type": "text_time", "addition_time_embed_dim": 4, "projection_class_embeddings_input_dim": 32}
_KEPT = ("guidance", "drop", "min_snr", "source", "source_guidance")  # of a recipe
_HEARD = {k: v for k, v in _TOLD.items() if "class" not in k}  # as AudioLDM 2's, which looks at two conditions
_HEARD |= {"_class_name": "AudioLDM2UNet2DConditionModel", "cross_attention_dim": [[None, WIDTH, 10]] * 2}
_TWO = {"down_block_types": ["DownEncoderBlock2D"] * 2, "up_block_types": ["UpDecoderBlock2D"] * 2}
VAE = {**_TWO, "block_out_channels": [8, 8], "norm_num_groups": 4, "latent_channels": 4, "sample_size": 16}
VQ = {**_TWO, "block_out_channels": [8, 8], "norm_num_groups": 4, "latent_channels": 4, "num_vq_embeddings": 16}
VOCODER = {"sampling_rate": 16000, "model_in_dim": 8, "upsample_rates": [4, 4], "upsample_kernel_sizes": [8, 8]}
VOCODER |= {"upsample_initial_channel": 8, "resblock_kernel_sizes": [3], "resblock_dilation_sizes": [[1, 3]]}
VOCODER |= {"normalize_before": False}
SPEECH = {"latent_width": 6, "channels": 8, "upsample": [[4, 8], [2, 4]], "residual": [[3, [1, 2]]], "sample_rate": 8000}
ENCODEC = {
    **{"model_type": "encodec", "sampling_rate": 8000, "target_bandwidths": [1.6, 16.0], "upsampling_ratios": [5, 4]},
    **{"num_filters": 4, "hidden_size": 8, "codebook_size": 16, "num_lstm_layers": 1},
    **{"kernel_size": 3, "last_kernel_size": 3},
}
PROJECTORS: dict[str, dict[str, Any]] = {
    "transformer": {"hidden": WIDTH, "heads": 4, "inner": 16, "encoder_layers": 1, "decoder_layers": 1},
    "resampler": {"depth": 1, "heads": 2},
}


def generator(recipe: dict[str, Any], folder: str | Path) -> dict[str, Any]:
    """The recipe of a generator at tiny width. `folder`: where a store lies, once one is needed."""
    recipe = unfetched_generator(recipe)
    kind = recipe["kind"]
    if kind in ("prompted", "frames"):
        return {**recipe, "of": generator(recipe["of"], folder), **({"frames": 2} if kind == "frames" else {})}
    if kind == "retrieval":
        told = {"of": _seen(recipe["of"], 1)} if "of" in recipe else {"conditions": {"config": BERT}}
        return {"kind": kind, "store": store(folder, told), **told}
    return {"kind": kind, **_SMALL[kind](recipe)}


def projector(recipe: dict[str, Any]) -> dict[str, Any]:
    """The recipe of an output projector that is narrow inside."""
    small = PROJECTORS.get(recipe["kind"], {})
    return {**recipe, **small, **({"hidden": WIDTH} if "hidden" in recipe else {})}


def store(folder: str | Path, told: dict[str, Any], width: int | None = None) -> str:
    """A folder of two pictures for `retrieval`, in `folder`. `told`: what its embeddings are aligned to, `conditions` or
    `of`; or their `width`."""
    import torch
    from PIL import Image

    from polymodal.parts.generators.image_conditions import ImageConditions
    from polymodal.parts.generators.retrieval_store import Item
    from polymodal.parts.generators.retrieval_store import build as stored
    from polymodal.parts.generators.text_conditions import TextConditions

    if width is None:
        seen = ImageConditions(told["of"]) if "of" in told else TextConditions(**{**told["conditions"], "pooled": True})
        width = seen.width
    place = Path(folder) / f"store-{width}"
    if not place.exists():
        place.mkdir(parents=True)
        for name, colour in (("red.png", "red"), ("blue.png", "blue")):
            Image.new("RGB", (16, 16), colour).save(place / name)
        items = [Item("red.png", "red"), Item("blue.png", "blue")]
        stored(place, "image", items, lambda _: torch.eye(2, width))
    return str(place)


def _diffusion(recipe: dict[str, Any], unet: dict[str, Any] = _UNET, channels: int = 3) -> dict[str, Any]:
    said = recipe["config"]
    latents = 4 if "vae" in said else channels
    told = {} if "cross_attention_dim" in unet else {"cross_attention_dim": WIDTH}
    taken = 2 * latents if recipe.get("source") else latents
    config = {"unet": {**unet, "in_channels": taken, "out_channels": latents, **told}, "scheduler": said["scheduler"]}
    if "vae" in said:
        config["vae"] = {**VAE, "in_channels": channels, "out_channels": channels}
    own = {key: value for key, value in recipe.get("conditions", {}).items() if key in ("positions", "pooled")}
    kept: dict[str, Any] = {key: recipe[key] for key in _KEPT if key in recipe}
    texts: dict[str, Any] = {"config": BERT}
    if said["unet"].get("addition_embed_type") == "text_time":  # Stable Diffusion XL
        config["unet"] |= _SUMMED
        texts = {"kind": "paired-texts", "config": _BOTH}
    return {"config": config, "conditions": {**own, **texts}, "steps": 2, **kept}


def _video(recipe: dict[str, Any]) -> dict[str, Any]:
    return {**_diffusion(recipe, _VIDEO), "frames": 2}


def _audio(recipe: dict[str, Any]) -> dict[str, Any]:
    said = recipe["config"]["unet"]
    twice = said.get("_class_name") == _HEARD["_class_name"]
    unet = _HEARD if twice else _TOLD if said.get("class_embed_type") is not None else _UNET
    small = _diffusion(recipe, unet, channels=1)
    if twice:
        small["conditions"] = {k: v for k, v in recipe["conditions"].items() if k != "path"}
    small["config"]["vocoder"] = VOCODER
    return {**small, "seconds": 0.03, "n_fft": 64, "high": 4000.0}


def _features(recipe: dict[str, Any]) -> dict[str, Any]:
    from polymodal.parts.encoders import ENCODERS

    of = _seen(recipe["of"], recipe["positions"])
    width = build("encoder", ENCODERS, of).width
    small = _diffusion(recipe, {**_UNET, "cross_attention_dim": width})
    return {**{key: small[key] for key in ("config", "steps")}, "of": of, "positions": recipe["positions"]}


def _seen(of: dict[str, Any], positions: int) -> dict[str, Any]:
    """A tiny image encoder that makes as many features as are wanted."""
    said = unfetched(of)
    small = tiny.part(of, said.get("config", {}).get("model_type"))
    config = small.get("config", {})
    side, key = ceil(positions**0.5), "image_size" if "image_size" in config else "image"
    if positions > 16 and key in config:
        small["config"] = {**config, key: side * config.get("patch_size", config.get("patch", 7))}
    return small


def _encodec(recipe: dict[str, Any]) -> dict[str, Any]:
    books = min(recipe.get("books", 4), 2)
    return {"config": ENCODEC, "seconds": 0.02, "books": books, "cut": True}


def _speech(recipe: dict[str, Any]) -> dict[str, Any]:
    conditions = {"positions": recipe["conditions"]["positions"], "config": BERT}
    return {"config": SPEECH, "conditions": conditions, "network": {"width": 16, "layers": 2}, "frames": 20, "steps": 2}


_SMALL: dict[str, Any] = {
    "diffusion": _diffusion,
    "video-diffusion": _video,
    "audio-diffusion": _audio,
    "feature-decoder": _features,
    "vq": lambda recipe: {"size": 8, "config": VQ},
    "fsq": lambda recipe: {"size": 8, "levels": [3, 3], "channels": [8, 8], "groups": 4},
    "autoencoder": lambda recipe: {"size": 8, "config": VAE, "patch": recipe.get("patch", 1)},
    "patches": lambda recipe: {"size": 8, "patch": 4},
    "encodec": _encodec,
    "latent-speech": _speech,
}
