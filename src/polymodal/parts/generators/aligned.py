"""A small denoiser of frames that follow a text in time. Decides how a condition's positions find their frames.

No alignment is given. Each position says how long it lasts and how sharply it begins; frames look at positions by Gaussians
around their centres (Non-Attentive Tacotron, arXiv 2010.04301). The denoising loss reaches those durations, and their sum
is taught as the length. What denoises are the convolutions of Diffuser (arXiv 2205.09991), as diffusers has them.
"""

from __future__ import annotations

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.embeddings import TimestepEmbedding, Timesteps
from diffusers.models.modeling_utils import ModelMixin
from diffusers.models.resnet import ResidualTemporalBlock1D
from torch import Tensor, nn
from torch.nn import functional


class AlignedDenoiser(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """sample [S, channels, T], timestep [S], encoder_hidden_states [S, Q, cross_attention_dim] -> [S, channels, T]. `patch`
    frames are one step of the convolutions; T is a multiple of it. `width` is one of 8's multiples."""

    @register_to_config
    def __init__(
        self,
        cross_attention_dim: int,
        channels: int = 192,
        width: int = 160,
        layers: int = 5,
        kernel: int = 5,
        patch: int = 2,
    ) -> None:
        super().__init__()
        self.patch = patch
        self.read = nn.Linear(cross_attention_dim, width)
        self.spell = nn.ModuleList(nn.Conv1d(width, width, kernel, padding=kernel // 2) for _ in range(2))
        self.timing = nn.Linear(width, 2)
        self.place = nn.Linear(1, width)
        self.time = nn.Sequential(Timesteps(64, True, 0), TimestepEmbedding(64, width))
        self.enter = nn.Conv1d(channels * patch, width, 3, padding=1)
        self.blocks = nn.ModuleList(ResidualTemporalBlock1D(width, width, width, kernel) for _ in range(layers))
        self.leave = nn.Conv1d(width, channels * patch, 3, padding=1)

    def forward(
        self, sample: Tensor, timestep: Tensor, encoder_hidden_states: Tensor, return_dict: bool = False
    ) -> tuple[Tensor]:
        states, ends, durations, spread = self._timed(encoder_hidden_states)
        steps = sample.shape[-1] // self.patch
        at = torch.arange(steps, device=sample.device)[None, :, None] + 0.5
        away = (at - (ends - durations / 2)[:, None]) / spread[:, None]  # [S, steps, Q]
        near = (-away.square() / 2 - spread.log()[:, None]).softmax(-1)
        told = near @ states + self.place((near * away).sum(-1, keepdim=True))
        patches = sample.unflatten(-1, (steps, self.patch)).transpose(2, 3).flatten(1, 2)
        x, time = self.enter(patches) + told.transpose(1, 2), self.time(timestep)
        for block in self.blocks:
            x = block(x, time)
        return (self.leave(x).unflatten(1, (-1, self.patch)).transpose(2, 3).flatten(2),)

    def frames(self, condition: Tensor) -> Tensor:
        """[S, Q, cross_attention_dim] -> [S], how many frames it lasts, with a fraction."""
        return self._timed(condition)[1][:, -1] * self.patch

    def _timed(self, condition: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """What is said at each position [S, Q, width], and where its steps end, how many they are and how far they
        blur [S, Q]."""
        x = self.read(condition).transpose(1, 2)
        for conv in self.spell:
            x = x + functional.silu(conv(x))
        states = x.transpose(1, 2)
        durations, spread = functional.softplus(self.timing(states)).unbind(-1)
        return states, durations.cumsum(1), durations, spread + 0.3
