"""What was made and comes back: the engine is told what the file that left will be when the client sends it again."""

from __future__ import annotations

import json

import httpx
import pytest

from polymodal import media
from polymodal.model.composition import Composition
from polymodal.serving.app import create
from polymodal.serving.engine import Engine
from tests.outputs import eager
from tests.serving.conftest import LIMITS, asks, serving

KINDS = {"video": "tests.serving.tone.Flicker", "audio": "tests.serving.tone.Tone"}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stream", [True, False])
def test_a_medium_that_was_made_is_known_when_it_is_sent_back(kind, stream, tiny_recipe, monkeypatch):
    recipe = tiny_recipe()
    span = {"kind": "text", "most": 6, "cue": 2}
    recipe["model"]["outputs"] = {"made": {"modality": kind, "span": span, "generator": {"kind": KINDS[kind]}}}
    engine, told, asked = Engine(eager(Composition.from_recipe(recipe))), [], []
    sent, submit = engine.sent, engine.submit
    monkeypatch.setattr(engine, "sent", lambda made, part, salt="": (told.append(part), sent(made, part, salt)))
    monkeypatch.setattr(
        engine, "submit", lambda given, *args, **more: (asked.append(given), submit(given, *args, **more))[1]
    )
    with serving(create(engine, LIMITS, name="tiny")) as address, httpx.Client(base_url=address, timeout=60) as http:
        body = asks("draw a cat", seed=4, stream=stream)
        reply = http.post("/v1/chat/completions", json=body)
        if stream:
            events = [json.loads(line[6:]) for line in reply.text.split("\n\n") if "content_parts" in line]
            content = [part for event in events for part in event["choices"][0]["delta"]["content_parts"]]
        else:
            content = reply.json()["choices"][0]["message"]["content"]
        said = {"role": "assistant", "content": content}
        again = {**body, "messages": [*body["messages"], said, {"role": "user", "content": "and?"}], "stream": False}
        assert http.post("/v1/chat/completions", json=again).status_code == 200
    back = [part for part in asked[1][1].parts if part.type == kind]
    assert back
    assert [media.fingerprint(part) for part in told[: len(back)]] == [media.fingerprint(part) for part in back]
