"""Many users of one server by HTTP, on loopback: `--users` at once, against the same questions asked one at a time.

    .venv/bin/python benchmarks/serving_http.py
    .venv/bin/transformers serve PATH --device cpu --dtype float32 --port 9000
    .venv/bin/python benchmarks/serving_http.py --text --against http://127.0.0.1:9000/v1 PATH
    .venv/bin/python benchmarks/serving_http.py --second

The server is `polymodal serve` in a process of its own. Each user asks `--questions` questions one after another, every
fourth of them about a picture, as streams; one at a time, users wait for one another. Both are asked in turns, `--rounds`
times, so that what else the machine does falls on both. Shown: tokens per second, and per second of processor time of the
server; seconds to the first piece of text and to the end from when a user wished to ask (median and 95th percentile);
requests that got no answer. Tokens are those that the server counts.

`--against` (again for more): another server of OpenAI's API, started by hand, is asked the same in the same turns; `--text`
leaves pictures out. Where a stream has no usage, its pieces are counted. `--second`: a second question about the same
picture, counted by `/metrics`: encoder calls, and positions run.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil

from common import options, show
from serving import THINGS, percentile

CAT = Path(__file__).resolve().parent.parent / "examples" / "cat.jpg"


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--users", type=int, default=16)
    parser.add_argument("--questions", type=int, default=2)
    parser.add_argument("--tokens", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--text", action="store_true", help="no pictures")
    parser.add_argument("--against", nargs=2, action="append", default=[], metavar=("URL", "MODEL"), help="with its /v1")
    parser.add_argument("--second", action="store_true", help="a second question about the same picture")
    asked = parser.parse_args()
    with serving(asked.model, asked.threads) as address:
        if asked.second:
            second(address, asked)
            return
        servers = {"polymodal": (f"{address}/v1", name_of(address))}
        servers |= {f"theirs {number}": (url, model) for number, (url, model) in enumerate(asked.against, 1)}
        measured: dict[tuple[str, int], list[dict[str, Any]]] = {}
        for name, (url, model) in servers.items():
            asyncio.run(load(url, model, 1, 1, 1, 2, 0, not asked.text, name == "polymodal"))  # a warm-up
        for number in range(asked.rounds):
            for turn, at_once in enumerate((1, asked.users), 2 * number + 1):
                for name, (url, model) in servers.items():
                    sizes = asked.users, asked.questions, at_once, asked.tokens, turn
                    found = asyncio.run(load(url, model, *sizes, not asked.text, name == "polymodal"))
                    measured.setdefault((name, at_once), []).append(found)
    rows = [summary(name, at_once, found) for (name, at_once), found in measured.items()]
    one, all_ = ({row["at once"]: row for row in rows if row["server"] == "polymodal"}[n] for n in (1, asked.users))
    line = {"throughput_vs_one_at_a_time": all_["tokens/s"] / one["tokens/s"], "rows": rows}
    show(asked, f"{asked.users} users: {line['throughput_vs_one_at_a_time']:.2f} times the throughput", rows, line)


@contextlib.contextmanager
def serving(model: str, threads: int) -> Iterator[str]:
    """`polymodal serve` on a free port of this machine; its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ["serve", model, "--port", str(port), "--threads", str(threads)]
    with tempfile.TemporaryFile() as log:
        server = subprocess.Popen([sys.executable, "-m", "polymodal.cli", *words], stdout=log, stderr=log)
        address, until = f"http://127.0.0.1:{port}", time.monotonic() + 300
        try:
            while True:
                with contextlib.suppress(httpx.TransportError):
                    if httpx.get(f"{address}/health").status_code == 200:
                        break
                if time.monotonic() > until or server.poll() is not None:
                    log.seek(0)
                    raise SystemExit(log.read().decode())
                time.sleep(0.2)
            yield address
        finally:
            server.terminate()
            server.wait(60)


def listening(url: str) -> psutil.Process:
    """The process of this machine that listens at a URL."""
    port = urlsplit(url).port
    found = [each.pid for each in psutil.net_connections("tcp") if each.status == "LISTEN" and each.laddr.port == port]
    return psutil.Process(found[0])


def name_of(address: str) -> str:
    name: str = httpx.get(f"{address}/v1/models").json()["data"][0]["id"]
    return name


def question(user: int, number: int, turn: int, pictures: bool) -> list[dict[str, Any]]:
    """No two turns ask the same, or what a server keeps of prompts would answer the later ones."""
    about = THINGS[(user + 3 * number) % len(THINGS)]
    parts: list[dict[str, Any]] = [{"type": "text", "text": f"{turn}.{user}: tell me a short story about {about}."}]
    if pictures and (user + number) % 4 == 0:
        url = f"data:image/jpeg;base64,{base64.b64encode(CAT.read_bytes()).decode()}"
        parts.insert(0, {"type": "image_url", "image_url": {"url": url}})
    return [{"role": "user", "content": parts if len(parts) > 1 else parts[0]["text"]}]


async def load(
    url: str, model: str, users: int, questions: int, at_once: int, tokens: int, turn: int, pictures: bool, makes: bool
) -> dict[str, Any]:
    """All users, of whom so many are answered `at_once`. `makes`: a model of ours, which is to write alone."""
    free, firsts, totals, counted, lost = asyncio.Semaphore(at_once), [], [], [], []

    async def use(http: httpx.AsyncClient, user: int) -> None:
        for number in range(questions):
            body = {
                "model": model,
                "messages": question(user, number, turn, pictures),
                "max_tokens": tokens,
                "stream": True,
            }
            body |= {"temperature": 0.7, "seed": 100 * user + number, "stream_options": {"include_usage": True}}
            if makes:
                body["modalities"] = ["text"]
            wished, first, used, pieces = time.perf_counter(), 0.0, 0, 0
            try:
                async with free, http.stream("POST", f"{url}/chat/completions", json=body) as reply:
                    async for line in reply.aiter_lines():
                        if not line.startswith("data: {"):
                            continue
                        event = json.loads(line[6:])
                        if any(choice["delta"].get("content") for choice in event.get("choices", ())):
                            first, pieces = first or time.perf_counter() - wished, pieces + 1
                        used = (event.get("usage") or {}).get("completion_tokens", used)
            except httpx.HTTPError as error:
                lost.append(type(error).__name__)
            used = used or pieces
            if not used:
                lost.append(number)
                continue
            counted.append(used)
            firsts.append(first)
            totals.append(time.perf_counter() - wished)

    bounds = httpx.Limits(max_connections=users)
    async with httpx.AsyncClient(timeout=900, limits=bounds, trust_env=False) as http:
        server = listening(url)
        began, worked = time.perf_counter(), sum(server.cpu_times()[:2])
        await asyncio.gather(*(use(http, user) for user in range(users)))
    return {
        "seconds": time.perf_counter() - began,
        "worked": sum(server.cpu_times()[:2]) - worked,
        "firsts": firsts,
        "totals": totals,
        "tokens": sum(counted),
        "lost": lost,
    }


def summary(name: str, at_once: int, found: list[dict[str, Any]]) -> dict[str, Any]:
    firsts, totals = ([value for each in found for value in each[key]] for key in ("firsts", "totals"))
    tokens, seconds, worked = (sum(each[key] for each in found) for key in ("tokens", "seconds", "worked"))
    return {
        "server": name,
        "at once": at_once,
        "tokens/s": tokens / seconds,
        "tokens/CPU s": tokens / worked,
        "tokens": tokens,
        "first median s": statistics.median(firsts),
        "first p95 s": percentile(firsts, 0.95),
        "total median s": statistics.median(totals),
        "total p95 s": percentile(totals, 0.95),
        "lost": sum(len(each["lost"]) for each in found),
    }


def second(address: str, asked: Any) -> None:
    """Two questions about one picture in one conversation, and what the server counted for each."""
    rows, messages, model = [], [], name_of(address)
    body = {"model": model, "max_tokens": 24, "modalities": ["text"]}
    for number, text in enumerate(("What kind of thing is this?", "Is it big?")):
        content: list[dict[str, Any]] = [{"type": "text", "text": text}]
        if not number:
            url = f"data:image/jpeg;base64,{base64.b64encode(CAT.read_bytes()).decode()}"
            content.insert(0, {"type": "image_url", "image_url": {"url": url}})
        messages.append({"role": "user", "content": content})
        before = counts(address)
        began = time.perf_counter()
        reply = httpx.post(f"{address}/v1/chat/completions", json={**body, "messages": messages}, timeout=300).json()
        seconds, after = time.perf_counter() - began, counts(address)
        messages.append({"role": "assistant", "content": reply["choices"][0]["message"]["content"]})
        usage = reply["usage"]
        rows.append(
            {
                "question": text,
                "prompt": usage["prompt_tokens"],
                "cached": usage["prompt_tokens_details"]["cached_tokens"],
                "positions run": after["prefilled"] - before["prefilled"],
                "encoder calls": after["encoded"] - before["encoded"],
                "seconds": seconds,
            }
        )
    show(asked, "The second question about the same picture", rows, {"rows": rows})


def counts(address: str) -> dict[str, float]:
    lines = httpx.get(f"{address}/metrics").text.splitlines()
    found = (line.removeprefix('polymodal_engine{what="').split('"} ') for line in lines if "polymodal_engine{" in line)
    return {name: float(value) for name, value in found}


if __name__ == "__main__":
    main()
