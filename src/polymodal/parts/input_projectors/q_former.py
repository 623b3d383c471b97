"""Q-Former (BLIP-2, arXiv 2301.12597), transformers' classes: `queries` learned queries read the features. With a `window`,
each window of so many features is read by itself (SALMONN, 2310.13289), so that positions grow with a recording; the last
window holds what is left. With a `tokenizer` the queries also read, in self-attention, the question that stands with the
item (InstructBLIP, 2305.06500), and take from the features what was asked for; the question itself looks at no feature."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from polymodal.errors import RecipeError
from polymodal.parts.base import Features, InputProjector, Positive
from polymodal.parts.input_projectors.padding import pad
from polymodal.parts.input_projectors.questions import Questions


class QFormer(InputProjector):
    """Learned queries through a Q-Former of width `hidden`, then a linear layer to D. BLIP-2's own: 32 queries, 12
    layers, width 768, cross-attention in every second layer. `tokenizer`, `longest`: as `Questions` takes them."""

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
        tokenizer: str | dict[str, Any] | None = None,
        longest: Positive = 128,
    ) -> None:
        super().__init__()
        import transformers

        if hidden % heads:
            raise RecipeError(f"q-former: 'heads' must divide 'hidden', and {heads} does not divide {hidden}")
        size: dict[str, Any] = {
            "hidden_size": hidden,
            "num_hidden_layers": depth,
            "num_attention_heads": heads,
            "intermediate_size": 4 * hidden,
            "cross_attention_frequency": every,
            "encoder_hidden_size": width_in,
        }
        self.window = window
        self.queries = nn.Parameter(torch.randn(queries, hidden) * 0.02)
        self.questions = None if tokenizer is None else Questions(tokenizer, longest)
        self.q_former: nn.Module
        if self.questions is None:
            self.q_former = transformers.Blip2QFormerModel(transformers.Blip2QFormerConfig(**size))
        else:  # what fills up shorter questions is masked, whatever its id
            size |= {"vocab_size": self.questions.size, "max_position_embeddings": longest, "pad_token_id": None}
            self.q_former = transformers.InstructBlipQFormerModel(transformers.InstructBlipQFormerConfig(**size))
            self.reads_question, self.options = True, {"tokenizer": self.questions.held}
        self.leave = nn.Linear(hidden, width_out)

    def length(self, n: int) -> int:
        return len(self.queries) * (-(-n // self.window) if self.window else 1)

    def forward(self, features: Features) -> list[Tensor]:
        """Raises `ContentError` for an item without the question that is to be read."""
        items = [x.split(self.window or len(x)) for x in features.tokens]
        context, mask = pad(Features([part for parts in items for part in parts]))
        queries = self.queries.expand(len(context), -1, -1)
        seen: dict[str, Tensor] = {"encoder_hidden_states": context, "encoder_attention_mask": mask}
        if self.questions is not None:
            ids = self.questions.ids(features, context.device)
            text, said = pad(Features([each for each, parts in zip(ids, items, strict=True) for _ in parts]))
            seen |= {"input_ids": text, "attention_mask": torch.cat([said.new_ones(queries.shape[:2]), said], dim=1)}
        out = self.q_former(query_embeds=queries, **seen).last_hidden_state[:, : queries.shape[1]]
        return [rows.flatten(0, 1) for rows in self.leave(out).split([len(parts) for parts in items])]
