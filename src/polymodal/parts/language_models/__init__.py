"""Language models that transformers has no class of, by the `model_type` of their config. Decides that they are ordinary
transformers models, which its Auto classes then find as they find its own: nothing else in the house knows of them."""

from __future__ import annotations

from functools import cache
from importlib import import_module

LANGUAGE_MODELS = {
    "chatglm": "polymodal.parts.language_models.chatglm.ChatGLMForCausalLM",
    "chinchilla": "polymodal.parts.language_models.chinchilla.ChinchillaForCausalLM",
}


@cache
def register() -> None:
    """Makes them known to `AutoConfig` and `AutoModelForCausalLM`, once for a process."""
    from transformers import AutoConfig, AutoModelForCausalLM

    for kind, place in LANGUAGE_MODELS.items():
        module, _, name = place.rpartition(".")
        model = getattr(import_module(module), name)
        AutoConfig.register(kind, model.config_class)
        AutoModelForCausalLM.register(model.config_class, model)
