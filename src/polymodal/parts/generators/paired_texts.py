"""The two text encoders of Stable Diffusion XL (arXiv 2307.01952). Decides that the second condition of its network, one
vector that sums a caption up, is the last vector of the first: so a projector makes both, and is aligned to both.

    [S, Q - 1, Dg]  the states of both before their last layer, side by side    [S, 1, Dg]  the sum, and zeros behind it
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from polymodal.errors import RecipeError
from polymodal.parts.generators.text_conditions import TextConditions
from polymodal.parts.sources import load_strictly, pretrained, transformers_config

SIZES = 6  # that the network is told of a picture: its height and width as it was, where it was cut, and as it is


class PairedTexts(TextConditions):
    """`path`: a folder or Hub id in the layout of diffusers (`text_encoder`, `text_encoder_2` and their tokenizers); or
    `config`: of both, dicts without `model_type`, for random weights that read bytes. `positions`: Q. `zeros`: nothing is
    told as zeros, not as what they make of an empty caption."""

    def __init__(
        self,
        path: str | None = None,
        positions: int = 78,
        config: list[dict[str, Any]] | None = None,
        zeros: bool = True,
    ) -> None:
        if positions < 2 or (config is not None and len(config) != 2):
            raise RecipeError("conditions of kind 'paired-texts' are two encoders, and 'positions' at least 2")
        super().__init__(path, positions, config=None if config is None else {"of": config})
        self.zeros = zeros

    @property
    def width(self) -> int:
        return sum(settings.hidden_size for settings in self._both)

    def _read(self, captions: list[str]) -> Tensor:
        states, told = [], torch.empty(0)
        for tokenizer, network in self._parts:
            length = min(self.positions - 1, tokenizer.model_max_length)
            batch = tokenizer(captions, padding="max_length", truncation=True, max_length=length, return_tensors="pt")
            with torch.no_grad():
                out = network(input_ids=batch["input_ids"], output_hidden_states=True)
            states.append(functional.pad(out.hidden_states[-2], (0, 0, 0, self.positions - 1 - length)))
            told = out.get("text_embeds", told)
        return torch.cat([torch.cat(states, -1), functional.pad(told[:, None], (0, self.width - told.shape[-1]))], 1)

    @cached_property
    def _both(self) -> list[Any]:
        if self.config is not None:
            own = ({"model_type": "clip_text_model", **each} for each in self.config["of"])
            return [transformers_config(None, each, "conditions") for each in own]
        import transformers

        of, where = (transformers.AutoConfig, self.path or "", "conditions.path"), ("text_encoder", "text_encoder_2")
        return [getattr(s, "text_config", s) for s in (pretrained(*of, subfolder=name) for name in where)]

    @cached_property
    def _parts(self) -> Any:
        """Of both, the tokenizer and the frozen network."""
        import transformers

        classes: tuple[Any, Any] = (transformers.CLIPTextModel, transformers.CLIPTextModelWithProjection)
        found = []
        for cls, settings, end in zip(classes, self._both, ("", "_2"), strict=True):
            if self.path is None:
                with torch.random.fork_rng(devices=[]):  # as one encoder is built (`TextConditions`)
                    torch.manual_seed(0)
                    parts: tuple[Any, Any] = transformers.ByT5Tokenizer(), cls(settings)
            else:
                tokenizer = pretrained(
                    transformers.AutoTokenizer, self.path, "conditions.path", subfolder=f"tokenizer{end}"
                )
                parts = (
                    tokenizer,
                    load_strictly(cls, self.path, "conditions", config=settings, subfolder=f"text_encoder{end}"),
                )
            found.append((parts[0], parts[1].eval().requires_grad_(False)))
        return found


def sums(network: Any) -> int:
    """The width of the vector that a network of this family is told beside what it looks at; 0 of others."""
    if network.config.get("addition_embed_type") != "text_time":
        return 0
    return network.config.projection_class_embeddings_input_dim - SIZES * network.config.addition_time_embed_dim


def told(condition: Tensor, width: int, size: tuple[int, int]) -> dict[str, Any]:
    """[S, Q, Dg] -> what the network takes; `width` of the sum. The picture is told to be whole, `size` [height, width]."""
    sizes = condition.new_tensor([*size, 0, 0, *size]).expand(len(condition), -1)
    more = {"text_embeds": condition[:, -1, :width], "time_ids": sizes}
    return {"encoder_hidden_states": condition[:, :-1], "added_cond_kwargs": more}
