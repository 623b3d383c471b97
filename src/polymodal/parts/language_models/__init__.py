"""Language models that transformers has no class of, by the `model_type` of their config. Decides that they are ordinary
transformers models, which its Auto classes then find as they find its own: nothing else in the house knows of them."""

from __future__ import annotations

from functools import cache
from importlib import import_module

LANGUAGE_MODELS = {
    "chatglm": "polymodal.parts.language_models.chatglm.ChatGLMForCausalLM",
    "chatglm_6b": "polymodal.parts.language_models.chatglm_6b.ChatGLM6BForConditionalGeneration",
    "chinchilla": "polymodal.parts.language_models.chinchilla.ChinchillaForCausalLM",
}


@cache
def register() -> None:
    """Makes them known to `AutoConfig` and to the Auto class of their kind, once for a process."""
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM

    for kind, place in LANGUAGE_MODELS.items():
        module, _, name = place.rpartition(".")
        model = getattr(import_module(module), name)
        AutoConfig.register(kind, model.config_class)
        auto = AutoModelForSeq2SeqLM if model.config_class.is_encoder_decoder else AutoModelForCausalLM
        auto.register(model.config_class, model)
