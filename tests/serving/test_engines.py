"""In front of an engine that others wrote, in a process of its own: `transformers serve`, which has open admin routes,
fetches what a request names, and ends its streams without `[DONE]`."""

from __future__ import annotations

import os
import sys

import httpx
import openai
import pytest

from polymodal.serving.backend import Backend
from polymodal.serving.front import create
from polymodal.serving.keys import Keys
from tests.serving.conftest import KEY, LIMITS, asks, code, free_port, process_serving, serving
from tests.serving.test_front import answering, bad_engine

MODEL, COMMIT = "somebody/tiny", "0" * 40
TEMPLATE = "{% for said in messages %}{{ said['role'] }}: {{ said['content'] }} {% endfor %}"
ASKED = {"model": MODEL, "messages": [{"role": "user", "content": "hello"}], "max_tokens": 6}


@pytest.fixture(scope="module")
def theirs(tiny, tmp_path_factory):
    """The tiny backbone behind `transformers serve`, as it finds models: in a hub's cache."""
    folder = tmp_path_factory.mktemp("theirs")
    about = folder / "hub" / f"models--{MODEL.replace('/', '--')}"
    (about / "refs").mkdir(parents=True)
    (about / "refs" / "main").write_text(COMMIT)
    tiny.model.backbone.lm.save_pretrained(about / "snapshots" / COMMIT)
    tiny.processor.tokenizer.save_pretrained(about / "snapshots" / COMMIT)
    (about / "snapshots" / COMMIT / "chat_template.jinja").write_text(TEMPLATE)
    port = free_port()
    words = ["serve", MODEL, "--device", "cpu", "--port", str(port)]
    environment = {**os.environ, "HF_HOME": str(folder), "HF_HUB_CACHE": str(folder / "hub"), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", "from transformers.cli.transformers import main; main()", *words]
    with process_serving(command, port, folder, env=environment) as address:
        yield address


@pytest.fixture(scope="module")
def front(theirs):
    with serving(create(Backend(theirs, LIMITS), LIMITS, Keys([KEY]))) as address:
        yield address


def test_an_engine_that_others_wrote_answers_through_the_gate(front, theirs):
    direct, through = (
        openai.OpenAI(base_url=f"{base}/v1", api_key=KEY, max_retries=0, timeout=120) for base in (theirs, front)
    )
    assert [model.id for model in through.models.list()] == [MODEL]
    expected = direct.chat.completions.create(**ASKED).choices[0].message.content
    assert through.chat.completions.create(**ASKED).choices[0].message.content == expected != ""
    pieces = [chunk.choices[0] for chunk in through.chat.completions.create(**ASKED, stream=True) if chunk.choices]
    assert "".join(piece.delta.content or "" for piece in pieces) == expected
    assert pieces[-1].finish_reason in ("length", "stop")


def test_what_it_leaves_open_is_shut(front, theirs):
    assert httpx.post(f"{theirs}/reset").status_code == 200  # by anybody
    assert httpx.post(f"{front}/v1/chat/completions", json=ASKED).status_code == 401
    with httpx.Client(base_url=front, headers={"Authorization": f"Bearer {KEY}"}) as http:
        for path in ("/reset", "/load_model", "/v1/responses", "/v1/completions", "/v1/systemone"):
            assert code(http.post(path, json={})) == "not_found"
        assert code(http.post("/v1/chat/completions", json={**ASKED, "model": "another/model"})) == "model_not_found"
        url = "http://169.254.169.254/latest"
        body = {**asks(url, "hi"), "model": MODEL}
        assert code(http.post("/v1/chat/completions", json=body)) == "remote_media_not_allowed"


@pytest.mark.parametrize(("end", "whole"), [('"stop"', True), ("null", False)])
def test_a_stream_without_its_last_line_is_whole_where_its_answers_are(end, whole):
    event = f'data: {{"choices": [{{"index": 0, "delta": {{"content": "a"}}, "finish_reason": {end}}}]}}\n\n'
    engine_ = answering(200, event.encode(), kind=b"text/event-stream")
    with bad_engine(engine_) as engine, serving(create(Backend(engine, LIMITS), LIMITS)) as address:
        reply = httpx.post(f"{address}/v1/chat/completions", json=asks("hi", stream=True), timeout=60)
    assert ("[DONE]" in reply.text, "engine_failed" in reply.text) == (whole, not whole)
