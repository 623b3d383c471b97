"""Batch norms of pretrained encoders. Decides that they use what they learned and learn no more, in training too: an item's
features do not depend on the other items of its batch."""

from __future__ import annotations

from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm


class FixedBatchNorm(_BatchNorm):
    """Over the second dimension of [B, width, ...]; its scale and bias may still be trained."""

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.training = False

    def train(self, mode: bool = True) -> FixedBatchNorm:
        return super().train(False)

    def _check_input_dim(self, input: Tensor) -> None:  # of any number of dimensions
        pass
