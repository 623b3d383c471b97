"""ChatGLM-6B, the first generation: GLM (arXiv 2103.10360, 2210.02414). One stack of layers reads the prompt in both
directions and then writes the answer from left to right, with the prompt's keys and values before its own:

    rows see columns        prompt  [gMASK]  <bos>  answer        position   0 .. n-1   n-1 (that of [gMASK])
    prompt and [gMASK]         x       x                          block      0 .. 0     1, 2, 3 ...
    <bos> and answer           x       x      causal

Decides that it is a sequence-to-sequence model whose encoder and decoder are one module: the prompt, which ends with
[gMASK], is what the encoder reads, and <bos> is what the decoder starts from. So the house reads a prompt whole before an
answer, prefills again for a new turn and refuses to pack, as before T5, and nothing else knows of this family. What the
encoder hands over is not states but the keys and values of all layers, side by side: the decoder has no attention of its
own for them.

Layers are post-norm with the sum inside: both sums add to what was normalised, times sqrt(2 layers) (DeepNorm, 2203.00555).
Half of each head is rotated by the position and half by the block. The angles are of full precision; the authors' are of
half, and so less exact from a few hundred positions on. *Unverified on real weights*: names and shapes are those of the
authors' code, and their checkpoint was never loaded here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import Cache, DynamicCache, EncoderDecoderCache, GenerationMixin, PreTrainedConfig, PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutputWithPast, Seq2SeqLMOutput
from transformers.models.llama.modeling_llama import rotate_half

# What the authors' config must say, where it says anything, for their network to be this one.
EXPECTED = {"position_encoding_2d": True, "quantization_bit": 0, "pre_seq_len": None, "prefix_projection": False}


@dataclass
class ChatGLM6BConfig(PreTrainedConfig):
    """Of ChatGLM-6B as it is published now, with 130,528 tokens, if nothing else is said. Takes the authors' names of sizes
    and ours. Raises `ValueError` for another network."""

    model_type = "chatglm_6b"
    attribute_map = {
        "num_layers": "num_hidden_layers",
        "inner_hidden_size": "intermediate_size",
        "layernorm_epsilon": "layer_norm_eps",
        "max_sequence_length": "max_position_embeddings",
    }

    vocab_size: int = 130528
    hidden_size: int = 4096
    intermediate_size: int = 16384
    num_hidden_layers: int = 28
    num_attention_heads: int = 32
    max_position_embeddings: int = 2048
    layer_norm_eps: float = 1e-5
    rope_theta: float = 10000.0
    initializer_range: float = 0.02
    use_cache: bool = True
    is_encoder_decoder: bool = True
    tie_word_embeddings: bool = True
    pad_token_id: int | None = 3
    bos_token_id: int | None = 130004
    eos_token_id: int | None = 130005
    gmask_token_id: int = 130001
    decoder_start_token_id: int | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        for name, value in EXPECTED.items():
            if kwargs.pop(name, value) != value:
                raise ValueError(f"a ChatGLM-6B of another '{name}' than {value} cannot be read")
        for theirs, ours in self.attribute_map.items():
            if theirs in kwargs:
                setattr(self, ours, kwargs.pop(theirs))
        if self.hidden_size % (4 * self.num_attention_heads):
            raise ValueError(f"a head of {self.hidden_size} / {self.num_attention_heads} has no four quarters to rotate")
        if self.decoder_start_token_id is None:
            self.decoder_start_token_id = self.bos_token_id
        super().__post_init__(**kwargs)


def rotation(config: ChatGLM6BConfig, places: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines and sines [B, 1, T, 2, head / 2] of places [B, T, 2], each a position and a block."""
    half = config.hidden_size // config.num_attention_heads // 2
    rates = config.rope_theta ** -(torch.arange(0, half, 2, device=places.device) / half)
    angles = (places[..., None] * rates).repeat(1, 1, 1, 2)[:, None]
    return angles.cos(), angles.sin()


class Attention(nn.Module):
    """Keys and values of what is read, behind those that are given."""

    def __init__(self, config: ChatGLM6BConfig, layer: int) -> None:
        super().__init__()
        width = config.hidden_size
        self.layer, self.heads = layer, config.num_attention_heads
        self.query_key_value = nn.Linear(width, 3 * width)
        self.dense = nn.Linear(width, width)

    def forward(
        self, x: Tensor, turn: tuple[Tensor, Tensor], mask: Tensor, prompt: Tensor | None, cache: Cache | None
    ) -> tuple[Tensor, Tensor]:
        """x [B, T, D]; `prompt` [B, S, 2 D], keys and values of this layer; mask [B, 1, 1 or T, S + past + T]: what is
        seen. Returns states [B, T, D], and keys and values [B, T, 2 D] of x."""
        mixed = self.query_key_value(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        query, key, value = mixed.chunk(3, -1)  # head by head: its query, key and value stand side by side
        query, key = (self._turned(states, turn) for states in (query, key))
        new = torch.cat([states.transpose(1, 2).flatten(2) for states in (key, value)], -1)
        if cache is not None:
            key, value = cache.update(key, value, self.layer)
        if prompt is not None:
            before = (states.unflatten(-1, (self.heads, -1)).transpose(1, 2) for states in prompt.chunk(2, -1))
            key, value = (torch.cat(pair, 2) for pair in zip(before, (key, value), strict=True))
        out = F.scaled_dot_product_attention(query, key, value, mask)
        return self.dense(out.transpose(1, 2).flatten(2)), new

    @staticmethod
    def _turned(states: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
        halves = states.unflatten(-1, (2, -1))
        cos, sin = (part.to(states.dtype) for part in turn)
        return (halves * cos + rotate_half(halves) * sin).flatten(-2)


class FeedForward(nn.Module):
    def __init__(self, config: ChatGLM6BConfig) -> None:
        super().__init__()
        self.dense_h_to_4h = nn.Linear(config.hidden_size, config.intermediate_size)
        self.dense_4h_to_h = nn.Linear(config.intermediate_size, config.hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        return self.dense_4h_to_h(F.gelu(self.dense_h_to_4h(x), approximate="tanh"))


class ChatGLM6BLayer(GradientCheckpointingLayer):
    def __init__(self, config: ChatGLM6BConfig, layer: int) -> None:
        super().__init__()
        self.alpha = (2 * config.num_hidden_layers) ** 0.5
        self.input_layernorm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.attention = Attention(config, layer)
        self.post_attention_layernorm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.mlp = FeedForward(config)

    def forward(
        self,
        x: Tensor,
        turn: tuple[Tensor, Tensor],
        mask: Tensor,
        prompt: Tensor | None = None,
        past_key_values: Cache | None = None,
    ) -> tuple[Tensor, Tensor]:
        """As `Attention` takes and returns them."""
        x = self.input_layernorm(x)
        attended, new = self.attention(x, turn, mask, prompt, past_key_values)
        x = self.post_attention_layernorm(self.alpha * x + attended)
        return self.alpha * x + self.mlp(x), new


class ChatGLM6BPreTrainedModel(PreTrainedModel):
    config: ChatGLM6BConfig
    config_class = ChatGLM6BConfig
    base_model_prefix = "transformer"
    _input_embed_layer = "word_embeddings"
    supports_gradient_checkpointing = True
    _no_split_modules = ["ChatGLM6BLayer"]
    _keys_to_ignore_on_load_unexpected = [r"rotary_emb\.inv_freq$"]  # which follows from the config


class ChatGLM6BModel(ChatGLM6BPreTrainedModel):
    """Encoder and decoder."""

    def __init__(self, config: ChatGLM6BConfig) -> None:
        super().__init__(config)
        self.word_embeddings = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList([ChatGLM6BLayer(config, i) for i in range(config.num_hidden_layers)])
        self.final_layernorm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.gradient_checkpointing = False
        self.post_init()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        encoder_hidden_states: Tensor | None = None,
        encoder_attention_mask: Tensor | None = None,
        past_key_values: Cache | None = None,
        use_cache: bool | None = None,
        **kwargs: Any,
    ) -> BaseModelOutputWithPast:
        """Ids [B, T] or embeddings [B, T, D]. Without `encoder_hidden_states`, a prompt whose last real position is
        [gMASK]; its `last_hidden_state` [B, T, layers * 2 D] are the keys and values of every layer. With them
        [B, S, layers * 2 D] and their mask [B, S], an answer from <bos> on, behind what the cache holds: states [B, T, D].
        """
        x = self.word_embeddings(input_ids) if inputs_embeds is None else inputs_embeds
        if encoder_hidden_states is None:
            seen = x.new_ones(x.shape[:2]) if attention_mask is None else attention_mask
            places = (seen.long().cumsum(-1) - 1).clamp(min=0)
            turn = rotation(self.config, torch.stack([places, torch.zeros_like(places)], -1))
            held = []
            for layer in self.layers:
                x, new = layer(x, turn, seen[:, None, None].bool())
                held.append(new)
            return BaseModelOutputWithPast(last_hidden_state=torch.cat(held, -1))
        if past_key_values is None and use_cache:
            past_key_values = EncoderDecoderCache(DynamicCache(), DynamicCache())
        cache = (
            past_key_values.self_attention_cache if isinstance(past_key_values, EncoderDecoderCache) else past_key_values
        )
        past, count = 0 if cache is None else cache.get_seq_length(), x.shape[1]
        seen = x.new_ones(encoder_hidden_states.shape[:2]) if encoder_attention_mask is None else encoder_attention_mask
        blocks = torch.arange(past + 1, past + count + 1, device=x.device).expand(len(x), -1)
        turn = rotation(self.config, torch.stack([(seen.long().sum(-1, keepdim=True) - 1).expand_as(blocks), blocks], -1))
        before = seen[:, None, None].bool().expand(-1, -1, count, -1)
        causal = torch.ones(count, past + count, dtype=torch.bool, device=x.device).tril(past)
        mask = torch.cat([before, causal.expand(len(x), 1, -1, -1)], -1)
        for layer, prompt in zip(self.layers, encoder_hidden_states.chunk(len(self.layers), -1), strict=True):
            x, _ = layer(x, turn, mask, prompt, past_key_values=cache)
        return BaseModelOutputWithPast(last_hidden_state=self.final_layernorm(x), past_key_values=past_key_values)


class ChatGLM6BForConditionalGeneration(ChatGLM6BPreTrainedModel, GenerationMixin):
    _tied_weights_keys = {"lm_head.weight": "transformer.word_embeddings.weight"}

    def __init__(self, config: ChatGLM6BConfig) -> None:
        super().__init__(config)
        self.transformer = ChatGLM6BModel(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def get_encoder(self, modality: str | None = None) -> nn.Module:
        return self.transformer

    def get_decoder(self) -> nn.Module:
        return self.transformer

    def prepare_decoder_input_ids_from_labels(self, labels: Tensor) -> Tensor:
        """Ids [B, U] -> what each is predicted from: <bos>, then the ids before it; padding of -100 becomes a pad token."""
        start, pad = (labels.new_tensor(id) for id in (self.config.decoder_start_token_id, self.config.pad_token_id))
        shifted = torch.cat([start.expand(len(labels), 1), labels[:, :-1]], 1)
        return torch.where(shifted == -100, pad, shifted)

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        decoder_input_ids: Tensor | None = None,
        decoder_inputs_embeds: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        encoder_outputs: Any = None,
        past_key_values: Cache | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        **kwargs: Any,
    ) -> Seq2SeqLMOutput:
        """The prompt as ids [B, S] or embeddings, or `encoder_outputs` of it; the answer from <bos> on, or the `labels`
        [B, U] to write (-100: none), of which the mean loss is taken. Logits [B, U, V]."""
        if encoder_outputs is None:
            encoder_outputs = self.transformer(
                input_ids=input_ids, attention_mask=attention_mask, inputs_embeds=inputs_embeds
            )
        if labels is not None and decoder_input_ids is None and decoder_inputs_embeds is None:
            decoder_input_ids = self.prepare_decoder_input_ids_from_labels(labels)
        out = self.transformer(
            input_ids=decoder_input_ids,
            inputs_embeds=decoder_inputs_embeds,
            encoder_hidden_states=encoder_outputs[0],
            encoder_attention_mask=attention_mask,
            past_key_values=past_key_values,
            use_cache=use_cache,
        )
        logits = self.lm_head(out.last_hidden_state)
        loss = None if labels is None else F.cross_entropy(logits.transpose(1, 2).float(), labels)
        return Seq2SeqLMOutput(loss=loss, logits=logits, past_key_values=out.past_key_values)
