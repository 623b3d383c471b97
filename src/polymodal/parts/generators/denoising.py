"""What every diffusion generator does, whatever it makes. Decides how noise is added in training, how a condition is
dropped and guided by, and in which order noise is taken away.

    noisy = a(t) latents + b(t) noise --network(noisy, t, condition)--> noise, velocity or the flow noise - latents

Networks and schedules are those of diffusers, called directly. Shapes: S latents [C, ...], conditions [Q, Dg].
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from polymodal.errors import DataError, RecipeError
from polymodal.parts.generators import generated_texts, paired_texts
from polymodal.parts.generators.text_conditions import TextConditions
from polymodal.parts.output import Generator, Target

SHORT = 256  # tokens, over which attention by plain products is faster in training on a CPU
GAMMA = 5.0  # of min-SNR weighting, as arXiv 2303.09556 has it
NEAREST = 0.05  # share of noise below which an error of clean latents counts no more, as arXiv 2511.13720 has it


class Diffusion(Generator):
    """`network`: a denoiser that takes latents, timesteps and `encoder_hidden_states`. `scheduler`: what samples; its
    config also says how noise is added and what the network predicts (epsilon, v_prediction, or a flow). `texts`: the
    network's own text encoder, None without one. `drop`: the share of conditions that training replaces by `unconditional`,
    which guidance steers away from, and of sources that it leaves out (half of those with their conditions, as arXiv
    2211.09800 has it). `min_snr`: weights the steps of epsilon and v_prediction by min-SNR (gamma 5). `clean`: the network
    of a flow says what the latents are, and the flow follows from that: one that is narrower than its latents cannot pass
    their noise on (arXiv 2511.13720). `source_guidance`: how far what is made follows a source."""

    takes = "condition"
    stride = 1  # pixels of one latent, along a side

    def __init__(
        self,
        network: nn.Module,
        scheduler: Any,
        texts: TextConditions | None,
        positions: int,
        steps: int,
        guidance: float,
        drop: float,
        min_snr: bool,
        clean: bool = False,
        source_guidance: float = 1.0,
    ) -> None:
        super().__init__()
        import diffusers

        self.network, self.scheduler, self.texts = network, scheduler, texts
        self.positions, self.width = positions, _width(network)
        if positions > 1 and _classed(network):
            raise RecipeError(f"generator.conditions.positions is {positions}, but this network is told one vector")
        self.steps, self.guidance, self.drop, self.min_snr = steps, guidance, drop, min_snr
        self.source_guidance = source_guidance
        self.sums = paired_texts.sums(network)  # the width of a second condition, one vector
        self.widths = generated_texts.widths(network)  # of two conditions
        self.reads = frozenset(inspect.signature(network.forward).parameters)
        self.flow = isinstance(scheduler, diffusers.FlowMatchEulerDiscreteScheduler)
        self.predicts = "flow" if self.flow else scheduler.config.get("prediction_type", "epsilon")
        self.clean = clean and self.flow
        if self.predicts not in ("flow", "epsilon", "v_prediction"):
            raise RecipeError(f"generator: a network that predicts '{self.predicts}' cannot be trained or run here")
        # Samplers scale and space their noise each in their own way; all are trained as DDPM is.
        self.noising = scheduler if self.flow else diffusers.DDPMScheduler.from_config(scheduler.config)
        self.unconditional: Tensor
        self.register_buffer("unconditional", torch.zeros(positions, self.width))

    def condition(self, targets: Sequence[Target]) -> Tensor:
        """What the network's own text encoder makes of the captions."""
        captions = [target.caption for target in targets if target.caption is not None]
        if len(captions) < len(targets):
            raise DataError(f"field 'caption': {len(targets) - len(captions)} targets of the generator have none")
        if self.texts is None:
            raise RecipeError("generator.conditions is not given, so that no caption can be read")
        if self.texts.width != self.width:  # found out here: what is made of conditions needs no text encoder
            wants = f"{type(self.network).__name__} wants {self.width}"
            raise RecipeError(f"generator.conditions are {self.texts.width} numbers wide, {wants}")
        return self.texts(captions).to(self.unconditional)

    def denoising(self, latents: Tensor, condition: Tensor, source: Tensor | None = None) -> Tensor:
        """[S, C, ...] and [S, Q, Dg] -> [S]: the mean squared error of what the network predicts, at random steps.
        `source` [S, C, ...]: what it is given beside the noisy latents."""
        noise = torch.randn_like(latents)
        if self.drop and self.learns:
            drawn = torch.rand(len(latents), 1, 1, device=latents.device)
            condition = torch.where(drawn < self.drop, self.unconditional, condition)
            if source is not None:
                kept = (drawn < self.drop / 2) | (drawn >= 1.5 * self.drop)
                source = source * kept.view(-1, *[1] * (source.ndim - 1))
        at = torch.randint(self.noising.config.num_train_timesteps, (len(latents),), device=latents.device)
        weight = torch.ones_like(at, dtype=latents.dtype)
        if self.flow:  # straight lines between noise and latents, arXiv 2210.02747
            sigma = self.noising.sigmas.to(latents)[at].view(-1, *[1] * (latents.ndim - 1))
            noisy, wanted = sigma * noise + (1 - sigma) * latents, noise - latents
            at = self.noising.timesteps.to(latents)[at]
            if self.clean:
                wanted = (noisy - latents) / sigma.clamp(min=NEAREST)
        else:
            noisy, wanted = self.noising.add_noise(latents, noise, at), noise
            if self.predicts == "v_prediction":
                wanted = self.noising.get_velocity(latents, noise, at)
            if self.min_snr:
                from diffusers.training_utils import compute_snr

                snr = compute_snr(self.noising, at)
                weight = snr.clamp(max=GAMMA) / (snr + 1 if self.predicts == "v_prediction" else snr)
        with _attention(noisy, self.network):
            error = self.predicted(noisy, at, condition, source) - wanted
        return weight * error.float().square().flatten(1).mean(1)

    @property
    def learns(self) -> bool:
        """Whether the network is in training, or adapters of it are, while it runs as in inference."""
        return any(module.training for module in self.network.modules())

    def predicted(self, noisy: Tensor, at: Tensor, condition: Tensor, source: Tensor | None = None) -> Tensor:
        """What the network says of noisy latents [S, C, ...] at timesteps [S]."""
        more: dict[str, Any] = {"encoder_hidden_states": condition}
        if self.sums:
            high, wide = (self.stride * side for side in noisy.shape[-2:])
            more = paired_texts.told(condition, self.sums, (high, wide))
        elif self.widths is not None:
            more = generated_texts.told(condition, getattr(self.texts, "first", 0), self.widths)
        elif "added_cond_kwargs" in self.reads:  # PixArt wants it, even if there is nothing in it
            more["added_cond_kwargs"] = {"resolution": None, "aspect_ratio": None}
        if "pooled_projections" in self.reads:
            more["pooled_projections"] = condition.mean(1)
        if _classed(self.network):  # AudioLDM's is told its condition beside the time, and looks at nothing
            more |= {"class_labels": condition[:, 0], "encoder_hidden_states": None}
        seen = noisy if source is None else torch.cat([noisy, source], 1)
        out = self.network(seen, timestep=at, return_dict=False, **more)[0]
        out = out[:, : noisy.shape[1]]  # where the network predicts a variance as well, it comes second
        if self.clean:
            sigma = (at / self.noising.config.num_train_timesteps).clamp(min=NEAREST)
            return (noisy - out) / sigma.to(out).view(-1, *[1] * (out.ndim - 1))
        return out

    @torch.no_grad()
    def denoised(
        self,
        condition: Tensor,
        shape: Sequence[int],
        random: torch.Generator,
        on_step: Callable[[int, int], None] | None = None,
        source: Tensor | None = None,
    ) -> Tensor:
        """[S, Q, Dg] -> latents [S, *shape], from noise that is drawn on the CPU. `source`: as in `denoising`."""
        scheduler = type(self.scheduler).from_config(self.scheduler.config)  # it counts its steps: one for each run
        scheduler.set_timesteps(self.steps)
        condition = condition.to(self.unconditional)
        latents = torch.randn(len(condition), *shape, generator=random).to(self.unconditional)
        latents = latents * scheduler.init_noise_sigma if not self.flow else latents
        draws = {"generator": random} if "generator" in inspect.signature(scheduler.step).parameters else {}
        for done, at in enumerate(scheduler.timesteps, 1):
            noisy = latents if self.flow else scheduler.scale_model_input(latents, at)
            out = self._guided(noisy, at.to(noisy.device), condition, source)
            latents = scheduler.step(out, at, latents, return_dict=False, **draws)[0]
            if on_step is not None:
                on_step(done, len(scheduler.timesteps))
        return latents

    def _guided(self, noisy: Tensor, at: Tensor, condition: Tensor, source: Tensor | None) -> Tensor:
        """What the network says, away from what it says of nothing (classifier-free guidance, arXiv 2207.12598): from
        nothing to the source alone, and from there to the condition as well (arXiv 2211.09800)."""
        told = [(condition, source)]
        scales = [self.guidance]
        followed = source is not None and self.source_guidance != 1.0
        if followed or self.guidance != 1.0:
            told.insert(0, (self.unconditional.expand_as(condition), source))
        if followed and source is not None:
            told.insert(0, (told[0][0], torch.zeros_like(source)))
            scales.insert(0, self.source_guidance)
        conditions, beside = torch.cat([each for each, _ in told]), None
        if source is not None:
            beside = torch.cat([each for _, each in told if each is not None])
        noisy = torch.cat([noisy] * len(told))
        outs = self.predicted(noisy, at.expand(len(noisy)), conditions, beside).chunk(len(told))
        out = outs[0]
        for scale, less, more in zip(scales, outs, outs[1:], strict=False):
            out = out + scale * (more - less)
        return out


def _attention(latents: Tensor, network: Any) -> AbstractContextManager[None]:
    """torch's fused attention goes backwards slowly in bfloat16 on a CPU: over few tokens, most of a step was that."""
    patch = network.config.get("patch_size") or 1
    size = patch**2 if isinstance(patch, int) else math.prod(patch)
    if latents.device.type == "cpu" and latents[0, 0].numel() <= SHORT * size:
        return sdpa_kernel(SDPBackend.MATH)
    return nullcontext()


def _width(network: Any) -> int:
    """Dg: the width of the conditions that a network of diffusers looks at, or is told."""
    if _classed(network):
        return network.config.projection_class_embeddings_input_dim
    if both := generated_texts.widths(network):
        return max(both)
    for name in ("encoder_hid_dim", "caption_channels", "joint_attention_dim", "cross_attention_dim", "text_dim"):
        width = network.config.get(name)
        if isinstance(width, int):
            return width
    raise RecipeError(f"generator: {type(network).__name__} looks at no condition of one width")


def _classed(network: Any) -> bool:
    return network.config.get("class_embed_type") == "simple_projection"
