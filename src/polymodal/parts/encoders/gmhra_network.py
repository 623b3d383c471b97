"""A block of GMHRA, global multi-head relation aggregation (UniFormerV2, arXiv 2211.09552): one learned query reads all
patches of all frames. Decides nothing beyond the code of VideoChat (2305.06355), whose defaults leave out UniFormerV2's
local blocks: the encoder of pictures stays what it was, and a block begins as nothing, its last layers at zero."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class GlobalRelation(nn.Module):
    """What is known of a clip, and what attention reads of a layer's states; then a feed-forward part, `hidden` wide."""

    def __init__(self, width: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.norm_clip, self.norm_states, self.norm = (nn.LayerNorm(width) for _ in range(3))
        self.place = nn.Conv3d(width, width, 3, padding=1, groups=width)  # of a cell, by its neighbours in space and time
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        enter, leave = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.feed_forward = nn.Sequential(enter, nn.GELU(), nn.Dropout(dropout), leave)
        for zero in (*self.attention.out_proj.parameters(), *leave.parameters()):
            nn.init.zeros_(zero)

    def forward(self, clip: Tensor, states: Tensor, grid: tuple[int, int]) -> Tensor:
        """clip [B, 1, D], states [B, F, n, D] of F frames, whose last cells are a `grid` (h, w) -> [B, 1, D]."""
        states = self.norm_states(states)
        first = states.shape[2] - grid[0] * grid[1]  # the class token, registers
        cells = states[:, :, first:].unflatten(2, grid).movedim(-1, 1)
        placed = states[:, :, first:] + self.place(cells).flatten(3).movedim(1, -1)
        seen = torch.cat([states[:, :, :first], placed], dim=2).flatten(1, 2)
        clip = clip + self.attention(self.norm_clip(clip), seen, seen, need_weights=False)[0]
        return clip + self.feed_forward(self.norm(clip))
