"""MQ-Former (Lyrics, arXiv 2312.05278): groups of learned queries, each of which reads the features of its own encoders,
and all of which read each other in self-attention. Decides that it is one Q-Former with a mask in its cross-attention:
groups share its weights, and an encoder's own are those of its columns (`sequence-append`). The boxes and tags that Lyrics
writes as text beside the queries are not read."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from polymodal.errors import RecipeError
from polymodal.parts.base import Features, Positive
from polymodal.parts.input_projectors.padding import pad
from polymodal.parts.input_projectors.q_former import QFormer


class Group(BaseModel):
    """So many `queries`, which read the encoders of these numbers, from 0 in the order of `of`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    queries: Positive = 32
    reads: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]


class MQFormer(QFormer):
    """`groups`: {name: group}; their positions stand one group behind the other. The other options are `q-former`'s.
    Raises `RecipeError` for an encoder that no group reads."""

    def __init__(
        self,
        width_in: int,
        width_out: int,
        groups: Annotated[dict[str, Group], Field(min_length=1)],
        depth: Positive = 12,
        hidden: Positive = 768,
        heads: Positive = 12,
        every: Positive = 2,
    ) -> None:
        each = list(groups.values())
        super().__init__(width_in, width_out, sum(group.queries for group in each), depth, hidden, heads, every)
        read = {number for group in each for number in group.reads}
        if gap := set(range(max(read))) - read:
            raise RecipeError(f"projector 'mq-former': no group 'reads' encoder {min(gap)}")
        self.encoders = len(read)
        of_query = torch.zeros(len(self.queries), self.encoders, dtype=torch.bool)
        for group, rows in zip(each, of_query.split([group.queries for group in each]), strict=True):
            rows[:, group.reads] = True
        self.register_buffer("reads", of_query, persistent=False)
        network: Any = self.q_former
        network.set_attn_implementation("sdpa")  # which takes the mask of booleans below

    def forward(self, features: Features) -> list[Tensor]:
        """Raises `RecipeError` for features that do not say which of the encoders they are of."""
        context, real = pad(features)
        marks = context[..., : self.encoders]
        if not torch.equal(marks.sum(-1), real.to(marks.dtype)):
            raise RecipeError(
                f"projector 'mq-former' reads a 'sequence-append' of {self.encoders} encoders, and this is none"
            )
        seen = torch.einsum("qk,bnk->bqn", self.get_buffer("reads").to(marks.dtype), marks) > 0
        queries = self.queries.expand(len(context), -1, -1)
        out = self.q_former(query_embeds=queries, encoder_hidden_states=context, encoder_attention_mask=seen[:, None])
        return list(self.leave(out.last_hidden_state))
