"""A live server on loopback around a tiny real model that sees, hears, draws and makes sounds."""

from __future__ import annotations

import base64
import io
import socket
import threading
import time
from contextlib import contextmanager

import httpx
import pytest
import soundfile
import uvicorn

from polymodal.model.composition import Composition
from polymodal.serving.app import create
from polymodal.serving.limits import ServingLimits
from polymodal.serving.single import SingleEngine
from tests.conftest import picture, sound
from tests.outputs import DIFFUSION, TINY, eager

KEY = "a-key-for-tests-0123456789"


def png(seed: int = 0, size=(40, 30)) -> bytes:
    out = io.BytesIO()
    picture(seed, size).save(out, "PNG")
    return out.getvalue()


def wav(seconds: float = 0.5, hertz: float = 440.0) -> bytes:
    out = io.BytesIO()
    samples, rate = sound(seconds, hertz)
    soundfile.write(out, samples, rate, format="WAV", subtype="PCM_16")
    return out.getvalue()


def data_uri(data: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def asks(*parts, **more) -> dict:
    """The body of a chat request: strings are texts, bytes a picture, URLs pictures; all else as it is."""
    content = []
    for part in parts:
        if isinstance(part, bytes):
            part = data_uri(part)
        if isinstance(part, str):
            url = part.startswith(("data:", "http", "file", "/", "\\", "."))
            part = {"type": "image_url", "image_url": {"url": part}} if url else {"type": "text", "text": part}
        content.append(part)
    return {"model": "tiny", "messages": [{"role": "user", "content": content}], "max_tokens": 8, **more}


@contextmanager
def serving(app):
    """A live server; gives its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(app, "127.0.0.1", port, log_level="error", access_log=False, ws="none"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until = time.monotonic() + 60
    while not server.started and time.monotonic() < until and thread.is_alive():
        time.sleep(0.02)
    assert server.started
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(20)


@pytest.fixture(scope="session")
def maker(tiny_recipe):
    """A tiny composition that draws when asked to "draw a cat", and can be made to make a sound."""
    recipe = tiny_recipe()
    image = {"span": {"kind": "signals", "tokens": 3}, "projector": TINY, "generator": DIFFUSION}
    recipe["model"]["outputs"] = {"image": image}
    return eager(Composition.from_recipe(recipe))


@pytest.fixture(scope="session")
def engine(maker):
    engine = SingleEngine(maker)
    yield engine
    engine.close(finish=False)


@pytest.fixture(scope="session")
def app(engine):
    return create(engine, ServingLimits(decoders=1), name="tiny", closes=False)


@pytest.fixture(scope="session")
def address(app):
    with serving(app) as address:
        yield address


@pytest.fixture
def http(address):
    with httpx.Client(base_url=address, timeout=60) as client:
        yield client


@pytest.fixture(scope="session")
def client(address):
    import openai

    return openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0, timeout=60)


def code(reply: httpx.Response) -> str:
    """The code of a refusal, which must have OpenAI's shape and nothing of ours in it."""
    error = reply.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert not any(
        word in reply.text for word in ("Traceback", "0x", "/root", "/home", "site-packages", "object at", "Error:")
    )
    return error["code"]
