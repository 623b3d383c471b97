"""C-Former (X-LLM, arXiv 2305.04160): continuous integrate-and-fire (CIF, 1905.11235), which joins as many features as one
sound of speech has, then a BERT over what it joined. Decides how many positions a recording takes: features / `stride`,
rounded up. In CIF itself the weights say how many, which nobody knows before the encoder has run; here they are scaled to
that many, as CIF scales them in training, and say which features each position is made of. There is no loss of quantity.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from polymodal.errors import RecipeError
from polymodal.parts.base import Features, InputProjector, Positive
from polymodal.parts.input_projectors.padding import pad

LONGEST = 512  # positions that a BERT has: of more, each so many are read by themselves


class CFormer(InputProjector):
    """N features -> N / `stride` positions: of 50 features a second and a stride of 12 about four, as many as Chinese has
    syllables. X-LLM's BERT: 12 layers, width 768; its own begins with the weights of bert-base-chinese."""

    def __init__(
        self,
        width_in: int,
        width_out: int,
        stride: Positive = 12,
        depth: Positive = 12,
        hidden: Positive = 768,
        heads: Positive = 12,
    ) -> None:
        super().__init__()
        from transformers import BertConfig, BertModel

        if hidden % heads:
            raise RecipeError(f"c-former: 'heads' must divide 'hidden', and {heads} does not divide {hidden}")
        sizes: dict[str, Any] = {"hidden_size": hidden, "num_hidden_layers": depth, "num_attention_heads": heads}
        config = BertConfig(**sizes, intermediate_size=4 * hidden, max_position_embeddings=LONGEST, vocab_size=1)
        self.stride = stride
        self.near, self.weigh = nn.Conv1d(width_in, width_in, 3, padding=1), nn.Linear(width_in, 1)
        self.enter, self.leave = nn.Linear(width_in, hidden), nn.Linear(hidden, width_out)
        self.bert = BertModel(config, add_pooling_layer=False)
        self.bert.set_input_embeddings(None)  # it reads no words

    def length(self, n: int) -> int:
        return -(-n // self.stride)

    def weights(self, x: Tensor) -> Tensor:
        """The features [N, De] of an item -> [N], above 0, in all as many as its positions."""
        near = functional.relu(self.near(x.t()[None])[0].t())
        weight = self.weigh(near)[:, 0].double().sigmoid()
        return weight * self.length(len(x)) / weight.sum()

    def forward(self, features: Features) -> list[Tensor]:
        joined = [integrate(x, self.weights(x), self.length(len(x))) for x in features.tokens]
        spans = [rows.split(LONGEST) for rows in joined]
        x, mask = pad(Features([span for rows in spans for span in rows]))
        out = self.bert(inputs_embeds=functional.relu(self.enter(x)), attention_mask=mask).last_hidden_state
        rows = [row[: int(n)] for row, n in zip(self.leave(out), mask.sum(1), strict=True)]
        return [torch.cat([rows.pop(0) for _ in item]) for item in spans]


def integrate(x: Tensor, weight: Tensor, length: int) -> Tensor:
    """Features [N, De] and weights [N], which add up to `length` -> [length, De]: where the weights so far are k, position
    k ends and the next begins, so that each is a mean of neighbours by weights of 1 in all."""
    ends, sums = weight.cumsum(0), (weight[:, None] * x).cumsum(0)
    ends, sums = (functional.pad(tensor, (*[0, 0] * (tensor.ndim - 1), 1, 0)) for tensor in (ends, sums))
    borders = torch.arange(1, length, dtype=ends.dtype, device=ends.device)
    inside = (torch.searchsorted(ends.detach(), borders) - 1).clamp(max=len(x) - 1)  # the feature that each is reached in
    whole = sums[inside] + (borders - ends[inside])[:, None] * x[inside]
    return torch.cat((sums[:1], whole, sums[-1:])).diff(dim=0).to(x.dtype)
