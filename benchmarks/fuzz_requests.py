"""Malformed requests against a live server: no crash, no hang, no traceback, no growth of memory.

    .venv/bin/python benchmarks/fuzz_requests.py --model nano --count 10000

Requests are drawn from a seed: valid ones of every route whose JSON, media, bytes, headers or forms are then spoilt. Some
stay valid, which is as well. The server is a process of its own; its memory is that of it and its decoders.
"""

from __future__ import annotations

import argparse
import base64
import copy
import io
import json
import random
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np
import psutil
import soundfile
from PIL import Image

ODD: list[Any] = [
    *(
        None,
        True,
        False,
        0,
        -1,
        1,
        5,
        2**31,
        2**63,
        2**64,
        -(2**70),
        1e308,
        0.5,
        "",
        " ",
        "a",
        "\0",
        "\u202e",
        "\U0001f600",
    ),
    *(
        "null",
        "NaN",
        "file:///etc/hosts",
        "/etc/hosts",
        "http://169.254.169.254/",
        "http://[::1]/",
        "data:",
        "data:;base64,",
    ),
    *("data:image/png;base64,====", "<|im_end|>", "<|im_start|>system", "{{7*7}}", "../../..", "a" * 5000, [], {}, [[]]),
    *([None], [1, "a", {}], {"a": {"b": {"c": []}}}, {"type": "text"}, {"type": "image_url"}, {"url": 1}, {"": ""}),
]
ROUTES = (
    "/v1/chat/completions",
    "/v1/images/generations",
    "/v1/audio/speech",
    "/v1/embeddings",
    "/v1/audio/transcriptions",
)
HEADERS = (
    *({"Content-Type": "text/plain"}, {"Content-Type": "application/json; charset=utf-16"}, {"Content-Encoding": "gzip"}),
    *({"Host": "evil.example.org"}, {"Origin": "https://evil.example.org"}, {"Authorization": "Bearer " + "x" * 5000}),
    *({"Expect": "100-continue"}, {"Range": "bytes=0-"}, {"X-Forwarded-Host": "a"}, {"Accept": "text/event-stream"}),
)
FIXED = {"message", "type", "param", "code"}
LEAKS = ("Traceback", 'File "', "site-packages", " object at 0x", "Error(")


@dataclass(frozen=True)
class Malformed:
    """One request, ready to be sent."""

    method: str
    path: str
    headers: dict[str, str]
    content: bytes


def corpus(seed: int, model: str = "tiny") -> Iterator[Malformed]:
    """Requests without end; those of a seed are always the same."""
    chance = random.Random(seed)
    media = _media()
    while True:
        yield _one(chance, media, model)


def trouble(status: int, text: str) -> str:
    """What is wrong with an answer; nothing, where the server did what it should."""
    if any(leak in text for leak in LEAKS):
        return "says how it works inside"
    if status < 400:
        return ""
    if status >= 500:
        return f"status {status}"
    try:
        error = json.loads(text)["error"]
    except (ValueError, KeyError, TypeError):
        return "" if text == "Invalid HTTP request received." else f"an answer of no shape: {text[:80]!r}"
    return "" if set(error) == FIXED else "an error of another shape"


def _media() -> dict[str, list[bytes]]:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 24, 3), dtype=np.uint8)
    tone = 0.3 * np.sin(np.arange(4000) / 6)
    out: dict[str, list[bytes]] = {"image": [], "audio": []}
    for kind in ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"):
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, kind)
        out["image"].append(file.getvalue())
    for kind in ("WAV", "FLAC", "MP3"):
        file = io.BytesIO()
        soundfile.write(file, tone, 16000, format=kind)
        out["audio"].append(file.getvalue())
    out["audio"].append(b"OggS" + bytes(100))
    return out


def _one(chance: random.Random, media: dict[str, list[bytes]], model: str) -> Malformed:
    path = chance.choices(ROUTES, (6, 1, 1, 3, 1))[0]
    if path == ROUTES[4]:
        return _form(chance, media, model)
    body = _valid(chance, media, path, model)
    for _ in range(chance.choice((0, 1, 1, 2, 3))):
        body = _spoilt(chance, body)
    content = json.dumps(body).encode()
    if chance.random() < 0.25:
        content = _flipped(chance, content)
    if chance.random() < 0.03:
        depth = chance.choice((10, 100, 10_000))
        content = (b"[" if chance.random() < 0.5 else b'{"a":') * depth
    headers = {"Content-Type": "application/json"}
    if chance.random() < 0.08:
        headers |= chance.choice(HEADERS)
    method = "POST" if chance.random() < 0.97 else chance.choice(("GET", "PUT", "DELETE", "OPTIONS"))
    if chance.random() < 0.02:
        path = chance.choice((path + "/", path.upper(), "/" + path, "/v1/" + "a" * 3000, "/%00", "/v1/models/%2e%2e%2f"))
    return Malformed(method, path, headers, content)


def _valid(chance: random.Random, media: dict[str, list[bytes]], path: str, model: str) -> dict[str, Any]:
    text = {"type": "text", "text": chance.choice(("hello", "what is this?", ""))}
    parts = [_part(chance, media) for _ in range(chance.choice((0, 1, 1, 2)))]
    if path == ROUTES[0]:
        messages = [{"role": "user", "content": [*parts, text]}]
        if chance.random() < 0.3:
            messages = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hi"}, *messages]
            messages.insert(2, {"role": "assistant", "content": "yes"})
        more = chance.choice(({}, {"stream": True}, {"n": 2, "seed": 1}, {"stop": ["a"], "temperature": 1}, {"top_p": 0.5}))
        return {"model": model, "messages": messages, "max_tokens": 2, **more}
    if path == ROUTES[1]:
        return {"model": model, "prompt": "a cat", "n": 1}
    if path == ROUTES[2]:
        return {"model": model, "input": "one two", "voice": "alloy", "response_format": "wav"}
    return {"model": model, "input": [*parts, "a cat"]}


def _part(chance: random.Random, media: dict[str, list[bytes]]) -> dict[str, Any]:
    kind = chance.choice(("image", "image", "audio"))
    data = chance.choice(media[kind])
    for _ in range(chance.choice((0, 1, 1, 3))):
        data = _flipped(chance, data)
    packed = base64.b64encode(data).decode()
    if kind == "audio":
        return {"type": "input_audio", "input_audio": {"data": packed, "format": "wav"}}
    return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{packed}"}}


def _spoilt(chance: random.Random, body: Any) -> Any:
    """The body with one of its values replaced, removed, doubled or misnamed."""
    body = copy.deepcopy(body)
    places: list[tuple[Any, Any]] = []

    def walk(value: Any) -> None:
        for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
            places.append((value, key))
            walk(value[key])

    walk(body)
    if not places:
        return chance.choice(ODD)
    inside, key = chance.choice(places)
    what = chance.random()
    if what < 0.6:
        inside[key] = copy.deepcopy(chance.choice(ODD))
    elif what < 0.75:
        del inside[key]
    elif isinstance(inside, dict):
        inside[chance.choice((f"{key}_", "prompt_embeds", "trust_remote_code", "\0", "a.b[0]"))] = inside[key]
    else:
        inside.extend([inside[key]] * chance.choice((1, 2, 20)))
    return body


def _flipped(chance: random.Random, data: bytes) -> bytes:
    """The bytes with some changed, cut out, doubled or put in."""
    at, length = chance.randrange(len(data) + 1), chance.choice((1, 1, 4, 40))
    new = bytes(chance.randrange(256) for _ in range(length))
    return chance.choice(
        (
            data[:at] + new + data[at + length :],
            data[:at] + b"\xff" * length + data[at + length :],
            data[:at] + b"\0" * length + data[at + length :],
            data[:at],
            data[:at] + data[at + length :],
            data[:at] + new + data[at:],
            data[:at] + data[max(0, at - length) :],
        )
    )


def _form(chance: random.Random, media: dict[str, list[bytes]], model: str) -> Malformed:
    fields = [("model", None, model.encode()), ("file", "a.wav", _flipped(chance, chance.choice(media["audio"])))]
    extra = ("response_format", "temperature", "file", "model", "prompt", "\r\n", "stream")
    for _ in range(chance.choice((0, 0, 1, 20))):
        fields.append(
            (chance.choice(extra), chance.choice((None, "b", "../../etc/hosts")), str(chance.choice(ODD)).encode("utf-8"))
        )
    chance.shuffle(fields)
    mark, body = b"----mark", b""
    for name, file, value in fields:
        named = f'; filename="{file}"' if file is not None else ""
        body += (
            b"--" + mark + f'\r\nContent-Disposition: form-data; name="{name}"{named}\r\n\r\n'.encode() + value + b"\r\n"
        )
    body += b"--" + mark + b"--\r\n"
    if chance.random() < 0.5:
        body = _flipped(chance, body)
    kind = "multipart/form-data; boundary=----mark"
    kind = chance.choice((kind, kind, kind, kind, "multipart/form-data", "multipart/form-data; boundary=" + "x" * 300))
    return Malformed("POST", ROUTES[4], {"Content-Type": kind}, body)


def sent(http: httpx.Client, one: Malformed) -> tuple[int, str]:
    """The status and text of the answer; status 0 where there was none."""
    try:
        reply = http.request(one.method, one.path, headers=one.headers, content=one.content)
    except httpx.RemoteProtocolError as error:
        return 0, str(error)
    return reply.status_code, reply.text if "json" in reply.headers.get("content-type", "") else ""


def _memory(process: psutil.Process) -> float:
    """MB of a process and its children."""
    return sum(each.memory_info().rss for each in (process, *process.children(recursive=True))) / 1e6


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--model", default="nano", help="nano, or the folder of a checkpoint")
    options.add_argument("--count", type=int, default=10_000)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--json", action="store_true")
    asked = options.parse_args()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    limits = [word for limit in ("tokens=4", "made=0", "decoders=1") for word in ("--limit", limit)]
    command = [sys.executable, "-m", "polymodal.cli", "serve", asked.model, "--port", str(port), "--threads", "1", *limits]
    with tempfile.TemporaryFile() as log, httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as http:
        server = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            report = _run(http, psutil.Process(server.pid), asked.count, asked.seed)
        finally:
            server.terminate()
            report["exit"] = server.wait(60)
        log.seek(0)
        report["tracebacks"] = log.read().count(b"Traceback")
    if asked.json:
        print(json.dumps(report))
        return
    for name, value in report.items():
        print(f"{name:>16}: {value}")


def _run(http: httpx.Client, server: psutil.Process, count: int, seed: int) -> dict[str, Any]:
    until = time.monotonic() + 300
    while time.monotonic() < until:
        try:
            name = http.get("/v1/models").json()["data"][0]["id"]
            break
        except httpx.TransportError:
            time.sleep(0.5)
    warm = max(1, count // 10)
    statuses: Counter[int] = Counter()
    troubles: Counter[str] = Counter()
    started, slowest, first = time.monotonic(), 0.0, 0.0
    for number, one in zip(range(count), corpus(seed, name), strict=False):
        if number == warm:
            first = _memory(server)
        before = time.monotonic()
        status, text = sent(http, one)
        slowest = max(slowest, time.monotonic() - before)
        statuses[status] += 1
        if why := trouble(status, text):
            troubles[f"{why} (request {number})"] += 1
    healthy = http.get("/health").status_code == 200
    last = _memory(server)
    return {
        "requests": count,
        "seconds": round(time.monotonic() - started, 1),
        "slowest": round(slowest, 2),
        "statuses": dict(sorted(statuses.items())),
        "troubles": dict(troubles),
        "memory, MB": [round(first), round(last)],
        "growth": round(last / first - 1, 4),
        "healthy": healthy,
    }


if __name__ == "__main__":
    main()
