"""Q-Former (BLIP-2, arXiv 2301.12597), transformers' class: `queries` learned queries read the features. With a `window`,
each window of so many features is read by itself (SALMONN, 2310.13289), so that positions grow with a recording; the last
window holds what is left."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from polymodal.errors import RecipeError
from polymodal.parts.base import Features, InputProjector
from polymodal.parts.input_projectors.mlp import Positive
from polymodal.parts.input_projectors.padding import pad


class QFormer(InputProjector):
    """Learned queries through a Q-Former of width `hidden`, then a linear layer to D. BLIP-2's own: 32 queries, 12
    layers, width 768, cross-attention in every second layer."""

    def __init__(
        self,
        width_in: int,
        width_out: int,
        queries: Positive = 32,
        depth: Positive = 6,
        hidden: Positive = 768,
        heads: Positive = 12,
        every: Positive = 2,
        window: Positive | None = None,
    ) -> None:
        super().__init__()
        from transformers import Blip2QFormerConfig, Blip2QFormerModel

        if hidden % heads:
            raise RecipeError(f"q-former: 'heads' must divide 'hidden', and {heads} does not divide {hidden}")
        config = Blip2QFormerConfig(
            hidden_size=hidden,
            num_hidden_layers=depth,
            num_attention_heads=heads,
            intermediate_size=4 * hidden,
            cross_attention_frequency=every,
            encoder_hidden_size=width_in,
        )
        self.window = window
        self.queries = nn.Parameter(torch.randn(queries, hidden) * 0.02)
        self.q_former = Blip2QFormerModel(config)
        self.leave = nn.Linear(hidden, width_out)

    def length(self, n: int) -> int:
        return len(self.queries) * (-(-n // self.window) if self.window else 1)

    def forward(self, features: Features) -> list[Tensor]:
        items = [x.split(self.window or len(x)) for x in features.tokens]
        context, mask = pad(Features([part for parts in items for part in parts]))
        queries = self.queries.expand(len(context), -1, -1)
        out = self.q_former(queries, encoder_hidden_states=context, encoder_attention_mask=mask).last_hidden_state
        return [rows.flatten(0, 1) for rows in self.leave(out).split([len(parts) for parts in items])]
