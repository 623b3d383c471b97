"""Our models in VLMEvalKit (open-compass): there is no entry point, a model is put into its table before its runner is
called. Decides that pictures and text stay in their order, and that the name of the model changes no prompt.

    import polymodal.plugins.vlmevalkit as plugin
    plugin.register(nano="nano", mine="runs/mine/model")
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from vlmeval.vlm.base import BaseModel

from polymodal.content import Message
from polymodal.plugins.asked import Asked, message, sampling_of

Items = Sequence[Mapping[str, Any]]  # of {"type": "text" | "image" | "video", "value": text or path}


class Polymodal(BaseModel):
    """`model_path`: as `polymodal.load` takes it; `told`: settings of `generate` in transformers, such as
    `max_new_tokens`."""

    INSTALL_REQ = False
    INTERLEAVE = True
    allowed_types = ["text", "image", "video"]

    def __init__(self, model_path: str | Path = "nano", threads: int | None = None, **told: Any) -> None:
        super().__init__()
        self.asked, self.sampling = Asked(model_path, 1, threads), sampling_of(told)

    def generate_inner(self, message: Items, dataset: str | None = None) -> str:
        return self.asked.say([[_turn("user", message)]], self.sampling)[0]

    def chat_inner(self, message: Sequence[Mapping[str, Any]], dataset: str | None = None) -> str:
        """Turns of {"role", "content": items}; the last one asks."""
        return self.asked.say([[_turn(turn["role"], turn["content"]) for turn in message]], self.sampling)[0]

    def use_custom_prompt(self, dataset: str) -> bool:
        return False


def register(**models: str | Path) -> None:
    """Models by the names that its runner knows them by. Raises `ValueError` for a name that another has."""
    from vlmeval.config import supported_VLM

    for name, path in models.items():
        if name in supported_VLM:
            raise ValueError(f"VLMEvalKit has a model '{name}'; name it otherwise")
        supported_VLM[name] = partial(Polymodal, model_path=path)


def _turn(role: str, items: Items | str) -> Message:
    if isinstance(items, str):
        return message(role, [("text", items)])
    return message(role, [(item["type"], item["value"]) for item in items])
