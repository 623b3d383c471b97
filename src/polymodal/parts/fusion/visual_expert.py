"""Visual expert (CogVLM, arXiv 2311.03079): features stand in the sequence, and every linear layer of the backbone's layers
has a second set of weights for them: queries, keys and values, the layer behind the attention (as in the authors' code) and
the feed-forward part. They begin as copies of the backbone's own; norms are shared, and so is the attention over both.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import skip_init

from polymodal.errors import RecipeError
from polymodal.parts.backbones import Backbone
from polymodal.parts.fusion.inside import Inside


class VisualExpert(Inside):
    """N features take N positions. Text passes the backbone's weights and no others, bit for bit. For backbones whose
    layers are linear layers and norms; raises `RecipeError` for others, and when run where learned tokens pass these
    layers too (fusion 'adaption-prompts', adapter 'prefix')."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__(backbone)
        self.layers = nn.ModuleList()
        for i, layer in enumerate(backbone.layers):
            linear = {name: module for name, module in layer.named_modules() if type(module) is nn.Linear}
            known = {id(module.weight) for module in linear.values()}
            for name, weight in layer.named_parameters():
                if weight.dim() > 1 and id(weight) not in known:
                    kind = backbone.lm.config.model_type
                    raise RecipeError(f"fusion 'visual-expert': '{name}' of a '{kind}' backbone is of no linear layer")
            experts = {name.replace(".", "-"): _copy(module) for name, module in linear.items()}
            self.layers.append(nn.ModuleDict(experts))
            for key, module in zip(experts, linear.values(), strict=True):
                module.register_forward_hook(functools.partial(self._after, i, key))

    def length(self, n: int) -> int:
        return n

    def placed(self, features: Tensor) -> Tensor:
        return features

    @contextmanager
    def attending(self, features: list[Tensor], latest: Tensor, own: Tensor) -> Iterator[None]:
        with self.giving(own if features else None):
            yield

    def _after(self, i: int, key: str, linear: nn.Module, args: tuple[Tensor], output: Tensor) -> Tensor:
        """What a linear layer gives, with its expert's in the columns of media."""
        own, first = self.running
        if own is None or not own[:, first : first + self.columns].any():  # text, and whatever is generated
            return output
        (states,) = args
        here = F.pad(own, (0, self.columns))[:, first : first + self.columns]  # nothing stands behind the batch
        times, rest = divmod(output.shape[:-1].numel(), here.numel())  # rows may be repeated: beams
        if rest or not times:
            raise RecipeError(
                "fusion 'visual-expert': learned tokens beside the sequence pass the backbone's layers; "
                "drop the fusion 'adaption-prompts' or the adapter 'prefix'"
            )
        here = here.repeat_interleave(times, 0).to(output.device).view(output.shape[:-1])
        expert: Any = self.layers[i]
        seen = expert[key](states[here].to(expert[key].weight.dtype))
        return output.masked_scatter(here[..., None], seen.to(output.dtype))


def _copy(linear: nn.Linear) -> nn.Linear:
    """Of the same weights, in full precision and without hooks."""
    options: dict[str, Any] = {"device": linear.weight.device, "dtype": torch.float32}
    copy = skip_init(nn.Linear, linear.in_features, linear.out_features, linear.bias is not None, **options)
    with torch.no_grad():
        for parameter, value in zip(copy.parameters(), linear.parameters(), strict=True):
            parameter.copy_(value)
    return copy
