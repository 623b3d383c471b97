"""The decoder of Piper's voices: latent frames -> waveform, differentiable. Decides nothing: it is HiFi-GAN (arXiv
2010.05646) as VITS (arXiv 2106.06103) has it.

transformers has HiFi-GAN as `SpeechT5HifiGan` and `VitsHifiGan`, whose residual blocks are the paper's first kind: pairs of
convolutions. Piper's voices of medium quality have its second kind, one convolution for each dilation, which neither class
can express: a pair with the identity as its second still has a leaky ReLU between.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from polymodal.errors import RecipeError
from polymodal.parts.sources import locate, read_tensors

SLOPE = 0.1  # of every leaky ReLU but the last


class HifiGan(nn.Module):
    """z [B, latent_width, T] -> wave [B, 1, hop T] in -1 to 1 at `sample_rate`. `upsample`: (stride, kernel) of each step,
    behind which there are half as many channels; `residual`: (kernel, dilations) of the blocks behind each, whose mean is
    taken. `hop`: samples of one frame, the product of the strides. The defaults are those of "medium"."""

    def __init__(
        self,
        latent_width: int = 192,
        channels: int = 256,
        upsample: Sequence[tuple[int, int]] = ((8, 16), (8, 16), (4, 8)),
        residual: Sequence[tuple[int, Sequence[int]]] = ((3, (1, 2)), (5, (2, 6)), (7, (3, 12))),
        sample_rate: int = 22_050,
    ) -> None:
        super().__init__()
        self.options: dict[str, Any] = {"latent_width": latent_width, "channels": channels, "sample_rate": sample_rate}
        self.options |= {
            "upsample": [*map(list, upsample)],
            "residual": [[kernel, list(each)] for kernel, each in residual],
        }
        self.latent_width, self.sample_rate, self.blocks, self.hop = latent_width, sample_rate, len(residual), 1
        self.conv_pre = nn.Conv1d(latent_width, channels, 7, padding=3)
        self.ups, self.resblocks = nn.ModuleList(), nn.ModuleList()
        for stride, kernel in upsample:
            self.ups.append(nn.ConvTranspose1d(channels, channels // 2, kernel, stride, (kernel - stride) // 2))
            channels, self.hop = channels // 2, self.hop * stride
            self.resblocks.extend(ResidualBlock(channels, *block) for block in residual)
        self.conv_post = nn.Conv1d(channels, 1, 7, padding=3, bias=False)

    @classmethod
    def from_pretrained(cls, path: str) -> HifiGan:
        """From a folder with config.json and model.safetensors, or `asset:piper-joe-decoder`. Raises `RecipeError` if there
        is no config, `CheckpointError` for a tensor that is missing, unexpected or misshapen."""
        file = Path(locate(path)) / "config.json"
        if not file.is_file():
            raise RecipeError(f"{path}: no decoder of a Piper voice, it has no config.json")
        decoder = cls(**json.loads(file.read_text("utf-8")))
        read_tensors(file.with_name("model.safetensors"), decoder)
        return decoder

    def forward(self, z: Tensor) -> Tensor:
        x = self.conv_pre(z)
        for i, up in enumerate(self.ups):
            x = up(functional.leaky_relu(x, SLOPE))
            blocks = self.resblocks[i * self.blocks : (i + 1) * self.blocks]
            x = sum(block(x) for block in blocks) / self.blocks
        return self.conv_post(functional.leaky_relu(x)).tanh()


class ResidualBlock(nn.Module):
    """[B, channels, T] -> the same: the paper's second kind."""

    def __init__(self, channels: int, kernel: int, dilations: Sequence[int]) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Conv1d(channels, channels, kernel, padding=(kernel - 1) * d // 2, dilation=d) for d in dilations
        )

    def forward(self, x: Tensor) -> Tensor:
        for conv in self.convs:
            x = x + conv(functional.leaky_relu(x, SLOPE))
        return x
