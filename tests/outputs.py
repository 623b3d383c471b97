"""Tiny outputs of every family, for tests: random weights, pictures of 8 x 8 pixels."""

from __future__ import annotations

from typing import Any

import torch

from polymodal.content import Part, assistant, user
from polymodal.model.composition import Composition
from polymodal.model.sequence import Example, collate
from tests.conftest import LLAMA, picture

BERT = {"model_type": "bert", "hidden_size": 12, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
UNET = {
    **{"sample_size": 8, "in_channels": 3, "out_channels": 3, "block_out_channels": [8, 16], "layers_per_block": 1},
    **{"norm_num_groups": 4, "cross_attention_dim": 12, "attention_head_dim": 4},
    "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
}
DIFFUSION = {
    "kind": "diffusion",
    "config": {"unet": UNET, "scheduler": {"_class_name": "FlowMatchEulerDiscreteScheduler"}},
    "conditions": {"positions": 5, "config": {**BERT, "vocab_size": 384}},
    "steps": 2,
}
FSQ = {"kind": "fsq", "size": 8, "levels": [3, 3], "channels": [8, 8], "groups": 4}
TINY = {"kind": "transformer", "hidden": 16, "inner": 32, "encoder_layers": 1, "decoder_layers": 1}
SIGNALS = {"span": {"kind": "signals", "tokens": 3}, "projector": TINY, "generator": DIFFUSION}
FAMILIES: dict[str, dict[str, Any]] = {
    "signals": SIGNALS,
    "signals, predicting": {**SIGNALS, "tap": {"where": "predicting", "add_inputs": True}},
    "signals, said, of a layer": {**SIGNALS, "span": {"kind": "signals", "tokens": 3, "said": True}, "tap": {"layer": 0}},
    "codes": {"span": {"kind": "codes"}, "generator": FSQ},
    "codes, guided": {"span": {"kind": "codes", "guidance": 2.0}, "generator": FSQ},
    "masked": {"span": {"kind": "masked", "steps": 3}, "generator": FSQ},
    "latents": {"span": {"kind": "latents", "steps": 3}, "generator": {"kind": "patches", "size": 8, "patch": 4}},
}
OBJECTIVES = {"signals": ("condition", "diffusion", "contrast", "regression"), "codes": (), "masked": ("masked",)}
OBJECTIVES["latents"] = ("flow",)


def with_output(tiny_recipe: Any, family: str, config: dict[str, Any] = LLAMA, seen: bool = False) -> dict[str, Any]:
    """The recipe of a tiny model with an output `image` of this family. Of a seq2seq backbone, the tokenizer's own
    format."""
    recipe = tiny_recipe(config=config, chat_format=None if config["model_type"] == "t5" else "chatml")
    recipe["model"]["outputs"] = {"image": {**FAMILIES[family], "seen": seen}}
    return recipe


def eager(composition: Composition) -> Composition:
    """A model that opens a span when it is asked to "draw a cat", at once, and says what else it says."""
    example = composition.processor.encode([user("draw a cat")], generate=True)
    with torch.no_grad():
        state = last_state(composition, example)
        for design in composition.model.designs.values():
            design.tokens.head[0] = 100 * state / state.norm()
    return composition


def last_state(composition: Composition, example: Example) -> torch.Tensor:
    """The state [D] that the first token of the answer is said by."""
    batch, backbone = collate([example], 0), composition.model.backbone
    target = torch.tensor([composition.processor.stop_ids[:1]])
    return backbone.hidden(composition.model.embed(batch), batch.mask, target if backbone.seq2seq else None)[0, -1]


def drawing(seed: int = 0, caption: str = "a red cat") -> list[Any]:
    made = Part("image", media=picture(seed, (8, 8)), caption=caption)
    return [user("draw ", caption), assistant("here: ", made, " it is")]
