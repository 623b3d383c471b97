"""`polymodal serve` as a process: it serves, ends cleanly, and survives being killed under load."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import httpx
import psutil
import pytest

from tests.serving.conftest import KEY, asks, png


@pytest.fixture
def start(tiny, tmp_path):
    """A function that starts a server of the tiny model and waits until it answers."""
    tiny.save(tmp_path / "tiny")
    (tmp_path / "keys").write_text(KEY)
    running: list[subprocess.Popen] = []

    def start() -> tuple[subprocess.Popen, httpx.Client]:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        words = ["serve", str(tmp_path / "tiny"), "--port", str(port), "--api-key-file", str(tmp_path / "keys")]
        log = (tmp_path / "log").open("ab")
        command = [sys.executable, "-m", "polymodal.cli", *words, "--threads", "1", "--limit", "decoders=1"]
        server = subprocess.Popen(command, stdout=log, stderr=log)
        running.append(server)
        http = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, headers={"Authorization": f"Bearer {KEY}"})
        until = time.monotonic() + 120
        while time.monotonic() < until and server.poll() is None:
            with suppress(httpx.TransportError):
                if http.get("/health").status_code == 200:
                    return server, http
            time.sleep(0.1)
        raise AssertionError((tmp_path / "log").read_text())

    yield start
    for server in running:
        if server.poll() is None:
            server.kill()
            server.wait()


def test_a_server_ends_with_its_answers_and_starts_again_after_a_kill_under_load(start, tmp_path):
    server, http = start()
    body = asks("hello", png(), **{"temperature": 1.0, "seed": 1})
    first = http.post("/v1/chat/completions", json=body).json()["choices"]
    children = psutil.Process(server.pid).children(recursive=True)
    before = sorted(file for file in tmp_path.rglob("*"))

    def ask() -> None:
        with suppress(httpx.TransportError):
            for _ in range(50):
                http.post("/v1/chat/completions", json=body)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    os.kill(server.pid, signal.SIGKILL)
    server.wait()
    for thread in threads:
        thread.join()
    assert sorted(tmp_path.rglob("*")) == before  # nothing half-written, nothing left
    assert not psutil.wait_procs(children, timeout=20)[1]  # decoders end with it
    server, http = start()
    assert http.post("/v1/chat/completions", json=body).json()["choices"] == first
    children = psutil.Process(server.pid).children(recursive=True)
    answers: list[int] = []
    late = threading.Thread(target=lambda: answers.append(http.post("/v1/chat/completions", json=body).status_code))
    late.start()
    time.sleep(0.1)
    server.send_signal(signal.SIGTERM)
    late.join()
    assert server.wait(60) in (0, -signal.SIGTERM)
    assert answers == [200]
    assert not psutil.wait_procs(children, timeout=20)[1]
    log = Path(tmp_path / "log").read_text()
    assert "Traceback" not in log
    assert KEY not in log
    assert "hello" not in log
