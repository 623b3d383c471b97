"""Speech end to end: a condition becomes latent frames of Piper's decoder by flow matching, and the decoder a waveform.
Decides what a target is: frames that the decoder turns into the sound, for it has no encoder.

Of spoken words the graph of a voice gives them: it is the teacher, who says each caption. Of another sound they have to be
searched for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from polymodal.errors import MediaError, RecipeError
from polymodal.parts.base import Positive, build
from polymodal.parts.generators import networks
from polymodal.parts.generators.aligned import AlignedDenoiser
from polymodal.parts.generators.denoising import Diffusion
from polymodal.parts.generators.hifigan import HifiGan
from polymodal.parts.generators.text_conditions import TextConditions
from polymodal.parts.input_projectors.standardize import Standardize
from polymodal.parts.voices.teacher import Teacher

FLOW = {"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0}


class LatentSpeech(Diffusion):
    """`path`: a decoder, `asset:piper-joe-decoder`; or `config`: arguments of `HifiGan`, random weights. `conditions`: a
    text encoder and `positions` (`TextConditions`). `network`: arguments of `AlignedDenoiser`. `frames`: the longest that
    is said (172 of Piper's are 2 s). `teacher`: `path` and `speller` as of `voice`, `{}` for its own: in training it says
    what has a caption and no recording."""

    modality = "audio"
    network: AlignedDenoiser

    def __init__(
        self,
        conditions: dict[str, Any],
        path: str | None = None,
        config: dict[str, Any] | None = None,
        network: dict[str, Any] | None = None,
        frames: Positive = 172,
        steps: Positive = 8,
        guidance: float = 1.0,
        drop: Annotated[float, Field(ge=0, le=1)] = 0.0,
        teacher: dict[str, str] | None = None,
    ) -> None:
        if (path is None) == (config is None):
            raise RecipeError("generator 'latent-speech' needs either 'path' (a decoder) or 'config' (random weights)")
        decoder = HifiGan.from_pretrained(path) if path is not None else HifiGan(**(config or {}))
        texts = build("generator.conditions", {"texts": TextConditions}, {"kind": "texts", **conditions})
        options = {"cross_attention_dim": texts.width, "channels": decoder.latent_width} | (network or {})
        denoiser = build("generator.network", {"aligned": AlignedDenoiser}, {"kind": "aligned", **options})
        scheduler = networks.built("scheduler", FLOW)
        super().__init__(denoiser, scheduler, texts, texts.positions, steps, guidance, drop, min_snr=False, clean=True)
        self.decoder, self.frames, self.scale = decoder.requires_grad_(False), frames, Standardize(decoder.latent_width)
        self.options = {"conditions": conditions, "config": decoder.options, "network": network, "frames": frames}
        self.options |= {"steps": steps, "guidance": guidance, "drop": drop, "teacher": teacher}
        asked = {"kind": "voice", **(teacher or {})}
        self.teacher: Teacher | None = None if teacher is None else build("generator.teacher", {"voice": Teacher}, asked)

    def prepare(self, media: Any) -> Tensor:
        """Frames z [latent_width, L], L of `frames` at most -> [latent_width + 1, frames]: behind them the last frame goes
        on, and a last row is 1 as long as they last."""
        z = torch.as_tensor(media, dtype=torch.float32)
        if z.ndim != 2 or z.shape[0] != self.decoder.latent_width or not 0 < z.shape[1] <= self.frames:
            wanted = f"[{self.decoder.latent_width}, up to {self.frames}]"
            raise MediaError(
                f"latent frames {wanted} are wanted, not {list(z.shape)}; the decoder has no encoder of sounds"
            )
        lasting = (torch.arange(self.frames) < z.shape[1]).to(z)
        return torch.cat([torch.cat([z, z[:, -1:].expand(-1, self.frames - z.shape[1])], dim=1), lasting[None]])

    def taught(self, caption: str) -> Tensor | None:
        """As `prepare`, of what the teacher says. Raises `MediaError` where it takes longer than `frames`."""
        if self.teacher is None:
            return None
        z = self.teacher(caption)
        if z.shape[1] > self.frames:
            raise MediaError(f"{caption!r} takes {z.shape[1]} frames to say; 'frames' of the generator are {self.frames}")
        return self.prepare(z)

    def loss(self, targets: Tensor, condition: Tensor) -> Tensor:
        """[S, latent_width + 1, frames] and [S, Q, Dg] -> [S]: of the flow, and of how long it lasts."""
        lengths = targets[:, -1].sum(-1)
        z = targets[:, :-1, : self._whole(lengths.max().item())]
        z = self.scale(z.transpose(1, 2).flatten(0, 1)).unflatten(0, (len(z), -1)).transpose(1, 2)
        wrong = functional.smooth_l1_loss(self.network.frames(condition), lengths, reduction="none")
        return self.denoising(z, condition) + wrong / self.frames

    def make(
        self, given: Tensor | Sequence[str], random: torch.Generator, on_step: Callable[[int, int], None] | None = None
    ) -> list[Any]:
        """S conditions -> S `(float32 samples, rate)`."""
        if not isinstance(given, Tensor):
            raise RecipeError("generator 'latent-speech' speaks of conditions, not of texts")
        made = []
        for one in given.to(self.unconditional)[:, None]:  # each at its own length, so that none depends on another
            with torch.no_grad():
                length = max(1, min(round(self.network.frames(one).item()), self.frames))
            z = self.denoised(one, (self.decoder.latent_width, self._whole(length)), random, on_step)
            with torch.no_grad():
                wave = self.decoder(self.scale.back(z.transpose(1, 2)).transpose(1, 2)[..., :length])
            made.append((wave[0, 0].float().cpu().numpy(), self.decoder.sample_rate))
        return made

    def _whole(self, frames: float) -> int:
        """Rounded up to whole patches of the network."""
        return -(-int(frames) // self.network.patch) * self.network.patch
