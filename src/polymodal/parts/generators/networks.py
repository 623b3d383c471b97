"""Networks of diffusers by name, from a folder or at random. Decides where each component of a generator comes from.

A pipeline's folder says in `model_index.json` which classes it is made of; a recipe's `config` says it with `_class_name`,
as the configs of diffusers do. No pipeline is built: its components are all that is wanted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from polymodal.errors import RecipeError
from polymodal.parts import sources
from polymodal.parts.base import build as part_of
from polymodal.parts.generators.griffin_lim import GriffinLim
from polymodal.parts.sources import locate

DENOISERS = ("unet", "transformer")
READ = 64  # tokens that AudioLDM 2's T5 reads of a caption
PAIR = "CLIPTextModelWithProjection"  # the second encoder of Stable Diffusion XL
VOCODER = "SpeechT5HifiGan"  # the one class of transformers among them
WEIGHTLESS = "GriffinLim"  # the one of ours: it has nothing to learn
_USUAL = {"unet": "UNet2DConditionModel", "vae": "AutoencoderKL", "vocoder": VOCODER}  # where a config names no class


def index(path: str) -> dict[str, Any]:
    """Which components a pipeline has: {name: [library, class]}. Raises `RecipeError` if `path` is no pipeline."""
    import diffusers

    try:
        found = diffusers.DiffusionPipeline.load_config(locate(path))
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise RecipeError(f"generator.path '{path}' is no folder in the layout of diffusers: {reason}") from error
    return {name: where for name, where in found.items() if isinstance(where, list) and where[0] is not None}


def pretrained(path: str, name: str, library: str, kind: str) -> Any:
    """One component of a pipeline, in float32. Raises `RecipeError` naming it, and the first tensor that is missing."""
    if kind == VOCODER:
        import transformers

        return sources.load_strictly(transformers.SpeechT5HifiGan, path, "generator", subfolder=name)
    if library == "transformers":  # a network of one pipeline alone is filed under its name
        raise RecipeError(f"generator.path '{path}': its {name} is a class of {library}, not of diffusers")
    cls = _class(name, kind)
    try:
        if not issubclass(cls, nn.Module):
            return cls.from_pretrained(locate(path), subfolder=name)
        found, info = cls.from_pretrained(locate(path), subfolder=name, output_loading_info=True, low_cpu_mem_usage=False)
    except (OSError, ValueError) as error:
        raise RecipeError(f"generator.path '{path}': its {name} cannot be read: {str(error).splitlines()[0]}") from error
    absent = sorted([*info["missing_keys"], *(key[0] for key in info["mismatched_keys"])])
    if absent:
        raise RecipeError(f"generator.path '{path}': its {name} lacks '{absent[0]}'")
    return found.float()


def text_encoder(path: str) -> dict[str, Any]:
    """What `TextConditions` needs to know of a pipeline's text encoder: how many tokens it reads, where its config says it
    (CLIP's does, T5's does not), that CLAP makes one vector of a caption, that two of CLIP are a pair, and that a GPT-2
    goes on behind AudioLDM 2's."""
    import diffusers
    import transformers

    settings = sources.pretrained(transformers.AutoConfig, path, "generator.path", subfolder="text_encoder")
    whole: Any = diffusers.DiffusionPipeline.load_config(locate(path))
    if settings.model_type.startswith("clap") and (whole.get("language_model") or [None])[-1] is not None:
        speaks = sources.pretrained(transformers.AutoConfig, path, "generator.path", subfolder="language_model")
        first = getattr(speaks, "max_new_tokens", 8)
        return {"kind": "generated-texts", "positions": first + READ, "first": first}
    if settings.model_type.startswith("clap"):
        return {"pipeline": True, "positions": 1, "pooled": True}
    if settings.model_type.startswith("clip") and (whole.get("text_encoder_2") or [None])[-1] == PAIR:
        zeros = whole.get("force_zeros_for_empty_prompt", True)
        return {"kind": "paired-texts", "positions": settings.max_position_embeddings + 1, "zeros": zeros}
    return {"pipeline": True, "positions": getattr(settings, "max_position_embeddings", None)}


def built(name: str, config: dict[str, Any]) -> Any:
    """One component with random weights. `config`: `_class_name` and what that class is constructed from. Raises
    `RecipeError` for a class that diffusers has not, and for what the class refuses."""
    options = {key: value for key, value in config.items() if not key.startswith("_")}
    kind = config.get("_class_name", _USUAL.get(name))
    if kind == VOCODER:
        import transformers

        return transformers.SpeechT5HifiGan(transformers.SpeechT5HifiGanConfig(**options))
    if kind == WEIGHTLESS:
        return part_of(f"generator.config.{name}", {WEIGHTLESS: GriffinLim}, {"kind": WEIGHTLESS, **options})
    if kind is None:
        raise RecipeError(f"generator.config.{name} needs a '_class_name', such as 'FlowMatchEulerDiscreteScheduler'")
    try:
        with torch.device("cpu" if name == "scheduler" else torch.get_default_device()):
            # a schedule is numbers, wherever networks are, and on the device `meta` there would be none
            return _class(name, kind)(**options)
    except (TypeError, ValueError, AssertionError) as error:
        raise RecipeError(f"generator.config.{name}: {kind} refuses it: {error}") from error


def described(component: Any) -> dict[str, Any]:
    """The config that `built` makes the same component of."""
    config = component.config if isinstance(component.config, Mapping) else component.config.to_diff_dict()
    own = {key: list(v) if isinstance(v, tuple) else v for key, v in config.items() if not key.startswith("_")}
    return {"_class_name": type(component).__name__, **own}


def _class(name: str, kind: str) -> Any:
    import diffusers

    cls = getattr(diffusers, kind, None)
    if not isinstance(cls, type) or not issubclass(cls, diffusers.ConfigMixin):
        raise RecipeError(f"generator.config.{name}: diffusers has no class '{kind}'")
    return cls
