"""QLLaMA (InternVL, arXiv 2312.14238): a language model between encoder and backbone. Learned queries go through the layers
of a LLaMA, transformers' own, in which they see each other in both directions; in every second one cross-attention, between
self-attention and feed-forward part, reads the features. Decides that nothing of it is pretrained, and that it reads no
text: what InternVL contrasts, matches and captions with it is not here. Behind it stands an MLP, as in InternVL-Chat."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from polymodal.errors import RecipeError
from polymodal.parts.base import Features, InputProjector, Positive
from polymodal.parts.input_projectors.padding import pad


class QLlama(InputProjector):
    """The defaults are InternVL's, 7.4 billion parameters in front of the MLP: `depth` layers of width `hidden`, whose
    feed-forward parts are `inner` wide, and of which each `every`-th, from the first, reads the features."""

    def __init__(
        self,
        width_in: int,
        width_out: int,
        queries: Positive = 96,
        depth: Positive = 32,
        hidden: Positive = 4096,
        heads: Positive = 32,
        inner: Positive = 11008,
        every: Positive = 2,
    ) -> None:
        super().__init__()
        from transformers import LlamaConfig, LlamaModel

        if hidden % (2 * heads):
            raise RecipeError(
                f"projector 'qllama': 'hidden' is a multiple of twice 'heads', and {hidden} is none of {2 * heads}"
            )
        config = LlamaConfig(
            hidden_size=hidden,
            intermediate_size=inner,
            num_hidden_layers=depth,
            num_attention_heads=heads,
            vocab_size=1,
            bos_token_id=None,
            eos_token_id=None,
        )
        self.queries = nn.Parameter(torch.randn(queries, hidden) * 0.02)
        llama: Any = LlamaModel(config)
        llama.set_input_embeddings(None)  # it reads no words
        self.llama = llama
        self.reads = nn.ModuleDict({str(i): CrossAttention(hidden, width_in, heads) for i in range(0, depth, every)})
        self.leave = nn.Sequential(nn.Linear(hidden, width_out), nn.GELU(), nn.Linear(width_out, width_out))

    def length(self, n: int) -> int:
        return len(self.queries)

    def forward(self, features: Features) -> list[Tensor]:
        context, real = pad(features)
        x = self.queries.expand(len(context), -1, -1)
        places = self.llama.rotary_emb(x, torch.arange(x.shape[1], device=x.device)[None])
        for number, layer in enumerate(self.llama.layers):
            x = x + layer.self_attn(layer.input_layernorm(x), position_embeddings=places, is_causal=False)[0]
            if str(number) in self.reads:
                x = x + self.reads[str(number)](x, context, real)
            x = x + layer.mlp(layer.post_attention_layernorm(x))
        return list(self.leave(self.llama.norm(x)))


class CrossAttention(nn.Module):
    """Of LLaMA's kind, without positions: norms over root mean squares, no biases."""

    def __init__(self, width: int, width_in: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm, self.norm_features = nn.RMSNorm(width, 1e-6), nn.RMSNorm(width_in, 1e-6)
        self.query, self.key_value = nn.Linear(width, width, bias=False), nn.Linear(width_in, 2 * width, bias=False)
        self.leave = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor, context: Tensor, real: Tensor) -> Tensor:
        """x [M, Q, D], context [M, N, De] of which `real` [M, N] is no padding -> [M, Q, D]"""
        parts = (self.query(self.norm(x)), *self.key_value(self.norm_features(context)).chunk(2, -1))
        query, key, value = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts)
        seen = F.scaled_dot_product_attention(query, key, value, real[:, None, None].bool())
        return self.leave(seen.transpose(1, 2).flatten(2))
