"""Parameter-efficient fine-tuning: adapters attached to a model in place, by pattern over module names. Decides what an
adapter is here: a wrapper around one module, which leaves that module's weights as they are.

    lora        a product of two thin matrices beside a linear layer (Hu et al. 2021, arXiv:2106.09685)
    prefix      learned tokens that an attention layer also attends to, behind a gate that starts at zero (LLaMA-Adapter,
                Zhang et al. 2023, arXiv:2303.16199)
    layernorm   a normalisation layer's gain and bias, learned in a copy (Zhao et al. 2023, arXiv:2312.11420)
    bottleneck  two thin layers behind a layer of a language model (Houlsby et al. 2019, arXiv:1902.00751)

The layers are the `peft` library's, but for the last, which it has not. Ours is where they go and what they are called. A
wrapped module keeps its name, and so do its weights: `...q_proj.weight` is what it was, `...q_proj.lora_A.weight` stands
beside it. Patterns of a stage, a run's state and checkpoints all use these names, so that none of them changes when an
adapter is attached. Each starts as the identity: attaching changes no output.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from polymodal.errors import RecipeError, nearest
from polymodal.parts.bottleneck import BottleneckLayer


class _Adapter(BaseModel):
    """`rate`: the learning rate, where a stage trains it."""

    model_config = ConfigDict(extra="forbid")
    rate: float | None = Field(None, gt=0, allow_inf_nan=False)


class LoRA(_Adapter):
    """`r`: rank. The product is scaled by `alpha` / `r`. `dropout`: of what goes into it, in training."""

    kind: Literal["lora"]
    r: int = Field(8, ge=1)
    alpha: float = Field(16.0, gt=0)
    dropout: float = Field(0.0, ge=0, lt=1)


class Prefix(_Adapter):
    """`length`: learned tokens of each attention layer."""

    kind: Literal["prefix"]
    length: int = Field(10, ge=1)


class LayerNorm(_Adapter):
    kind: Literal["layernorm"]


class Bottleneck(_Adapter):
    """`width`: of what lies between the two layers."""

    kind: Literal["bottleneck"]
    width: int = Field(64, ge=1)


Adapter = Annotated[LoRA | Prefix | LayerNorm | Bottleneck, Field(discriminator="kind")]
_BASE = {
    "lora": "base_layer",
    "prefix": "model",
    "layernorm": "base_layer",
    "bottleneck": "base_layer",
}  # of what is wrapped
_BESIDE = ("prefix", "bottleneck")  # what no plain weights express
_MARK = "_polymodal_adapter"
_NAME = "default"  # peft can hold several adapters of a module by name; here a module has one


def attach(model: nn.Module, adapters: Mapping[str, Any]) -> None:
    """Wrap every module that a pattern matches, among those that its kind of adapter fits. One that already has just this
    adapter keeps it. Raises `RecipeError` for a pattern that matches nothing, with the nearest module, and for a module
    that has another adapter."""
    for pattern, adapter in adapters.items():
        adapter = adapter.model_copy(update={"rate": None})
        shared = Counter(id(p) for module in model.modules() for p in module._parameters.values())
        widths = _widths(model)
        fits = {name: place for name, place in _places(model) if _fits(adapter, _at(place), shared, widths)}
        matched = {name: place for name, place in fits.items() if fnmatchcase(name, pattern)}
        if not matched:
            hint = nearest(pattern, fits) if fits else ": this model has no module that it fits"
            raise RecipeError(f"the peft pattern '{pattern}' ({adapter.kind}) matches no module{hint}")
        for name, place in matched.items():
            current = attached(_at(place))
            if current is None:
                place[0]._modules[place[1]] = _wrap(_at(place), adapter, widths)
            elif current != adapter:
                has = current.model_dump(exclude_none=True)
                raise RecipeError(
                    f"the peft pattern '{pattern}' matches {name}, which already has {has}: use the same options"
                )


def attached(module: nn.Module) -> Any:
    """The adapter that a module has, or None."""
    return getattr(module, _MARK, None)


def base(module: nn.Module) -> nn.Module:
    """What a module wraps, or itself."""
    adapter = attached(module)
    return module if adapter is None else getattr(module, _BASE[adapter.kind])


def named_modules(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """As `model.named_modules()`, by names that do not change when adapters are attached. What is wrapped is left out: its
    wrapper has its name. So are the insides of adapters."""
    yield "", model
    for name, place in _places(model):
        yield name, _at(place)


def named_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """As `model.named_parameters()`, by names that do not change when adapters are attached."""
    found: dict[int, tuple[str, nn.Parameter]] = {}
    for name, module in named_modules(model):
        for key, parameter in [*base(module)._parameters.items(), *_own(module)]:
            if parameter is not None:
                found.setdefault(id(parameter), (_joined(name, key), parameter))
    return dict(found.values())


def named(model: nn.Module, adapters: Mapping[str, Any]) -> dict[str, str]:
    """{parameter of an adapter: the pattern that names it}; of two patterns, the last."""
    out: dict[str, str] = {}
    for pattern, adapter in adapters.items():
        for name, module in named_modules(model):
            if fnmatchcase(name, pattern) and attached(module) and attached(module).kind == adapter.kind:
                out.update({_joined(name, key): pattern for key, _ in _own(module)})
    return out


def learn(model: nn.Module) -> None:
    """Put the adapters that train, and nothing else, into training mode: what they are attached to runs as it did."""
    for _, module in named_modules(model):
        if any(parameter.requires_grad for _, parameter in _own(module)):
            for child in module._modules.values():
                if child is not None and child is not base(module):
                    child.train()


def weights(model: nn.Module) -> dict[str, nn.Parameter]:
    """The weights of all adapters of a model or part: what a checkpoint stores beside the part itself."""
    return {_joined(name, key): p for name, module in named_modules(model) for key, p in _own(module)}


@contextmanager
def detached(model: nn.Module, merge: bool = False) -> Iterator[None]:
    """The model without its adapters or, with `merge`, the plain model that computes the same (to rounding: sums are taken
    in another order). Afterwards everything is as it was, bit for bit. Raises `RecipeError` for an adapter that plain
    weights cannot express."""
    wrapped = [(place, _at(place)) for _, place in _places(model) if attached(_at(place))]
    for kind in _BESIDE if merge else ():
        if any(attached(module).kind == kind for _, module in wrapped):
            raise RecipeError(f"an adapter of kind '{kind}' cannot be merged into weights: save it beside them")
    kept: list[tuple[Tensor, Tensor]] = []
    try:
        for (parent, key), module in wrapped:
            plain: Any = base(module)
            if merge and attached(module).kind == "layernorm":
                plain = module.get_submodule(f"ln_tuning_layers.{_NAME}")
            elif merge:
                kept.append((plain.weight.data, plain.weight.detach().clone()))
                change: Any = module.get_delta_weight
                plain.weight.data += change(_NAME).to(plain.weight.dtype)
            parent._modules[key] = plain
        yield
    finally:
        for (parent, key), module in wrapped:
            parent._modules[key] = module
        for weight, before in kept:
            weight.copy_(before)


@contextmanager
def trial(model: nn.Module) -> Iterator[None]:
    """Adapters that are attached within are taken off at its end."""
    had = {id(module) for _, module in named_modules(model)}
    try:
        yield
    finally:
        for parent, key in [place for _, place in _places(model)]:
            module = _at((parent, key))
            if id(module) not in had:
                parent._modules[key] = base(module)


_Place = tuple[nn.Module, str]  # (parent, key in it)


def _at(place: _Place) -> nn.Module:
    module = place[0]._modules[place[1]]
    assert module is not None
    return module


def _places(model: nn.Module, prefix: str = "") -> Iterator[tuple[str, _Place]]:
    """Every module below `model`, parents first, by the names of `named_modules`."""
    parent = base(model)
    for key, child in parent._modules.items():
        if child is not None:
            yield prefix + key, (parent, key)
            yield from _places(child, f"{prefix}{key}.")


def _own(module: nn.Module) -> list[tuple[str, nn.Parameter]]:
    """A wrapper's own weights, without those of what it wraps; nothing of an ordinary module."""
    adapter = attached(module)
    if adapter is None:
        return []
    inner = _BASE[adapter.kind] + "."
    return [(k.replace(f".{_NAME}", "", 1), p) for k, p in module.named_parameters() if not k.startswith(inner)]


def _joined(name: str, key: str) -> str:
    return f"{name}.{key}" if name else key


def _widths(model: nn.Module) -> dict[int, int]:
    """{id of a layer of a language model: the width of its states}. Not its weights but the model says it: a layer may have
    norms of other widths inside."""
    from transformers import GenerationMixin
    from transformers.modeling_layers import GradientCheckpointingLayer

    models: list[Any] = [module for module in model.modules() if isinstance(module, GenerationMixin)]
    layers = [(layer, lm.config.hidden_size) for lm in models for layer in lm.modules()]
    return {id(layer): width for layer, width in layers if isinstance(layer, GradientCheckpointingLayer)}


def _fits(adapter: Any, module: nn.Module, shared: Mapping[int, int], widths: Mapping[int, int]) -> bool:
    """Whether a kind of adapter can wrap a module, or already does."""
    if attached(module) is not None:
        return attached(module).kind == adapter.kind
    if adapter.kind == "lora":
        from transformers.pytorch_utils import Conv1D

        # Exact types: nn.MultiheadAttention reads its projection's weight past the module. A head that is tied to the
        # embeddings has no weight of its own: merged, it would change them too.
        return type(module) in (nn.Linear, Conv1D) and shared[id(module.weight)] == 1
    if adapter.kind == "bottleneck":
        return id(module) in widths
    if adapter.kind == "prefix":
        from peft.tuners.adaption_prompt.config import TRANSFORMERS_MODEL_CONFIG

        layout = TRANSFORMERS_MODEL_CONFIG.get(_family(module))
        return layout is not None and hasattr(module, layout.k_proj_layer)
    gain = module._parameters.get("weight")
    plain = module._parameters.keys() <= {"weight", "bias"} and not module._modules and not module._buffers
    return plain and gain is not None and gain.dim() == 1


def _family(module: nn.Module) -> str:
    """The `model_type` of the transformers model that a module is of."""
    return getattr(getattr(module, "config", None), "model_type", "")


def _wrap(module: nn.Module, adapter: Any, widths: Mapping[int, int]) -> nn.Module:
    import peft

    wrapper: Any
    if adapter.kind == "lora":
        holder = nn.ModuleDict({"it": module})  # peft replaces children of a model; here the model has one
        options = {"r": adapter.r, "lora_alpha": adapter.alpha, "lora_dropout": adapter.dropout}
        transposed = not isinstance(module, nn.Linear)  # GPT-2's Conv1D keeps its weight as [in, out]
        config = peft.LoraConfig(**options, fan_in_fan_out=transposed, target_modules=["it"])
        peft.inject_adapter_in_model(config, holder, _NAME)
        wrapper = holder["it"]
    elif adapter.kind == "prefix":
        from peft.tuners.adaption_prompt.layer import AdaptedAttention, AdaptedAttentionGPT

        layer = AdaptedAttentionGPT if _family(module) == "gpt2" else AdaptedAttention
        wrapper = layer(_family(module), adapter.length, module)
    elif adapter.kind == "bottleneck":
        wrapper = BottleneckLayer(module, widths[id(module)], adapter.width)
    else:
        from peft.tuners.ln_tuning.layer import LNTuningLayer

        with warnings.catch_warnings():  # that it does not know the sizes of a norm, which it has no use for
            warnings.filterwarnings("ignore", "Unsupported layer type", UserWarning)
            wrapper = LNTuningLayer(module, _NAME, peft.LNTuningConfig())
    setattr(wrapper, _MARK, adapter)
    if adapter.kind == "lora":
        for _, parameter in _own(wrapper):
            parameter.data = parameter.data.float()  # updates of a thin matrix are lost in half precision
    return wrapper.train(module.training)
