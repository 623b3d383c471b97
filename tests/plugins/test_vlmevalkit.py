"""Our models in VLMEvalKit, over a base class and a table as its source has them."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

import pytest

from polymodal.content import assistant, image, user
from polymodal.errors import EvaluationError
from polymodal.model.generation import Sampling
from tests.conftest import picture


class BaseModel:
    """`vlmeval.vlm.base.BaseModel`: `generate` checks the types of its items and calls `generate_inner`."""

    INTERLEAVE = False
    allowed_types = ("text", "image")

    def generate(self, message, dataset=None):
        for item in message:
            assert item["type"] in self.allowed_types, item["type"]
        return self.generate_inner(message, dataset)  # type: ignore[attr-defined]


@pytest.fixture
def plugin(monkeypatch, tiny):
    import polymodal

    monkeypatch.setattr(polymodal, "load", lambda name: tiny)
    for name in ("vlmeval", "vlmeval.vlm", "vlmeval.vlm.base", "vlmeval.config"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    sys.modules["vlmeval.vlm.base"].BaseModel = BaseModel  # type: ignore[attr-defined]
    sys.modules["vlmeval.config"].supported_VLM = {"GPT4V": None}  # type: ignore[attr-defined]
    yield importlib.import_module("polymodal.plugins.vlmevalkit")
    sys.modules.pop("polymodal.plugins.vlmevalkit", None)


def test_a_message_of_paths_and_texts_is_answered_as_the_model_answers(plugin, tiny, tmp_path):
    picture(1).save(tmp_path / "1.png")
    items = [{"type": "image", "value": str(tmp_path / "1.png")}, {"type": "text", "value": "what is this?"}]
    (parts,) = tiny.generate([[user(image(picture(1)), "what is this?")]], Sampling(max_new_tokens=4))
    model = plugin.Polymodal("tiny", max_new_tokens=4)
    assert model.generate(items, dataset="MMBench") == "".join(part.text or "" for part in parts).strip()
    assert not model.use_custom_prompt("MMBench")


def test_a_chat_holds_what_was_said(plugin, tiny):
    turns = [("user", "hello"), ("assistant", "a cat"), ("user", "and now?")]
    told = [{"role": role, "content": [{"type": "text", "value": text}]} for role, text in turns]
    told[0]["content"] = "hello"
    whole = [[user("hello"), assistant("a cat"), user("and now?")]]
    (parts,) = tiny.generate(whole, Sampling(max_new_tokens=4))
    assert plugin.Polymodal("tiny", max_new_tokens=4).chat_inner(told) == "".join(p.text or "" for p in parts).strip()


def test_a_model_is_put_into_the_table_by_a_name_that_is_free(plugin):
    table = sys.modules["vlmeval.config"].supported_VLM  # type: ignore[attr-defined]
    plugin.register(ours="tiny")
    assert isinstance(table["ours"](max_new_tokens=2), plugin.Polymodal)
    with pytest.raises(ValueError, match="has a model 'GPT4V'"):
        plugin.register(GPT4V="tiny")


def test_a_picture_that_is_none_stops_the_run(plugin, tmp_path):
    (tmp_path / "1.png").write_bytes(b"no picture")
    with pytest.raises(EvaluationError, match="1.png"):
        plugin.Polymodal("tiny").generate_inner([{"type": "image", "value": str(tmp_path / "1.png")}])
