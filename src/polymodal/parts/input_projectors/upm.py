"""Universal projection module (OneLLM, arXiv 2312.03700): learned tokens of the modality stand before its features, experts
transform both, and a router mixes what they make of the tokens. The authors' code has: weights from a position's own token,
sigmoids normalised over the experts; Llama's layers without positions. Its start and end tags are text here (`before`,
`after`). Its experts serve eight modalities there, and here those that name them: `experts: shared:NAME`."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from polymodal.errors import RecipeError
from polymodal.parts.base import Features, InputProjector, Positive
from polymodal.parts.input_projectors.mlp import MLP
from polymodal.parts.input_projectors.padding import pad


class Experts(nn.ModuleList):
    """`experts` transformers of `depth` of Llama's layers each, [B, T, width] -> the same."""

    def __init__(self, width: Positive, experts: Positive = 3, depth: Positive = 8, heads: Positive = 16) -> None:
        from transformers import LlamaConfig
        from transformers.models.llama.modeling_llama import LlamaDecoderLayer

        if width % heads:
            raise RecipeError(f"upm: 'heads' must divide the width of the experts, and {heads} does not divide {width}")
        inner = -(-(8 * width // 3) // 256) * 256
        config = LlamaConfig(hidden_size=width, intermediate_size=inner, num_attention_heads=heads, rms_norm_eps=1e-5)
        config._attn_implementation = "sdpa"  # causal only where it is given no mask
        super().__init__(nn.ModuleList([LlamaDecoderLayer(config, i) for i in range(depth)]) for _ in range(experts))
        self.width = width


class UPM(InputProjector):
    """Any N features -> `tokens` positions, by `experts` transformers of `depth` layers and the encoder's own width, or by
    those that are shared, and their width."""

    def __init__(
        self,
        width_in: int,
        width_out: int,
        tokens: Positive = 30,
        experts: Positive | Experts = 3,
        depth: Positive = 8,
        heads: Positive = 16,
    ) -> None:
        super().__init__()
        if isinstance(experts, int):
            self.experts = Experts(width_in, experts, depth, heads)
        else:
            self.__dict__["experts"] = experts  # used, not owned: past the table of its own modules
        width, count = self.experts.width, len(self.experts)
        self.tokens = nn.Parameter(torch.randn(tokens, width) * 0.02)
        self.enter = nn.Sequential(nn.Linear(width_in, width), nn.LayerNorm(width))
        self.router = MLP(width, count, hidden=4 * width)
        self.leave = nn.Sequential(nn.Linear(width, width_out), nn.LayerNorm(width_out))

    def length(self, n: int) -> int:
        return len(self.tokens)

    def forward(self, features: Features) -> list[Tensor]:
        context, mask = pad(features)
        x = torch.cat([self.tokens.expand(len(context), -1, -1), self.enter(context)], 1)
        seen = torch.cat([mask.new_ones(len(mask), len(self.tokens)), mask], 1).bool()[:, None, None]
        still = torch.ones_like(x[:, :, :1]), torch.zeros_like(x[:, :, :1])  # a rotation by nothing
        weights = self.router(Features([self.tokens]))[0].sigmoid()  # [tokens, experts]
        mixed = torch.zeros_like(x[:, : len(self.tokens)])
        for expert, share in zip(self.experts, (weights / weights.sum(-1, keepdim=True)).T, strict=True):
            y = x
            for layer in expert.children():
                y = layer(y, attention_mask=seen, position_embeddings=still)
            mixed = mixed + y[:, : len(self.tokens)] * share[:, None]
        return list(self.leave(mixed))
