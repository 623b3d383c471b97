"""Perceiver resampler (Flamingo, arXiv 2204.14198), transformers' Idefics2 form: any N becomes `latents` positions."""

from __future__ import annotations

from torch import Tensor, nn

from polymodal.parts.base import Features, InputProjector, Positive
from polymodal.parts.input_projectors.padding import pad


class PerceiverResampler(InputProjector):
    """A linear layer De -> D, then `depth` layers of cross-attention from learned latents. Heads of width 64 or less.
    `hidden`: of this width instead of D, with a linear layer to D behind (Flamingo's is as wide as its encoder)."""

    def __init__(
        self,
        width_in: int,
        width_out: int,
        latents: Positive = 64,
        depth: Positive = 2,
        heads: Positive | None = None,
        hidden: Positive | None = None,
    ) -> None:
        super().__init__()
        from transformers.models.idefics2.configuration_idefics2 import Idefics2PerceiverConfig
        from transformers.models.idefics2.modeling_idefics2 import Idefics2PerceiverResampler

        width = hidden or width_out
        heads = heads or max(1, width // 64)
        config = Idefics2PerceiverConfig(
            hidden_size=width,
            resampler_n_latents=latents,
            resampler_depth=depth,
            resampler_n_heads=heads,
            num_key_value_heads=heads,
            resampler_head_dim=max(1, width // heads),
        )
        config._attn_implementation = "eager"  # the padding mask below is exact with it on every device
        self.latents = latents
        self.enter = nn.Linear(width_in, width)
        self.resampler = Idefics2PerceiverResampler(config)
        nn.init.normal_(self.resampler.latents, std=0.02)  # the class starts them all at one, hence all alike
        self.leave = nn.Identity() if hidden is None else nn.Linear(hidden, width_out)

    def length(self, n: int) -> int:
        return self.latents

    def forward(self, features: Features) -> list[Tensor]:
        context, mask = pad(features)
        return list(self.leave(self.resampler(self.enter(context), mask)))
