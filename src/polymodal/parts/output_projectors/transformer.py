"""The tiny transformer of GILL (arXiv 2305.17216), NExT-GPT (2309.05519) and MiniGPT-5 (2310.02239): any n becomes any Q.
Decides that MiniGPT-5's MLP in front is an option of it, and its missing layer behind another."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn

from polymodal.errors import RecipeError
from polymodal.parts.base import Positive
from polymodal.parts.output import OutputProjector
from polymodal.parts.output_projectors.mlp import feed_forward


class Transformer(OutputProjector):
    """`enter` linear layers D -> `hidden`, torch's `nn.Transformer` that reads the states with its encoder and Q learned
    queries with its decoder, a linear layer to Dg. The sizes are GILL's, as is `std`, of the queries at first (NExT-GPT: 0;
    they part because their targets differ). MiniGPT-5: `hidden` Dg, `heads` 8, `inner` 4 Dg, `enter` 2, no `leave`.
    Raises `RecipeError` for `hidden` that `heads` do not divide, or that is not Dg without `leave`."""

    def __init__(
        self,
        n: int,
        width_in: int,
        positions: int,
        width_out: int,
        hidden: Positive = 512,
        heads: Positive = 4,
        encoder_layers: Positive = 4,
        decoder_layers: Positive = 4,
        inner: Positive = 2048,
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0,
        std: Annotated[float, Field(ge=0)] = 1.0,
        enter: Positive = 1,
        leave: bool = True,
    ) -> None:
        super().__init__()
        if hidden % heads:
            raise RecipeError(f"projector 'transformer': {heads} heads do not divide its hidden width of {hidden}")
        if not leave and hidden != width_out:
            raise RecipeError(f"projector 'transformer' is {hidden} wide; without 'leave' it has to be {width_out}")
        sizes: dict[str, Any] = {"dim_feedforward": inner, "dropout": dropout, "batch_first": True, "norm_first": True}
        layer = nn.TransformerEncoderLayer(hidden, heads, **sizes)
        # As nn.Transformer makes its own, but for nested tensors, which it would announce that it cannot use.
        encoder = nn.TransformerEncoder(layer, encoder_layers, nn.LayerNorm(hidden), enable_nested_tensor=False)
        self.enter = feed_forward(width_in, hidden, hidden, enter)
        self.network = nn.Transformer(hidden, heads, 0, decoder_layers, custom_encoder=encoder, **sizes)
        self.queries = nn.Parameter(std * torch.randn(1, positions, hidden))
        self.leave = nn.Linear(hidden, width_out) if leave else nn.Identity()

    def forward(self, states: Tensor) -> Tensor:
        queries = self.queries.expand(len(states), -1, -1)
        return self.leave(self.network(self.enter(states), queries))
