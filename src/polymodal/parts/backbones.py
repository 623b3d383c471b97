"""LLM backbones: any causal or seq2seq transformers model, behind five methods. Decides how the rest of the house talks
to a backbone, so that no family (OPT, T5, Gemma, Mamba ...) is a special case anywhere else.

`head(hidden)` turns chosen hidden states into logits through the family's *own* head (softcap, scale, bias, tied
weights included). It is the model class itself with its decoder replaced by one that returns what it is given: exact
for every family, and logits are computed only where they are needed.
"""

from __future__ import annotations

import copy
import inspect
from typing import Any, Literal

import torch
from torch import Tensor, nn

from polymodal.errors import RecipeError
from polymodal.parts.sources import load_strictly, pretrained, transformers_config

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class Backbone(nn.Module):
    """A transformers LLM and its tokenizer.

    `path` (Hub id, folder, `asset:`) or `config` (random weights; needs `tokenizer`, whose size it takes). `chat_format`:
    a name from `model.chat_format.FORMATS`; absent, the tokenizer's own template, or `plain` if it has none.
    Attributes: `lm`, `tokenizer`, `seq2seq`, `width` (D).
    """

    def __init__(
        self,
        path: str | None = None,
        config: dict[str, Any] | None = None,
        tokenizer: str | None = None,
        chat_format: str | None = None,
        dtype: Literal["float32", "bfloat16", "float16"] = "float32",
    ) -> None:
        super().__init__()
        import transformers

        source = tokenizer or path
        if source is None:
            raise RecipeError("backbone.config needs a 'tokenizer' (asset:NAME, a Hub id or a folder)")
        self.tokenizer = pretrained(transformers.AutoTokenizer, source, f"backbone.{'tokenizer' if tokenizer else 'path'}")
        if self.tokenizer.pad_token is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token
        if config is not None:
            config = {"vocab_size": len(self.tokenizer), **config}
        settings = transformers_config(path, config, "backbone")
        settings = getattr(settings, "text_config", settings)
        self.seq2seq = bool(settings.is_encoder_decoder)
        auto = transformers.AutoModelForSeq2SeqLM if self.seq2seq else transformers.AutoModelForCausalLM
        if path is not None:
            self.lm = load_strictly(auto, path, "backbone", config=settings, dtype=DTYPES[dtype])
        else:
            try:
                self.lm = auto.from_config(settings).to(DTYPES[dtype])
            except ValueError as error:
                kind = settings.model_type
                raise RecipeError(f"backbone.config: '{kind}' is no language model that transformers knows") from error
        self.options = {"chat_format": chat_format, "dtype": dtype}
        self.chat_format = chat_format
        self.width = self.lm.get_input_embeddings().embedding_dim
        self._positions = "position_ids" in inspect.signature(self.lm.base_model.forward).parameters

    def embed(self, ids: Tensor) -> Tensor:
        """Token ids [...] -> embeddings [..., D], scaled as the family does it."""
        return self.lm.get_input_embeddings()(ids)

    def hidden(self, embeds: Tensor, mask: Tensor, target: Tensor | None = None) -> Tensor:
        """Last hidden states. Causal: [B, T, D] of `embeds` [B, T, D]. Seq2seq: of the decoder fed `target` [B, U],
        shifted right: position u holds the state that predicts token u."""
        if self.seq2seq:
            encoded = self.lm.get_encoder()(inputs_embeds=embeds, attention_mask=mask).last_hidden_state
            shifted = self.lm.prepare_decoder_input_ids_from_labels(labels=target)
            return self.lm.get_decoder()(
                input_ids=shifted, encoder_hidden_states=encoded, encoder_attention_mask=mask, use_cache=False
            )[0]
        places = {"position_ids": positions(mask)} if self._positions else {}
        return self.lm.base_model(inputs_embeds=embeds, attention_mask=mask, use_cache=False, **places)[0]

    def head(self, hidden: Tensor) -> Tensor:
        """Hidden states [S, D] -> logits [S, V], by the family's own head, as one 2-D product."""
        shell = copy.copy(self.lm)  # shares every parameter; only its table of children is its own
        shell._modules = dict(self.lm._modules)
        inner = "decoder" if self.lm.base_model is self.lm else self.lm.base_model_prefix
        shell._modules[inner] = _Passthrough()
        given = hidden[None]
        if not self.seq2seq:
            return shell(inputs_embeds=given, use_cache=False).logits[0]
        return shell(encoder_outputs=(given,), decoder_inputs_embeds=given, use_cache=False).logits[0]


class _Passthrough(nn.Module):
    """Stands where the decoder was and returns the states it is given."""

    @property
    def decoder(self) -> _Passthrough:  # OPT's head calls model.decoder
        return self

    def forward(self, *args: Any, **kwargs: Any) -> _Given:
        given = kwargs.get("decoder_inputs_embeds")
        return _Given(kwargs["inputs_embeds"] if given is None else given)


class _Given:
    """A model output that holds last hidden states and nothing else."""

    def __init__(self, hidden: Tensor) -> None:
        self.last_hidden_state = hidden

    def __getitem__(self, index: int) -> Tensor | None:
        return self.last_hidden_state if index == 0 else None

    def __getattr__(self, name: str) -> None:
        return None


def positions(mask: Tensor) -> Tensor:
    """Position of each token [B, T], counted over real tokens: left padding does not shift them."""
    return (mask.long().cumsum(-1) - 1).clamp(min=0)
