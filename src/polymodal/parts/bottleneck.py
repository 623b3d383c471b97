"""A bottleneck behind a layer (Houlsby et al. 2019, arXiv:1902.00751; behind whole layers of an LLM: Lynx, 2307.02469).
Decides that the layer is otherwise left alone: whatever its family gives and asks of it, it still gives and is asked."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class BottleneckLayer(nn.Module):
    """h + up(gelu(down(h))) of the states h [B, T, D] that `base_layer` gives, `up` zero at first. `width`: D; `inner`: of
    what lies between. The two are kept in full precision."""

    def __init__(self, base_layer: nn.Module, width: int, inner: int) -> None:
        super().__init__()
        self.base_layer = base_layer
        options: dict[str, Any] = {"device": next(base_layer.parameters()).device, "dtype": torch.float32}
        self.adapter_down = nn.Linear(width, inner, **options)
        self.adapter_up = nn.Linear(inner, width, **options)
        nn.init.zeros_(self.adapter_up.weight)
        nn.init.zeros_(self.adapter_up.bias)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        out = self.base_layer(*args, **kwargs)
        states: Tensor = out[0] if isinstance(out, tuple) else out
        change = self.adapter_up(F.gelu(self.adapter_down(states.to(self.adapter_down.weight.dtype))))
        states = states + change.to(states.dtype)
        return (states, *out[1:]) if isinstance(out, tuple) else states

    def __getattr__(self, name: str) -> Any:
        """What models ask their layers for, such as the kind of attention, is asked of the layer."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name == "base_layer":
                raise
            return getattr(self.base_layer, name)
