"""What AudioLDM 2 is told (arXiv 2308.05734): T5's states of a caption, and what a GPT-2 goes on with behind it as CLAP and
T5 read it. Decides that both are one condition, GPT-2's few vectors and then T5's, each with zeros up to one width.

How a caption is read is diffusers' own (`AudioLDM2Pipeline.encode_prompt`); all else of that pipeline stays unused.
"""

from __future__ import annotations

import inspect
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from polymodal.errors import RecipeError
from polymodal.parts.generators import networks
from polymodal.parts.generators.text_conditions import TextConditions
from polymodal.parts.sources import load_strictly, pretrained


class GeneratedTexts(TextConditions):
    """`path`: a folder or Hub id of AudioLDM 2 in the layout of diffusers; without it no caption can be read. `positions`:
    Q, of which GPT-2 makes the `first`; a caption is cut to the others. Raises `RecipeError` for its variant that reads
    phonemes."""

    def __init__(self, path: str | None = None, positions: int = 72, first: int = 8) -> None:
        if not 0 < first < positions:
            raise RecipeError(f"conditions.first is {first}, of {positions} positions")
        super().__init__(path or "", positions)
        self.first = first

    @property
    def width(self) -> int:
        settings = [self._config(name) for name in ("text_encoder_2", "language_model")]
        if settings[0].model_type != "t5":
            raise RecipeError(
                f"conditions.path '{self.path}': its second text encoder is no T5, but {settings[0].model_type}"
            )
        return max(settings[0].d_model, settings[1].hidden_size)

    def _config(self, name: str) -> Any:
        import transformers

        if not self.path:
            raise RecipeError("conditions.path is not given, so that no caption can be read")
        return pretrained(transformers.AutoConfig, self.path, "conditions.path", subfolder=name)

    def _read(self, captions: list[str]) -> Tensor:
        pipeline: Any = self._parts
        with torch.no_grad():
            told, _, made = pipeline.encode_prompt(captions, "cpu", 1, False, max_new_tokens=self.first)
        told, made = (functional.pad(each, (0, self.width - each.shape[-1])) for each in (told, made))
        return functional.pad(torch.cat([made, told], 1), (0, 0, 0, self.positions - self.first - told.shape[1]))

    @cached_property
    def _parts(self) -> Any:
        """diffusers' pipeline, as far as it reads captions."""
        import diffusers
        import transformers

        path, role = self.path or "", "conditions.path"
        kinds: dict[str, Any] = {"text_encoder": transformers.ClapModel, "text_encoder_2": transformers.T5EncoderModel}
        kinds |= {"language_model": transformers.GPT2LMHeadModel}
        parts: dict[str, Any] = {
            name: load_strictly(cls, path, "conditions", subfolder=name).eval().requires_grad_(False)
            for name, cls in kinds.items()
        }
        projection = networks.pretrained(path, "projection_model", "diffusers", "AudioLDM2ProjectionModel")
        parts["projection_model"] = projection.eval().requires_grad_(False)
        for name in ("tokenizer", "tokenizer_2"):
            parts[name] = pretrained(transformers.AutoTokenizer, path, role, subfolder=name)
        parts["tokenizer_2"].model_max_length = self.positions - self.first
        rest = dict.fromkeys(("vae", "unet", "scheduler", "vocoder", "feature_extractor"))
        return diffusers.AudioLDM2Pipeline(**parts, **rest)


def widths(network: Any) -> tuple[int, int] | None:
    """Of the two sequences that a network of this family looks at; None of others."""
    levels = network.config.get("cross_attention_dim")
    if "encoder_hidden_states_1" not in inspect.signature(network.forward).parameters or isinstance(levels, int):
        return None
    _, first, second = levels[0]
    return first, second


def told(condition: Tensor, first: int, widths: tuple[int, int]) -> dict[str, Tensor]:
    """[S, Q, Dg] -> what the network takes: what is zeros it does not look at."""
    made, rest = condition[:, :first, : widths[0]], condition[:, first:, : widths[1]]
    return {
        "encoder_hidden_states": made,
        "encoder_hidden_states_1": rest,
        "encoder_attention_mask_1": rest.detach().any(-1),
    }
