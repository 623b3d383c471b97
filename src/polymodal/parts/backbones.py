"""LLM backbones: any causal or seq2seq transformers model, behind five methods. Decides how the rest of the house talks
to a backbone, so that no family (OPT, T5, Gemma, Mamba ...) is a special case anywhere else.

`head(hidden)` turns chosen hidden states into logits through the family's *own* head (softcap, scale, bias, tied
weights included). It is the model class itself with its decoder replaced by one that returns what it is given: exact
for every family, and logits are computed only where they are needed.
"""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn

from polymodal.errors import RecipeError
from polymodal.parts import blockwise, language_models, peft, prefix
from polymodal.parts.sources import load_strictly, pretrained, transformers_config

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class Backbone(nn.Module):
    """A transformers LLM and its tokenizer.

    `path` (Hub id, folder, `asset:`) or `config` (random weights; needs `tokenizer`, whose size it takes). `chat_format`:
    a name from `model.chat_format.FORMATS`; absent, the tokenizer's own template, or `plain` if it has none.
    Attributes: `lm`, `tokenizer`, `seq2seq`, `width` (D), `closing` (the token that ends a prompt, whatever the tokenizer
    does: GLM's [gMASK]; None for every other family).
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

        language_models.register()
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
        self.closing: int | None = getattr(settings, "gmask_token_id", None) if self.seq2seq else None
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
        self.takes_positions = "position_ids" in inspect.signature(self.lm.base_model.forward).parameters

    @property
    def layers(self) -> list[nn.Module]:
        """The layers of the model, in their order."""
        return list(self._layers().values())

    @property
    def stack(self) -> nn.Module:
        """The module that runs the layers: not always the base model, which OPT's head passes over."""
        return self.lm.get_submodule(next(iter(self._layers())).rsplit(".", 2)[0])

    def _layers(self) -> dict[str, nn.Module]:
        from transformers.modeling_layers import GradientCheckpointingLayer

        every = peft.named_modules(self.lm)  # by names that an adapter around a layer does not change
        return {name: m for name, m in every if isinstance(peft.base(m), GradientCheckpointingLayer)}

    def ids(self, text: str) -> list[int]:
        """The tokens of a text that stands in the middle of a conversation."""
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    def embed(self, ids: Tensor) -> Tensor:
        """Token ids [...] -> embeddings [..., D], scaled as the family does it."""
        return self.lm.get_input_embeddings()(ids)

    def hidden(
        self,
        embeds: Tensor,
        mask: Tensor,
        target: Tensor | None = None,
        positions: Tensor | None = None,
        start: Tensor | None = None,
        blocks: Tensor | None = None,
    ) -> Tensor:
        """Last hidden states. Causal: [B, T, D] of `embeds` [B, T, D]; `positions` [B, T] of packed rows begin at 0 where
        an example does and are 0 at padding. Seq2seq: of the decoder fed `target` [B, U], shifted right: position u holds
        the state that predicts token u: `target` of token ids. `start` [1, P, D]: what every row begins with, run once.
        `blocks` [B, T]: positions of one number (not -1) see one another, as well as what is before them."""
        if blocks is not None:
            return blockwise.hidden(self.lm, embeds, mask, _positions(mask) if positions is None else positions, blocks)
        if positions is not None:
            return self._packed(embeds, positions, self.packing)
        if self.seq2seq:
            encoded = self.lm.get_encoder()(inputs_embeds=embeds, attention_mask=mask).last_hidden_state
            shifted = self.lm.prepare_decoder_input_ids_from_labels(labels=target)
            return self.lm.get_decoder()(
                input_ids=shifted, encoder_hidden_states=encoded, encoder_attention_mask=mask, use_cache=False
            )[0]
        if start is not None and self.shares_prefix and not self.lm.is_activation_checkpointing:  # which allows no cache
            return prefix.hidden(self.lm, start, embeds, mask, _positions(mask))
        places = {"position_ids": _positions(mask)} if self.takes_positions else {}
        return self.lm.base_model(inputs_embeds=embeds, attention_mask=mask, use_cache=False, **places)[0]

    @functools.cached_property
    def shares_prefix(self) -> bool:
        with _aside(self.lm):
            return self.takes_positions and not self.seq2seq and prefix.possible(self.lm)

    @functools.cached_property
    def packing(self) -> Literal["positions", "mask"]:
        """How examples that share a row are kept apart: by `positions` alone, of which transformers makes each layer's own
        mask (windows included), or by a `mask` where a family makes its mask without looking at them (OPT).

        Tried out on a few positions rather than looked up by family. Raises `RecipeError` if examples would leak into one
        another: state-space and seq2seq models, positions that cannot restart (ALiBi).
        """
        ways: tuple[Literal["positions", "mask"], ...] = ("positions",)
        if getattr(self.lm.config, "sliding_window", None) is None:  # one mask for all layers would open the windows
            ways += ("mask",)
        for way in ways if self.takes_positions and not self.seq2seq else ():
            with _aside(self.lm):
                if self._keeps_apart(way):
                    return way
        kind = self.lm.config.model_type
        raise RecipeError(f"packing is not exact with a '{kind}' backbone, whose examples would mix: remove 'packing'")

    def _keeps_apart(self, way: Literal["positions", "mask"]) -> bool:
        """Whether the states of packed examples are those of the examples alone, to rounding."""
        table = self.lm.get_input_embeddings()
        ids = torch.randint(table.num_embeddings, (1, 12), generator=torch.Generator().manual_seed(0)).to(self.lm.device)
        places = torch.tensor([[*range(5), *range(7)]], device=self.lm.device)
        together = self._packed(table(ids), places, way)
        alone = [self.hidden(table(part), torch.ones_like(part)) for part in (ids[:, :5], ids[:, 5:])]
        expected = torch.cat(alone, 1)
        return bool((together - expected).abs().max() <= torch.finfo(expected.dtype).eps ** 0.5 * expected.abs().max())

    def _packed(self, embeds: Tensor, positions: Tensor, way: Literal["positions", "mask"]) -> Tensor:
        """Hidden states of rows of several examples. Without a cache and without a padding mask: with either, transformers
        does not look for examples in the positions, and they leak into one another silently."""
        mask = None
        if way == "mask":
            from transformers.masking_utils import create_causal_mask

            mask = create_causal_mask(self.lm.config, embeds, None, past_key_values=None, position_ids=positions)
        return self.lm.base_model(inputs_embeds=embeds, attention_mask=mask, use_cache=False, position_ids=positions)[0]

    @functools.cached_property
    def sees_blocks(self) -> bool:
        """Whether positions of a span can see one another and nothing else that is behind them: tried out."""
        with _aside(self.lm):
            return self.takes_positions and not self.seq2seq and blockwise.possible(self.lm)

    @contextmanager
    def watching(self, layers: Collection[int]) -> Iterator[dict[int, Tensor]]:
        """Inside, what the layers of these numbers put out last is kept: {number: [B, T, D]}."""
        kept: dict[int, Tensor] = {}

        def keep(number: int) -> Callable[..., None]:
            def hook(module: nn.Module, args: Any, out: Any) -> None:
                kept[number] = out if isinstance(out, Tensor) else out[0]

            return hook

        handles = [self.layers[number].register_forward_hook(keep(number)) for number in layers]
        try:
            yield kept
        finally:
            for handle in handles:
                handle.remove()

    def checkpoint(self, on: bool) -> None:
        """Keep only the states between layers for the backward pass and compute the rest again, or stop doing so.

        By transformers' own switch, whose layers look at it only in training mode. A frozen backbone runs in inference mode
        (no dropout), and gradients still pass through it to a projector: its layers look as if they trained, and run as if
        not. Turn it on after `train` or `eval`, and off before: off, the whole backbone is in the mode that `lm` is in.
        Raises `RecipeError` for a family without the switch.
        """
        from transformers.modeling_layers import GradientCheckpointingLayer

        if not on:
            if self.lm.is_activation_checkpointing:
                self.lm.activation_checkpointing_disable()
                self.lm.train(self.lm.training)
            return
        if not self.lm.supports_gradient_checkpointing:
            kind = self.lm.config.model_type
            raise RecipeError(f"a '{kind}' backbone has no gradient checkpointing: remove 'checkpointing'")
        self.lm.activation_checkpointing_enable({"use_reentrant": False})
        self.lm.disable_input_require_grads()  # only the reentrant kind needs embeddings that ask for a gradient
        for layer in self.lm.modules():
            if isinstance(layer, GradientCheckpointingLayer) and not layer.training:
                switch: Any = layer
                layer.training = True
                switch._gradient_checkpointing_func = functools.partial(
                    _in_inference, layer, switch._gradient_checkpointing_func
                )

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


@contextmanager
def _aside(lm: Any) -> Iterator[None]:
    """To try something out in the middle of anything: inference in the precision of the weights, after which every module
    is in the mode it was in. They need not be in one mode: frozen layers, adapters that learn, layers that only pose."""
    modes = [(module, module.training) for module in lm.modules()]
    with torch.no_grad(), torch.autocast(lm.device.type, enabled=False):
        lm.eval()
        try:
            yield
        finally:
            for module, mode in modes:
                module.training = mode


def _in_inference(layer: nn.Module, checkpoint: Callable[..., Any], run: Callable[..., Any], *args: Any) -> Any:
    """A checkpointed layer that runs, and runs again in the backward pass, without dropout of its own."""

    def still(*args: Any) -> Any:
        layer.training = False
        try:
            return run(*args)
        finally:
            layer.training = True

    return checkpoint(still, *args)


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


def _positions(mask: Tensor) -> Tensor:
    """Position of each token [B, T], counted over real tokens: left padding does not shift them."""
    return (mask.long().cumsum(-1) - 1).clamp(min=0)
