"""C-Abstractor (Honeybee, arXiv 2312.06742): a stage of RegNet's blocks, a mean over each cell of a smaller grid, another
stage, two linear layers. As in the authors' code convolutions are depthwise, layer norms over channels stand in place of
batch norms and SiLU in place of ReLU, and each feature is told its place; for grids of other sides than theirs, places lie
between those (bicubic). Blocks of ResNet, which the paper tries too, are these without squeeze and excitation."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from polymodal.parts.base import Features, InputProjector, Positive, run_by_shape
from polymodal.parts.input_projectors.grid import side
from polymodal.parts.input_projectors.ldp import ChannelNorm


class CAbstractor(InputProjector):
    """Any square of features -> `queries` x `queries` positions. `depth`: blocks of each stage, `hidden` wide. `cells`: the
    side of the grid whose places are learned, 16 of CLIP ViT-L/14 at 224 pixels."""

    def __init__(
        self,
        width_in: int,
        width_out: int,
        queries: Positive = 12,
        depth: Positive = 3,
        hidden: Positive = 1024,
        cells: Positive = 16,
    ) -> None:
        super().__init__()
        self.queries = queries
        self.places = nn.Parameter(0.02 * torch.randn(width_in, cells, cells))
        self.see = nn.Sequential(*(_block(hidden if i else width_in, hidden) for i in range(depth)))
        self.refine = nn.Sequential(*(_block(hidden, hidden) for _ in range(depth)))
        self.leave = nn.Sequential(nn.Linear(hidden, width_out), nn.SiLU(), nn.Linear(width_out, width_out))

    def length(self, n: int) -> int:
        side(n, "c-abstractor")
        return self.queries**2

    def forward(self, features: Features) -> list[Tensor]:
        def run(batch: dict[str, Tensor]) -> Tensor:  # [B, De, S, S] -> [B, N', D]
            places = nn.functional.interpolate(self.places[None], batch["grid"].shape[2:], mode="bicubic")
            x = nn.functional.adaptive_avg_pool2d(self.see(batch["grid"] + places), self.queries)
            return self.leave(self.refine(x).flatten(2).transpose(1, 2))

        return run_by_shape([{"grid": x.T.unflatten(1, 2 * [side(len(x), "c-abstractor")])} for x in features.tokens], run)


def _block(width_in: int, width_out: int) -> nn.Module:
    """One of RegNet-Y's, [B, width_in, S, S] -> [B, width_out, S, S]."""
    from transformers import RegNetConfig
    from transformers.models.regnet.modeling_regnet import RegNetYLayer

    block: Any = RegNetYLayer(RegNetConfig(hidden_act="silu", groups_width=1), width_in, width_out)
    for part in [*block.modules()]:
        if isinstance(norm := getattr(part, "normalization", None), nn.BatchNorm2d):
            part.normalization = ChannelNorm(norm.num_features, 1e-6)
    block.layer[2].attention[1] = nn.SiLU()
    return block
