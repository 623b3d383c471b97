"""Frames that are also read together (VideoChat, arXiv 2305.06355): behind the features of each frame stands one of the
whole clip, made by blocks of GMHRA that read the states of an image encoder's last layers. Their weights are random."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn

from polymodal.errors import RecipeError
from polymodal.parts.base import Features, Inputs, Positive, run_by_shape
from polymodal.parts.encoders import towers
from polymodal.parts.encoders.frames import Frames
from polymodal.parts.encoders.gmhra_network import GlobalRelation
from polymodal.parts.encoders.vision import TransformersVision


class RelatedFrames(Frames):
    """`of`: a `vision` of plain pictures, whose tower has a class token. `layers`: the states of so many of its last layers
    are read, each by a block of `heads` heads; `dropout`: in their feed-forward parts."""

    def __init__(
        self,
        of: dict[str, Any],
        path: str | None = None,
        frames: Positive = 8,
        fps: Annotated[float, Field(gt=0)] | None = None,
        most: Positive = 32,
        layers: Positive = 8,
        heads: Positive = 16,
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5,
    ) -> None:
        super().__init__(of, path, frames, fps, most)
        if not isinstance(self.of, TransformersVision) or self.of.masked or self.of.tiles > 1 or self.of.layer is not None:
            raise RecipeError("encoder 'gmhra', option 'of': a 'vision' without 'tiles' and 'layer', and no MAE")
        config = self.of.network.config
        towers.class_tokens(config)
        if layers > config.num_hidden_layers or self.width % heads:
            of_what = f"{config.num_hidden_layers} layers of width {self.width}"
            raise RecipeError(f"encoder 'gmhra': {layers} 'layers' of {heads} 'heads' do not fit {of_what}")
        hidden = getattr(config, "intermediate_size", 4 * self.width)
        self.relations = nn.ModuleList(GlobalRelation(self.width, heads, hidden, dropout) for _ in range(layers))
        self.clip, self.norm = nn.Parameter(torch.zeros(self.width)), nn.LayerNorm(self.width)
        self.options |= {"layers": layers, "heads": heads, "dropout": dropout}

    def length(self, inputs: Inputs) -> int:
        return super().length(inputs) + 1

    def forward(self, items: list[Inputs]) -> Features:
        image: Any = self.of

        def run(batch: Inputs) -> Tensor:  # [B, F, 3, h, w] -> [B, F * n + 1, De]
            clips, frames, _, *sides = (pixels := batch["pixel_values"]).shape
            out = image.network(pixel_values=pixels.flatten(0, 1), **image.stretched, output_hidden_states=True)
            grid = (sides[0] // image.stride, sides[1] // image.stride)
            clip = self.clip.expand(clips, 1, -1)
            for relation, states in zip(self.relations, out.hidden_states[-len(self.relations) :], strict=True):
                clip = relation(clip, states.unflatten(0, (clips, frames)), grid)
            cells = out.last_hidden_state[:, -grid[0] * grid[1] :]
            seen = torch.cat([out.last_hidden_state[:, : image.prefix], cells], 1)
            return torch.cat([seen.unflatten(0, (clips, frames)).flatten(1, 2), self.norm(clip)], 1)

        return Features(run_by_shape(items, run))
