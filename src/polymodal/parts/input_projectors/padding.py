"""Padding of features of unequal lengths, for projectors that attend over a whole item."""

from __future__ import annotations

import torch
from torch import Tensor

from polymodal.parts.base import Features


def pad(features: Features) -> tuple[Tensor, Tensor]:
    """M x [N, De] -> ([M, max N, De], mask [M, max N], one where real)."""
    padded = torch.nn.utils.rnn.pad_sequence(features.tokens, batch_first=True)
    lengths = torch.tensor([len(x) for x in features.tokens], device=padded.device)
    return padded, (torch.arange(padded.shape[1], device=padded.device) < lengths[:, None]).long()
