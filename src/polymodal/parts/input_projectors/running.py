"""What is learned by counting and not by gradients. Decides that a step counts once, however it was cut."""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor, nn


class Running(nn.Module):
    """Statistics of what training has seen. What a training pass sees is learned when it is over; inside `hold`, which
    training puts around a step, when the step is."""

    held: Tensor | None = None

    def hold(self) -> None:
        """From now on nothing is learned, and what is seen is summed in `held` until it is given to `learn`."""
        self.held = self.nothing()

    def see(self, seen: Tensor) -> None:
        if self.held is None:
            self.learn(seen)
        else:
            self.held += seen

    @abstractmethod
    def nothing(self) -> Tensor:
        """What was seen before anything was: zeros."""

    @abstractmethod
    def learn(self, seen: Tensor) -> None:
        """Learn what was seen: sums may be added up over batches and processes that began with the same statistics."""
