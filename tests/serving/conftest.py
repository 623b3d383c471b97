"""A live server on loopback around a tiny real model that sees, hears, draws and makes sounds."""

from __future__ import annotations

import base64
import io
import re
import socket
import subprocess
import threading
import time
from contextlib import contextmanager, suppress

import httpx
import pytest
import soundfile
import torch
import uvicorn

from polymodal.model.composition import Composition
from polymodal.serving.app import create
from polymodal.serving.engine import Engine
from polymodal.serving.errors import CODES
from polymodal.serving.limits import ServingLimits
from tests.conftest import picture, sound
from tests.outputs import DIFFUSION, TINY, eager

LIMITS = ServingLimits(decoders=1, decode_seconds=60)  # a test machine may be slow
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


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@contextmanager
def serving(app):
    """A live server; gives its address."""
    port = free_port()
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


@contextmanager
def process_serving(command, port, folder, **more):
    """A live server that is a process of its own; gives its address."""
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, **more)
    address = f"http://127.0.0.1:{port}"
    try:
        until = time.monotonic() + 180
        while time.monotonic() < until and process.poll() is None:
            with suppress(httpx.TransportError):
                if httpx.get(f"{address}/health").status_code == 200:
                    break
            time.sleep(0.1)
        else:
            raise AssertionError((folder / "log").read_text())
        yield address
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="session")
def maker(tiny_recipe):
    """A tiny composition that draws when asked to "draw a cat", and can be made to make a sound."""
    recipe = tiny_recipe()
    image = {"span": {"kind": "signals", "tokens": 3}, "projector": TINY, "generator": DIFFUSION}
    voice = {"modality": "audio", "span": {"kind": "text", "most": 8}, "generator": {"kind": "tests.serving.tone.Tone"}}
    recipe["model"]["outputs"] = {"image": image, "voice": voice}
    composition = eager(Composition.from_recipe(recipe))
    with torch.no_grad():
        composition.model.designs["voice"].tokens.head[0] = 0  # it speaks on order alone
    return composition


@pytest.fixture(scope="session")
def engine(maker):
    engine = Engine(maker)
    yield engine
    engine.close(finish=False)


@pytest.fixture(scope="session")
def app(engine):
    return create(engine, LIMITS, name="tiny", closes=False)


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
    """The code of a refusal, which must have OpenAI's shape, a status of its own, and one of the fixed texts."""
    error = reply.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    status, kind, words = CODES[error["code"]]
    assert (reply.status_code, error["type"]) == (status, kind)
    fixed = [re.escape(piece) for piece in re.split(r"\{\w+\}", words)]
    assert re.fullmatch(r"[\w, ]+".join(fixed), error["message"])
    return error["code"]


def refused(http: httpx.Client, *parts, **more) -> str:
    """The code that a chat request of these parts is refused with."""
    return code(http.post("/v1/chat/completions", json=asks(*parts, **more)))


def embedded(http: httpx.Client, data: bytes, kind: str = "image") -> httpx.Response:
    """The vector of one medium, asked for: the gate is passed and no text is written."""
    if kind == "audio":
        part = {"type": "input_audio", "input_audio": {"data": base64.b64encode(data).decode()}}
    else:
        part = {"type": f"{kind}_url", f"{kind}_url": {"url": data_uri(data)}}
    return http.post("/v1/embeddings", json={"model": "tiny", "input": part})


def vector(reply: httpx.Response) -> list[float]:
    assert reply.status_code == 200, reply.text
    return reply.json()["data"][0]["embedding"]
