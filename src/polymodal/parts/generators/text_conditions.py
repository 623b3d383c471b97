"""The text encoder that a generator was trained with. Decides that it stands beside the generator and not in it: projectors
are aligned to what it makes of captions, and nothing needs it once they are.

It is loaded when the first caption is read, it never learns, and it is no part of any state: a generator is loaded,
trained by media and used without it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from polymodal.errors import RecipeError
from polymodal.parts.sources import load_strictly, pretrained, transformers_config

KEPT = 40_000  # captions whose states are remembered: half a gigabyte of MiniLM's, at nine tokens each
LONGEST = 128  # tokens of a caption of which one vector is made
# CLIP's states behind the end of a text mean something to what was trained on them: Stable Diffusion masks none of them.
_UNMASKED = ("clip_text_model",)
_CLIP = {r"^text_model\.": ""}  # where whole models, and files of older transformers, keep the tower


class TextConditions:
    """Captions -> the last states of a transformers text encoder (CLIP, BERT and MiniLM, RoBERTa, T5, CLAP).

    `path`: a Hub id, folder or `asset:` with the tokenizer beside the weights, or, with `pipeline`, one in the layout of
    diffusers (`text_encoder`, `tokenizer`). `config`: a dict with `model_type`, for random weights that read bytes.
    `positions`: Q, the tokens that a caption is cut or filled up to. `pooled`: one vector for a caption, of unit length
    (`positions` is 1): CLAP's and CLIP's own, of others the mean over the tokens, as sentence-transformers has it.
    """

    def __init__(
        self,
        path: str | None = None,
        positions: int = 1,
        pooled: bool = False,
        config: dict[str, Any] | None = None,
        pipeline: bool = False,
    ) -> None:
        if positions < 1 or (pooled and positions != 1):
            raise RecipeError(f"conditions.positions must be {'1 if they are pooled' if pooled else 'at least 1'}")
        if (path is None) == (config is None):
            raise RecipeError("conditions need either 'path' (pretrained) or 'config' (random weights), and not both")
        self.path, self.positions, self.pooled, self.config, self.pipeline = path, positions, pooled, config, pipeline
        self._kept: dict[str, Tensor] = {}  # captions come again in every epoch

    def __call__(self, captions: Sequence[str]) -> Tensor:
        """S captions -> float32 [S, positions, width]. Padding is zero, but for CLIP's, which keeps its states."""
        rows = [self._row(caption) for caption in captions]
        return torch.stack(rows) if rows else torch.zeros(0, self.positions, self.width)

    def _row(self, caption: str) -> Tensor:
        """[positions, width]. Read alone: what a caption is read as depends neither on what else is in a batch nor on what
        a run had read before it was broken off."""
        if caption not in self._kept:
            if len(self._kept) >= KEPT:
                del self._kept[next(iter(self._kept))]
            row = self._read([caption])[0]
            said = row.any(-1).nonzero()
            self._kept[caption] = row[: int(said.max()) + 1 if len(said) else 0].clone()  # without the padding's zeros
        row = self._kept[caption]
        return functional.pad(row, (0, 0, 0, self.positions - len(row)))

    @property
    def width(self) -> int:
        """Dg. Reads the encoder's config, not its weights."""
        settings = self._settings
        return settings.projection_dim if self._claps and self.pooled else settings.hidden_size

    def _read(self, captions: list[str]) -> Tensor:
        tokenizer, network = self._parts
        length = min(LONGEST if self.pooled else self.positions, tokenizer.model_max_length)
        fill = True if self.pooled else "max_length"
        batch = tokenizer(captions, padding=fill, truncation=True, max_length=length, return_tensors="pt")
        ids, mask = batch["input_ids"], batch["attention_mask"]
        unmasked = self._settings.model_type in _UNMASKED and not self.pooled
        with torch.no_grad():
            out = network(input_ids=ids, **({} if unmasked else {"attention_mask": mask}))
        if not self.pooled:
            states = out.last_hidden_state
            states = states if unmasked else states * mask[..., None]
            return functional.pad(states, (0, 0, 0, self.positions - states.shape[1]))
        if self._claps:
            vector = out.text_embeds
        elif self._settings.model_type in _UNMASKED:
            vector = out.pooler_output
        else:
            vector = (out.last_hidden_state * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        return functional.normalize(vector, dim=-1)[:, None]

    @cached_property
    def _settings(self) -> Any:
        if self.config is not None or not self.pipeline:
            settings = transformers_config(self.path, self.config, "conditions")
        else:
            import transformers

            settings = pretrained(transformers.AutoConfig, self.path or "", "conditions.path", subfolder="text_encoder")
        return getattr(settings, "text_config", settings)  # of a whole CLIP or CLAP, its tower for text

    @property
    def _claps(self) -> bool:
        return self._settings.model_type == "clap_text_model"

    @cached_property
    def _parts(self) -> tuple[Any, nn.Module]:
        """The tokenizer and the frozen network."""
        import transformers

        settings = self._settings
        try:
            cls: Any = (
                transformers.ClapTextModelWithProjection
                if self._claps
                else transformers.MODEL_FOR_TEXT_ENCODING_MAPPING[type(settings)]
            )
        except KeyError as error:
            raise RecipeError(f"conditions: '{settings.model_type}' is no text encoder that transformers knows") from error
        if self.path is None:
            with torch.random.fork_rng(devices=[]):  # when it is read first must not change what else is random
                torch.manual_seed(0)
                return transformers.ByT5Tokenizer(), cls(settings).eval().requires_grad_(False)
        place = {"subfolder": "text_encoder"} if self.pipeline else {}
        mapping = {"key_mapping": _CLIP} if settings.model_type in _UNMASKED else {}
        network = load_strictly(cls, self.path, "conditions", config=settings, **place, **mapping)
        place = {"subfolder": "tokenizer"} if self.pipeline else {}
        tokenizer = pretrained(transformers.AutoTokenizer, self.path, "conditions.path", **place)
        return tokenizer, network.eval().requires_grad_(False)
