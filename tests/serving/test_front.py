"""A server in front of an engine in another process: that engine is `polymodal serve` on a tiny model, or, for what no good
engine does, a bad one of a few lines."""

from __future__ import annotations

import base64
import io
import json
import sys
import time
from contextlib import contextmanager

import httpx
import openai
import pytest
import soundfile
import uvicorn
from PIL import Image

from polymodal.errors import ContentError
from polymodal.serving.backend import Backend
from polymodal.serving.front import create
from polymodal.serving.keys import Keys
from tests.serving.conftest import KEY, LIMITS, asks, code, data_uri, free_port, png, process_serving, serving, wav

THEIRS = "the-key-of-the-engine-0123"


@pytest.fixture(scope="module")
def engine_address(tiny, tmp_path_factory):
    """A second process that serves the tiny model, with a key of its own."""
    folder = tmp_path_factory.mktemp("engine")
    tiny.save(folder / "tiny")
    (folder / "keys").write_text(THEIRS)
    port = free_port()
    words = ["serve", str(folder / "tiny"), "--port", str(port), "--api-key-file", str(folder / "keys"), "--threads", "1"]
    command = [sys.executable, "-m", "polymodal.cli", *words, "--limit", "decoders=1", "--limit", "decode_seconds=60"]
    with process_serving(command, port, folder) as address:
        yield address


@pytest.fixture(scope="module")
def direct(engine_address):
    return openai.OpenAI(base_url=f"{engine_address}/v1", api_key=THEIRS, max_retries=0, timeout=60)


@pytest.fixture(scope="module")
def front(engine_address):
    """The address of a server in front of the engine, with keys of its own."""
    with serving(create(Backend(engine_address, LIMITS, key=THEIRS), LIMITS, Keys([KEY]))) as address:
        yield address


@pytest.fixture(scope="module")
def through(front):
    return openai.OpenAI(base_url=f"{front}/v1", api_key=KEY, max_retries=0, timeout=60)


def test_answers_are_those_of_the_engine(through, direct):
    sound = {"type": "input_audio", "input_audio": {"data": base64.b64encode(wav()).decode(), "format": "wav"}}
    body = asks(png(1), "what is this? ", sound, temperature=0.7, seed=11, n=2)
    expected, given = direct.chat.completions.create(**body), through.chat.completions.create(**body)
    assert [choice.message for choice in given.choices] == [choice.message for choice in expected.choices]
    assert given.usage.completion_tokens == expected.usage.completion_tokens
    streamed = ["", ""]
    for chunk in through.chat.completions.create(**body, stream=True):
        for choice in chunk.choices:
            streamed[choice.index] += choice.delta.content or ""
    assert streamed == [choice.message.content for choice in expected.choices]
    assert [model.id for model in through.models.list()] == ["tiny"]
    assert through.models.retrieve("tiny").inputs == ["text", "audio", "image"]
    vectors = [client.embeddings.create(model="tiny", input=["a cat", "a dog"]) for client in (through, direct)]
    assert vectors[0].data[1].embedding == vectors[1].data[1].embedding
    texts = [c.audio.transcriptions.create(model="tiny", file=("a.wav", wav())).text for c in (through, direct)]
    assert texts[0] == texts[1]


def test_a_key_of_this_server_is_needed_and_the_engines_is_no_key_here(front):
    assert httpx.get(f"{front}/health").status_code == 200
    for key in ("none", THEIRS):
        reply = httpx.post(f"{front}/v1/chat/completions", json=asks("hi"), headers={"Authorization": f"Bearer {key}"})
        assert code(reply) == "invalid_api_key"


def test_what_this_server_refuses_never_reaches_the_engine(front, engine_address):
    def asked() -> float:
        metrics = httpx.get(f"{engine_address}/metrics", headers={"Authorization": f"Bearer {THEIRS}"}).text
        return sum(float(line.split()[-1]) for line in metrics.splitlines() if "requests_total" in line and "chat" in line)

    before = asked()
    with httpx.Client(base_url=front, headers={"Authorization": f"Bearer {KEY}"}, timeout=60) as http:
        for change, expected in (
            ({"model": "/etc/passwd"}, "model_not_found"),
            ({"max_tokens": 10**6}, "tokens_over_limit"),
            ({"top_k": 5}, "not_supported"),
            ({"tools": [{"type": "function"}]}, "not_supported"),
            ({"chat_template": "{{ 7 * 7 }}"}, "unknown_field"),
        ):
            assert code(http.post("/v1/chat/completions", json=asks("hi", **change))) == expected
        for url, expected in (
            ("file:///etc/passwd", "media_place_not_allowed"),
            ("/etc/passwd", "media_place_not_allowed"),
            ("http://169.254.169.254/latest", "remote_media_not_allowed"),
            (data_uri(b"GIF89a broken"), "media_damaged"),
            (data_uri(b"%PDF-1.4"), "media_format_not_allowed"),
        ):
            assert code(http.post("/v1/chat/completions", json=asks(url, "hi"))) == expected
        for path in ("/invocations", "/v1/completions", "/pause", "/v1/load_lora_adapter", "/tokenize", "/v1/../metrics/x"):
            assert code(http.post(path, json={})) == "not_found"
        assert code(http.get("/v1/models", headers={"Host": "evil.org"})) == "host_not_allowed"
        long = asks("hi " * 5000)
        assert code(http.post("/v1/chat/completions", json=long)) == "context_length_exceeded"
    assert asked() == before + 1  # the last one


@contextmanager
def bad_engine(app):
    """An engine of a few lines: an ASGI function."""
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(app, "127.0.0.1", port, log_level="error", lifespan="off"))
    import threading

    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started and thread.is_alive():
        time.sleep(0.02)
    try:
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.should_exit = True
        thread.join(20)


def answering(status: int, body: bytes, seen: list | None = None, kind: bytes = b"application/json", **headers: str):
    async def app(scope, receive, send):
        data = b""
        while True:
            message = await receive()
            data += message.get("body", b"")
            if not message.get("more_body"):
                break
        listing = scope["path"].endswith("/models")
        if not listing and seen is not None:
            seen.append((scope, data))
        more = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        head = [(b"content-type", kind), *([] if listing else more)]
        await send({"type": "http.response.start", "status": 200 if listing else status, "headers": head})
        models = json.dumps({"data": [{"id": "tiny", "root": "/secret/path"}, {"id": 7}, "x"]}).encode()
        await send({"type": "http.response.body", "body": models if listing else body})

    return app


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (500, b"Traceback at 0x7f00 /secret", "engine_failed"),
        (400, b'{"error": {"message": "/secret"}}', "engine_refused"),
        (401, b"/secret", "engine_failed"),
        (302, b"", "engine_failed"),
        (429, b"/secret", "busy"),
        (200, b"<html>/secret", "engine_failed"),
        (200, b"[1]", "engine_failed"),
        (200, b'{"error": "/secret"}', "engine_failed"),
        (200, b'{"choices": "' + b"x" * 2_000_000 + b'"}', "engine_failed"),
    ],
)
def test_what_a_bad_engine_says_is_told_in_fixed_words(status, body, expected):
    limits = LIMITS.model_copy(update={"reply_bytes": 1_000_000})
    more = {"location": "http://169.254.169.254/"} if status == 302 else {"retry_after": "7"}
    with bad_engine(answering(status, body, **more)) as engine, serving(create(Backend(engine, limits), limits)) as address:
        reply = httpx.post(f"{address}/v1/chat/completions", json=asks("hi"), timeout=60)
        assert code(reply) == expected
        assert "secret" not in reply.text
        assert reply.headers.get("retry-after") == ("7" if status == 429 else None)
        stream = httpx.post(f"{address}/v1/chat/completions", json=asks("hi", stream=True), timeout=60)
        (event,) = [json.loads(line[6:]) for line in stream.text.splitlines() if line.startswith("data:")]
        assert event["error"]["code"] == expected
        assert httpx.get(f"{address}/v1/models").json()["data"] == [
            {"id": "tiny", "object": "model", "created": 0, "owned_by": "engine"}
        ]


def test_media_reach_the_engine_as_clean_png_and_wav():
    seen: list = []
    with bad_engine(answering(200, b'{"choices": []}', seen)) as engine:
        limits = LIMITS.model_copy(update={"tokens": 50})
        with serving(create(Backend(engine, limits, kind="vllm"), limits, Keys([KEY]))) as address:
            out = io.BytesIO()
            exif = Image.Exif()
            exif[0x010E] = "a hidden payload"
            Image.open(io.BytesIO(png(2))).convert("RGB").save(out, "JPEG", exif=exif, comment=b"another payload")
            sound = {"type": "input_audio", "input_audio": {"data": base64.b64encode(wav() + b"trailing payload").decode()}}
            body = asks(
                data_uri(out.getvalue() + b"trailing payload", "image/svg+xml"), sound, "hi", top_k=3, user="somebody"
            )
            del body["max_tokens"]
            reply = httpx.post(
                f"{address}/v1/chat/completions", json=body, headers={"Authorization": f"Bearer {KEY}", "X-Own": "1"}
            )
            assert reply.status_code == 200
    ((scope, data),) = seen
    headers = dict(scope["headers"])
    assert b"authorization" not in headers  # keys of clients stay here
    assert b"x-own" not in headers
    sent = json.loads(data)
    assert (sent["max_tokens"], sent["top_k"], "user" in sent) == (50, 3, False)
    picture, recording, text = sent["messages"][0]["content"]
    raw = base64.b64decode(picture["image_url"]["url"].removeprefix("data:image/png;base64,"))
    assert Image.open(io.BytesIO(raw)).format == "PNG"
    assert Image.open(io.BytesIO(raw)).size == (40, 30)
    heard = base64.b64decode(recording["input_audio"]["data"])
    assert soundfile.info(io.BytesIO(heard)).samplerate == 16_000
    assert b"payload" not in raw + heard
    assert text == {"type": "text", "text": "hi"}


def test_an_engine_that_is_not_there_is_said_to_be():
    with serving(create(Backend(f"http://127.0.0.1:{free_port()}", LIMITS), LIMITS)) as address:
        reply = httpx.post(f"{address}/v1/chat/completions", json=asks("hi"))
        assert code(reply) == "engine_unavailable"
        assert reply.headers["retry-after"]
        assert httpx.get(f"{address}/").status_code == 200


@pytest.mark.parametrize("url", ["127.0.0.1:80", "file:///etc", "http://a@b/", "http://a/?q", "unix:/x", ""])
def test_an_address_that_is_none_is_refused_by_name(url):
    with pytest.raises(ContentError, match="--backend"):
        Backend(url, LIMITS)
