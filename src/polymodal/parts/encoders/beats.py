"""BEATs (arXiv 2212.09058), an encoder of any sound. *Unverified on real weights*: names and shapes are those of the
authors' code, and their checkpoints (MIT) were never loaded here."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from polymodal.parts import released
from polymodal.parts.base import Encoder, Features, Inputs, run_by_shape
from polymodal.parts.encoders.beats_network import PATCH, Beats
from polymodal.parts.encoders.fbank import BINS, fbank

PUBLISHED = {"width": 768, "depth": 12, "heads": 12, "hidden": 3072, "embedding": 512}
MEAN, SPREAD = 15.41663, 2 * 6.55582  # of filter banks of 16-bit samples, and twice the deviation
WINDOW = 187 * PATCH  # frames, 30 s: as SALMONN (arXiv 2310.13289) runs it


class BeatsAudio(Encoder):
    """`path`: one of the authors' files, such as `BEATs_iter3_plus_AS2M.pt`, fine-tuned ones included; or `config`:
    `width`, `depth`, `heads`, `hidden`, `embedding` of a random one. 50 features per second: eight bands of each 0.16 s."""

    modality = "audio"

    def __init__(self, path: str | None = None, config: dict[str, int] | None = None) -> None:
        super().__init__()
        size = released.sizes("beats", PUBLISHED, path, config)
        self.network = Beats(**size)
        if path is not None:  # of one that was fine-tuned without its classifier
            released.load(self.network, released.read(path, "model"), path, beside=["predictor."])
        self.width, self.options = size["width"], {"config": size}

    def prepare(self, media: Any) -> Inputs:
        """Samples [S] at 16 kHz -> a standardised filter bank [frames, 128], frames a multiple of 16: what is left at the
        end, less than 0.16 s, is cut off."""
        bank = fbank(2.0**15 * torch.as_tensor(media), "povey", least=PATCH)
        return {"bank": ((bank - MEAN) / SPREAD)[: len(bank) // PATCH * PATCH]}

    def length(self, inputs: Inputs) -> int:
        return len(inputs["bank"]) // PATCH * (BINS // PATCH)

    def forward(self, items: list[Inputs]) -> Features:
        def run(batch: Inputs) -> Tensor:  # [B, N, De]
            return torch.cat([self.network(window) for window in batch["bank"].split(WINDOW, dim=1)], dim=1)

        return Features(run_by_shape(items, run))
