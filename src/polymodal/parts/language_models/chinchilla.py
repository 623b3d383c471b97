"""Chinchilla (arXiv 2203.15556): Gopher's network (2112.11446), of which no weights were published. Gopher is GPT-2's
decoder with norms of root mean squares and with the relative positions of Transformer-XL (1901.02860, section 3.3). What
neither paper says is as in those two: attention without biases but u and v, a W_R in each layer, a feed-forward part with
biases and GELU, one table for input and output. So it counts 70 and 280 billion, which it would not without W_R.

The score of query i and key j, i >= j:   (q_i + u) k_j + (q_i + v) W_R r(i - j)

An example stands in columns that follow one another, whatever is padding or another example before it, so that i - j is a
difference of columns and nothing here looks at positions but the mask.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import DynamicCache, GenerationMixin, PreTrainedConfig, PreTrainedModel
from transformers.masking_utils import create_causal_mask
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast


@dataclass
class ChinchillaConfig(PreTrainedConfig):
    """Of the 70B model (table 4), if nothing else is said. Heads are `head_dim` wide."""

    model_type = "chinchilla"

    vocab_size: int = 32000
    hidden_size: int = 8192
    intermediate_size: int = 32768
    num_hidden_layers: int = 80
    num_attention_heads: int = 64
    head_dim: int = 128
    max_position_embeddings: int = 2048
    rms_norm_eps: float = 1e-6
    initializer_range: float = 0.02
    use_cache: bool = True
    tie_word_embeddings: bool = True
    pad_token_id: int | None = None
    bos_token_id: int | None = 1
    eos_token_id: int | None = 2


class RelativeAttention(nn.Module):
    """Causal attention of Transformer-XL, with keys and values of all that was read before."""

    def __init__(self, config: ChinchillaConfig, layer: int) -> None:
        super().__init__()
        width, inner = config.hidden_size, config.num_attention_heads * config.head_dim
        self.layer, self.head_dim = layer, config.head_dim
        self.q_proj, self.k_proj, self.v_proj = (nn.Linear(width, inner, bias=False) for _ in range(3))
        self.r_proj = nn.Linear(width, inner, bias=False)
        self.o_proj = nn.Linear(inner, width, bias=False)
        self.content_bias = nn.Parameter(torch.zeros(config.num_attention_heads, 1, config.head_dim))  # u
        self.position_bias = nn.Parameter(torch.zeros(config.num_attention_heads, 1, config.head_dim))  # v

    def forward(self, x: Tensor, distances: Tensor, mask: Tensor, cache: Any) -> Tensor:
        """x [B, T, D]; distances [S, D], of 0 to S - 1; mask [B, 1, T, S]: 0 where a score counts."""
        query, key, value, relative = (
            states.unflatten(-1, (-1, self.head_dim)).transpose(-3, -2)
            for states in (self.q_proj(x), self.k_proj(x), self.v_proj(x), self.r_proj(distances))
        )
        if cache is not None:
            key, value = cache.update(key, value, self.layer)
        reach, count = key.shape[-2], query.shape[-2]
        columns = torch.arange(reach, device=x.device)
        apart = (columns[-count:, None] - columns).clamp(min=0)  # [T, S]; what lies ahead is masked
        of_distance = (query + self.position_bias) @ relative.transpose(-1, -2)  # [B, heads, T, S]
        placed = of_distance.gather(-1, apart.expand_as(of_distance)) * self.head_dim**-0.5
        bias = torch.where(mask == 0, placed, mask)
        out = F.scaled_dot_product_attention(query + self.content_bias, key, value, bias)
        return self.o_proj(out.transpose(1, 2).flatten(2))


class ChinchillaLayer(GradientCheckpointingLayer):
    def __init__(self, config: ChinchillaConfig, layer: int) -> None:
        super().__init__()
        self.attention_norm = nn.RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.self_attn = RelativeAttention(config, layer)
        self.feed_forward_norm = nn.RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size)

    def forward(self, x: Tensor, distances: Tensor, mask: Tensor, past_key_values: Any = None) -> Tensor:
        x = x + self.self_attn(self.attention_norm(x), distances, mask, past_key_values)
        return x + self.down_proj(F.gelu(self.up_proj(self.feed_forward_norm(x)), approximate="tanh"))


class ChinchillaPreTrainedModel(PreTrainedModel):
    """Without `_supports_sdpa`, so that transformers makes masks of numbers, which relative positions are added to."""

    config_class = ChinchillaConfig
    base_model_prefix = "model"
    supports_gradient_checkpointing = True
    _no_split_modules = ["ChinchillaLayer"]

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, RelativeAttention):
            nn.init.zeros_(module.content_bias)
            nn.init.zeros_(module.position_bias)


class ChinchillaModel(ChinchillaPreTrainedModel):
    def __init__(self, config: ChinchillaConfig) -> None:
        super().__init__(config)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size, config.pad_token_id)
        self.layers = nn.ModuleList([ChinchillaLayer(config, i) for i in range(config.num_hidden_layers)])
        self.norm = nn.RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.gradient_checkpointing = False
        self.post_init()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Any = None,
        inputs_embeds: Tensor | None = None,
        use_cache: bool | None = None,
        **kwargs: Any,
    ) -> BaseModelOutputWithPast:
        """Ids or embeddings of T positions behind those in the cache. `position_ids` [B, T] tell where examples that share
        a row begin, and nothing else."""
        x = self.embed_tokens(input_ids) if inputs_embeds is None else inputs_embeds
        if past_key_values is None and (self.config.use_cache if use_cache is None else use_cache):
            past_key_values = DynamicCache(config=self.config)
        past = 0 if past_key_values is None else past_key_values.get_seq_length()
        mask = create_causal_mask(
            self.config, x, attention_mask, past_key_values=past_key_values, position_ids=position_ids
        )
        distances = waves(past + x.shape[1], x.shape[2]).to(x)
        for layer in self.layers:
            x = layer(x, distances, mask, past_key_values=past_key_values)
        return BaseModelOutputWithPast(last_hidden_state=self.norm(x), past_key_values=past_key_values)


class ChinchillaForCausalLM(ChinchillaPreTrainedModel, GenerationMixin):
    _tied_weights_keys = {"lm_head.weight": "model.embed_tokens.weight"}

    def __init__(self, config: ChinchillaConfig) -> None:
        super().__init__(config)
        self.model = ChinchillaModel(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Any = None,
        inputs_embeds: Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int = 0,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """Logits of the last `logits_to_keep` positions, of all if 0."""
        out = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            use_cache=use_cache,
        )
        logits = self.lm_head(out.last_hidden_state[:, -logits_to_keep:])
        return CausalLMOutputWithPast(logits=logits, past_key_values=out.past_key_values)


def waves(count: int, width: int) -> Tensor:
    """[count, width]: what r is of distances 0 to count - 1: sines, then cosines, of geometric frequencies."""
    angles = torch.arange(count)[:, None] * 10000.0 ** -(torch.arange(0, width, 2) / width)
    return torch.cat([angles.sin(), angles.cos()], -1)
