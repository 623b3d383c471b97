"""Whole systems as transformers saved them, as checkpoints of ours. Decides which layouts are read, and that an import is
exact or refused: nothing is renamed by hand, the source's own class loads the source, and its modules become our parts.

    llava     vision_tower -> encoder, multi_modal_projector -> projector `mlp`, language_model and lm_head -> backbone
    blip-2    vision_model -> encoder with its class token, query_tokens, qformer and language_projection -> projector
              `q-former`, language_model -> backbone

So both layouts of LLaVA's names load, that of the files on the Hub and that of transformers' modules. A tensor that is
missing, misshapen or of no part is an error that names it. What a system computes otherwise than our parts is refused by
the key of its config that says so. The prompt comes with it: the chat format that writes what the source's processor does.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from polymodal.content import Part, text
from polymodal.content import user as from_user
from polymodal.errors import AssetError, CheckpointError, RecipeError, nearest
from polymodal.model.chat_format import FORMATS, ChatFormat
from polymodal.model.composition import Composition
from polymodal.parts.sources import locate, pretrained, transformers_config

# What transformers leaves out without a word while it loads, and why nothing is lost by it.
IGNORED = {
    r"(^|\.)position_ids$": "the numbers 0, 1, 2 ...; older versions of transformers stored them",
    r"rotary_emb\.inv_freq": "computed from the config; older versions of transformers stored it",
    "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight": "T5 has it in its files and never reads it",
}
FILES = ["*.json", "*.jinja", "*.model", "*.txt", "*.safetensors"]  # of a Hub repository
LLAVA_PROMPT = "USER: <image>\n{} ASSISTANT:"  # as the authors trained it, where a source has no template
QUESTION = "What is this?"


def convert(source: str, target: Path, chat_format: str | None = None, dtype: str = "float32") -> dict[str, Any]:
    """Read a system at `source` (a folder or a Hub id), write it as a checkpoint folder `target`, and return its recipe.

    `chat_format`: instead of the source's own prompt. `dtype`: what the backbone computes in; files keep the precision of
    the source. `target` appears complete or not at all. Raises `CheckpointError` for a source that is incomplete or holds
    what our parts do not compute, or if there is something at `target`; `AssetError` if the Hub cannot give it.
    """
    if target.exists():
        raise CheckpointError(f"{target}: is there already; give a folder that is not")
    folder = _folder(source)
    config = transformers_config(folder, None, "import")
    if config.model_type not in LAYOUTS:
        hint = nearest(config.model_type, LAYOUTS)
        raise CheckpointError(f"{source}: is of model_type '{config.model_type}', which import does not read{hint}")
    _require(source, "quantization_config", getattr(config, "quantization_config", None), None)
    cls, recipe, take = LAYOUTS[config.model_type]
    made = {"model": recipe(source, folder, config, chat_format, dtype)}
    with torch.device("meta"):  # the shape of every part; the weights are the source's
        composition = Composition.from_recipe(made)
    with torch.no_grad():
        take(composition, _loaded(cls, source, folder))
    about = {"source": source, "model_type": config.model_type, "ignored": _ignored(folder)}
    composition.about = {"imported": about}
    composition.save(target, link=False)
    return composition.recipe.model_dump()


def _llava(source: str, folder: str, config: Any, chat_format: str | None, dtype: str) -> dict[str, Any]:
    """LLaVA and what has its layout: vision tower, two linear layers, causal LLM."""
    vision, layer = config.vision_config, config.vision_feature_layer
    whole = config.vision_feature_select_strategy == "full"
    _require(source, "text_config.model_type", config.text_config.model_type, "llama", "mistral", "qwen2")
    _require(source, "vision_config.model_type", vision.model_type, "clip_vision_model", "siglip_vision_model")
    _require(source, "projector_hidden_act", config.projector_hidden_act, "gelu")
    _require(source, "multimodal_projector_bias", config.multimodal_projector_bias, True)
    if not isinstance(layer, int):
        raise CheckpointError(f"{source}: vision_feature_layer is {layer}, and the encoder reads one layer")
    clip = vision.model_type == "clip_vision_model"
    if not clip:  # without a class token, "default" drops a patch
        _require(source, "vision_feature_select_strategy", config.vision_feature_select_strategy, "full")
    config.text_config.tie_word_embeddings = config.tie_word_embeddings  # the whole's own word on its head
    return {
        "backbone": _backbone(folder, config.text_config, chat_format or _chat_format(source, folder), dtype),
        "inputs": {
            "image": {
                "encoder": {
                    **_encoder(folder, vision),
                    "layer": layer if layer < 0 else layer - vision.num_hidden_layers - 1,
                    "class_token": clip and whole,
                },
                "projector": {"kind": "mlp", "depth": 2},
            }
        },
    }


def _take_llava(composition: Composition, model: Any) -> None:
    backbone, image = composition.model.backbone, composition.model.modalities["image"]
    setattr(backbone.lm, backbone.lm.base_model_prefix, model.model.language_model)
    backbone.lm.set_output_embeddings(model.lm_head)
    image.encoder.network = model.model.vision_tower
    joined = model.model.multi_modal_projector
    image.projector.layers = nn.ModuleList([joined.linear_1, joined.linear_2])


def _blip_2(source: str, folder: str, config: Any, chat_format: str | None, dtype: str) -> dict[str, Any]:
    """BLIP-2: the queries stand first, then what begins a text, then the text as it is."""
    _require(source, "text_config.model_type", config.text_config.model_type, "opt", "t5")
    bridge = config.qformer_config
    sizes = {
        "queries": config.num_query_tokens,
        "depth": bridge.num_hidden_layers,
        "hidden": bridge.hidden_size,
        "heads": bridge.num_attention_heads,
        "every": bridge.cross_attention_frequency,
    }
    _require(source, "qformer_config.intermediate_size", bridge.intermediate_size, 4 * bridge.hidden_size)
    for key, value in {"hidden_act": "gelu", "layer_norm_eps": 1e-12, "use_qformer_text_input": False}.items():
        _require(source, f"qformer_config.{key}", getattr(bridge, key), value)
    return {
        "backbone": _backbone(folder, config.text_config, chat_format or "raw", dtype),
        "inputs": {
            "image": {
                "encoder": {**_encoder(folder, config.vision_config), "class_token": True},
                "projector": {"kind": "q-former", **sizes},
                "after": _beginning(folder),
            }
        },
    }


def _take_blip_2(composition: Composition, model: Any) -> None:
    backbone, image = composition.model.backbone, composition.model.modalities["image"]
    backbone.lm = model.language_model
    # OPT of BLIP-2 ends what it says with a newline, which its config says and its tokenizer does not.
    end = model.config.text_config.eos_token_id
    if isinstance(end, int) and end != backbone.tokenizer.eos_token_id:
        backbone.tokenizer.eos_token = backbone.tokenizer.convert_ids_to_tokens(end)
    image.encoder.network = model.vision_model
    image.projector.queries = nn.Parameter(model.query_tokens[0])
    image.projector.q_former = model.qformer
    image.projector.leave = model.language_projection


# model_type -> transformers' class, the recipe of its parts, and what moves its weights into them
LAYOUTS: dict[str, tuple[str, Callable[..., dict[str, Any]], Callable[[Composition, Any], None]]] = {
    "llava": ("LlavaForConditionalGeneration", _llava, _take_llava),
    "blip-2": ("Blip2ForConditionalGeneration", _blip_2, _take_blip_2),
}


def _folder(source: str) -> str:
    """The folder of a source; a Hub id is fetched into the Hub cache. Raises `AssetError` and `CheckpointError`."""
    from huggingface_hub import snapshot_download

    folder = locate(source)
    if not Path(folder).is_dir():
        try:
            folder = snapshot_download(source, allow_patterns=FILES)
        except (OSError, ValueError) as error:
            said = " ".join(str(error).split())
            raise AssetError(f"{source}: no folder here, and the Hub did not give it: {said}") from error
    if not [*Path(folder).glob("*.safetensors")]:
        way = "save it again with transformers' save_pretrained, which writes them"
        raise CheckpointError(f"{source}: has no *.safetensors (a pickle, *.bin, can run code and is not read): {way}")
    return folder


def _loaded(name: str, source: str, folder: str) -> Any:
    """The model, each of whose tensors is the source's. Raises `CheckpointError` naming the first that is not."""
    import transformers

    cls = getattr(transformers, name)
    strict = {"output_loading_info": True, "ignore_mismatched_sizes": True, "use_safetensors": True}
    try:
        model, info = pretrained(cls, folder, "import", dtype="auto", **strict)
    except RecipeError as error:
        raise CheckpointError(str(error)) from error
    found = {
        "missing": info["missing_keys"],
        "of no part": info["unexpected_keys"],
        "misshapen": [key for key, *_ in info["mismatched_keys"]],
    }
    for problem, names in found.items():
        if names:
            raise CheckpointError(f"{source}: tensor '{min(names)}' is {problem} ({len(names)} in all)")
    return model


def _ignored(folder: str) -> dict[str, str]:
    """{tensor of the files: why it is not read}."""
    from safetensors import safe_open

    names: list[str] = []
    for file in sorted(Path(folder).glob("*.safetensors")):
        with safe_open(file, "pt") as tensors:
            names += tensors.keys()
    return {name: why for name in names for pattern, why in IGNORED.items() if re.search(pattern, name)}


def _require(source: str, key: str, value: Any, *allowed: Any) -> None:
    if value not in allowed:
        known = " or ".join(map(str, allowed))
        raise CheckpointError(f"{source}: {key} is {value}, and what is built and tested here has {known}")


def _backbone(folder: str, text_config: Any, chat_format: str, dtype: str) -> dict[str, Any]:
    return {"config": text_config.to_dict(), "tokenizer": folder, "chat_format": chat_format, "dtype": dtype}


def _encoder(folder: str, vision: Any) -> dict[str, Any]:
    import transformers

    processor = pretrained(transformers.AutoImageProcessor, folder, "import: image processor of")
    return {"kind": "vision", "config": vision.to_dict(), "preprocessor": processor.to_dict()}


def _beginning(folder: str) -> str:
    """The token that a tokenizer begins a text with: "" for none."""
    import transformers

    tokenizer = pretrained(transformers.AutoTokenizer, folder, "import: tokenizer of")
    begins = tokenizer("a")["input_ids"][:1] == [tokenizer.bos_token_id]
    return tokenizer.bos_token if begins else ""


def _chat_format(source: str, folder: str) -> str:
    """The name of the format that writes a question about a picture as the source's own processor does. Raises
    `CheckpointError` if none does."""
    import transformers

    processor = pretrained(transformers.AutoProcessor, folder, "import: processor of")
    turn = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": QUESTION}]}
    wanted = LLAVA_PROMPT.format(QUESTION)
    if processor.chat_template:
        wanted = processor.apply_chat_template([turn], add_generation_prompt=True)
    bos, mark = processor.tokenizer.bos_token or "", getattr(processor, "image_token", "<image>")
    for name in FORMATS:
        pieces = ChatFormat(processor.tokenizer, name).pieces([from_user(Part("image", media=b""), text(QUESTION))], True)
        written = "".join(mark + "\n" if piece.part and piece.part.type == "image" else piece.text for piece in pieces)
        if written.removeprefix(bos) == wanted.removeprefix(bos):
            return name
    raise CheckpointError(f"{source}: asks {wanted!r}, which no chat format here writes; choose one with --chat-format")
