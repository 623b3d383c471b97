"""Our models in lmms-eval: with it where it is installed, and otherwise with classes that hold what its source has."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

import pytest

from polymodal.content import user
from polymodal.errors import EvaluationError
from polymodal.evaluation.choice import likelihoods
from polymodal.model.generation import Sampling
from tests.conftest import picture

REAL = importlib.util.find_spec("lmms_eval") is not None
ROOT = Path(__file__).resolve().parents[2]


class Lmms:
    """`lmms_eval.api.model.lmms` at 0.7.3, as far as models use it."""

    is_simple = True

    def __init__(self):
        self.cache_hook = type("Hook", (), {"add_partial": lambda *_: None})()
        self.task_dict = {}

    @classmethod
    def create_from_arg_string(cls, told, more=None):
        return cls(
            **dict(one.split("=") for one in told.split(",")), **{k: v for k, v in (more or {}).items() if v is not None}
        )


@dataclass
class Instance:
    request_type: str
    arguments: tuple
    idx: int
    metadata: dict = field(default_factory=dict)

    @property
    def args(self):
        return self.arguments


@dataclass(frozen=True)
class ModelManifest:
    model_id: str
    simple_class_path: str | None = None
    chat_class_path: str | None = None
    aliases: tuple[str, ...] = ()


@pytest.fixture
def plugin(monkeypatch):
    """`polymodal.plugins.lmms_eval`, over the real package or these classes."""
    if not REAL:
        own = {"api.model": {"lmms": Lmms}, "api.instance": {"Instance": Instance}}
        own["models.registry_v2"] = {"ModelManifest": ModelManifest}
        for name in ("lmms_eval", "lmms_eval.api", "lmms_eval.models"):
            monkeypatch.setitem(sys.modules, name, ModuleType(name))
        for name, held in own.items():
            module = ModuleType(f"lmms_eval.{name}")
            vars(module).update(held)
            monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.delitem(sys.modules, "polymodal.plugins.lmms_eval", raising=False)
    yield importlib.import_module("polymodal.plugins.lmms_eval")
    sys.modules.pop("polymodal.plugins.lmms_eval", None)


@pytest.fixture
def model(plugin, tiny, monkeypatch):
    import polymodal

    monkeypatch.setattr(polymodal, "load", lambda name: tiny)
    made = plugin.Polymodal.create_from_arg_string("pretrained=tiny", {"batch_size": 2, "device": None})
    made.task_dict = {"pets": {"test": [{"text": f"what is {i}?", "picture": picture(i)} for i in range(5)]}}
    return made


def messages(document, **_):
    shown, asked = {"type": "image", "url": document["picture"]}, {"type": "text", "text": document["text"]}
    return [{"role": "user", "content": [shown, asked]}]


def instance(plugin, kind, *arguments):
    about = {"task": "pets", "doc_id": 0, "repeats": 1, "split": "test"}
    return plugin.Instance(request_type=kind, arguments=arguments, idx=0, metadata=about)


def request(plugin, number, told=None, how=messages):
    told = told or {"max_new_tokens": 3, "temperature": 0}
    return instance(plugin, "generate_until", "", how, told, number, "pets", "test")


def test_the_entry_point_is_a_manifest_of_a_chat_model(plugin):
    declared = (ROOT / "pyproject.toml").read_text().partition('entry-points."lmms_eval.models"]')[2].split()[2].strip('"')
    module, _, name = declared.partition(":")
    manifest = getattr(importlib.import_module(module), name)()
    assert manifest.model_id == "polymodal"
    assert manifest.chat_class_path == "polymodal.plugins.lmms_eval.Polymodal"
    assert plugin.Polymodal.is_simple is False


@pytest.mark.skipif(not REAL, reason="lmms-eval is not installed")
def test_lmms_evals_registry_resolves_and_accepts_the_class(plugin):
    from lmms_eval.models.registry_v2 import ModelRegistryV2

    registry = ModelRegistryV2()
    registry.register_manifest(plugin.manifest())
    assert registry.resolve("polymodal").model_type == "chat"
    assert registry.get_model_class("polymodal").__name__ == "Polymodal"


def test_answers_are_those_of_the_model_alone_in_the_order_of_the_requests(model, plugin, tiny):
    told = [{"max_new_tokens": 3}, {"max_new_tokens": 5}, {"max_new_tokens": 3}]
    said = model.generate_until([request(plugin, i, settings) for i, settings in enumerate(told)])
    for i, text in enumerate(said):
        document = model.task_dict["pets"]["test"][i]
        turns = [user(*messages_of(document))]
        (parts,) = tiny.generate([turns], Sampling(**told[i]))
        assert text == "".join(part.text or "" for part in parts).strip()


def messages_of(document):
    from polymodal.content import image

    return image(document["picture"]), document["text"]


def test_an_answer_ends_before_its_stop(plugin):
    assert plugin._until("a cat\n\nQuestion: b", ["\n\n"]) == "a cat"
    assert plugin._until("a cat", "at") == "a c"
    assert plugin._until(" a cat ", None) == "a cat"


def test_a_continuation_is_as_likely_as_it_is_as_the_whole_answer(model, plugin, tiny):
    document = model.task_dict["pets"]["test"][1]

    def asked(option):
        def shown(one):
            return [one["picture"]]

        return instance(plugin, "loglikelihood", "what is 1?", option, shown, 1, "pets", "test")

    found = model.loglikelihood([asked(" a cat"), asked(lambda one: "x"), asked("hello world")])
    expected = likelihoods(tiny, [user(*messages_of(document))], ["a cat", "x", "hello world"])
    assert [value for value, _ in found] == pytest.approx(expected.tolist(), abs=1e-3)
    assert [greedy for _, greedy in found] == [False, False, False]


def test_rounds_go_on_until_the_task_says_so_and_are_told_what_was_said(model, plugin):
    told = []

    def rounds(document, round_idx=None, previous_output=None, previous_round_info=None):
        if round_idx is None:
            return messages(document)
        told.append((round_idx, list(previous_output), previous_round_info))
        return messages({**document, "text": f"and {round_idx}?"}), round_idx == 2, previous_output, {"n": round_idx}

    (said,) = model.generate_until_multi_round([request(plugin, 0, {"max_new_tokens": 2}, rounds)])
    assert len(said) == 2
    assert told == [(1, said[:1], None), (2, said, {"n": 1})]
    (alone,) = model.generate_until_multi_round(
        [request(plugin, 0, {"max_new_tokens": 2}, lambda doc, **more: messages(doc))]
    )
    assert len(alone) == 1


def test_a_request_of_another_shape_or_modality_stops_the_run(model, plugin):
    short = instance(plugin, "generate_until", messages, {}, 0, "pets", "test")
    with pytest.raises(EvaluationError, match="has 5 arguments"):
        model.generate_until([short])

    def smell(document):
        return [{"role": "user", "content": [{"type": "odour", "url": "x"}]}]

    with pytest.raises(EvaluationError, match="part type 'odour'"):
        model.generate_until([request(plugin, 0, None, smell)])

    def broken(document):
        return [{"role": "user", "content": [{"type": "image", "url": b"no picture"}, {"type": "text", "text": "?"}]}]

    with pytest.raises(EvaluationError):
        model.generate_until([request(plugin, 0, None, broken)])
