"""Busy, gone, failed and closing: what happens around an answer."""

from __future__ import annotations

import json
import logging
import threading
import time

import httpx
import pytest

from polymodal.errors import AssetError, MediaError
from polymodal.serving.app import create
from polymodal.serving.errors import redacted
from polymodal.serving.single import SingleEngine
from polymodal.serving.types import TooLong
from tests.serving.conftest import LIMITS, asks, code, data_uri, png, serving

LONG = {"modalities": ["text"], "max_tokens": 900}  # greedy, the tiny model goes on and on


class Blocked:
    """Holds an engine's thread until it is left."""

    def __init__(self, engine: SingleEngine) -> None:
        self.free, begun = threading.Event(), threading.Event()
        self.future = engine.call(lambda _: (begun.set(), self.free.wait(60)))
        assert begun.wait(60)

    def __enter__(self) -> None:
        """Held already."""

    def __exit__(self, *_: object) -> None:
        self.free.set()
        self.future.result()


def until(true, seconds: float = 30) -> bool:
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(0.01)
    return bool(true())


def test_a_full_queue_is_429_with_retry_after(maker):
    engine = SingleEngine(maker, queue=1)
    with serving(create(engine, LIMITS, name="tiny")) as address, httpx.Client(base_url=address, timeout=60) as http:
        with Blocked(engine):
            engine.call(lambda _: None)
            for path, body in (
                ("/v1/chat/completions", asks("hi")),
                ("/v1/chat/completions", asks("hi", stream=True)),
                ("/v1/embeddings", {"model": "tiny", "input": "hi"}),
                ("/v1/images/generations", {"prompt": "a cat"}),
            ):
                reply = http.post(path, json=body)
                assert code(reply) == "busy"
                assert int(reply.headers["retry-after"]) >= 1
        assert http.post("/v1/chat/completions", json=asks("hi", **{**LONG, "max_tokens": 2})).status_code == 200


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_is_not_computed_for(address, http, engine, stream):
    before, body = cancelled(http), asks("hi", stream=stream, n=4, **LONG)
    impatient = httpx.Client(base_url=address, timeout=httpx.Timeout(60, read=0.2))
    with Blocked(engine), impatient as leaving, pytest.raises(httpx.ReadTimeout):
        leaving.post("/v1/chat/completions", json=body)
    started = time.monotonic()
    assert until(lambda: cancelled(http) == before + 1)
    assert until(lambda: not engine.stats()["active"])
    assert time.monotonic() - started < 5  # of four answers of 900 tokens


def cancelled(http: httpx.Client) -> float:
    lines = http.get("/metrics").text.splitlines()
    return float(next(line for line in lines if line.startswith("polymodal_cancelled_total")).split()[1])


def test_an_answer_ends_with_its_time(maker):
    engine = SingleEngine(maker)
    app = create(engine, LIMITS.model_copy(update={"answer_seconds": 0.1}), name="tiny")
    with serving(app) as address:
        reply = httpx.post(f"{address}/v1/chat/completions", json=asks("hi", **LONG), timeout=60).json()
    assert reply["choices"][0]["finish_reason"] == "length"
    assert reply["usage"]["completion_tokens"] < 900


def test_nothing_is_taken_once_it_closes(maker):
    engine = SingleEngine(maker)
    with serving(create(engine, LIMITS, name="tiny", closes=False)) as address:
        engine.close()
        assert code(httpx.post(f"{address}/v1/chat/completions", json=asks("hi"), timeout=60)) == "shutting_down"


SECRET = "/srv/secret/model.bin at 0x7f3a10 " + "QUJD" * 40


class Failing(SingleEngine):
    """A real engine whose model's thread meets what it is told to."""

    error: Exception

    def _answer(self, ticket, *_) -> None:
        from polymodal.serving.tickets import Failed

        ticket.put(Failed(self.error))

    def call(self, function):
        def fail(_):
            raise self.error

        return super().call(fail)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (RuntimeError(SECRET), "internal_error"),
        (MemoryError(SECRET), "internal_error"),
        (MediaError(SECRET), "media_damaged"),
        (AssetError(SECRET), "cannot_make"),
        (TooLong(SECRET), "context_length_exceeded"),
        (UnicodeDecodeError("utf-8", SECRET.encode(), 0, 1, SECRET), "internal_error"),
    ],
)
def test_what_an_error_says_goes_to_the_log_alone_without_base64(maker, caplog, error, said):
    engine = Failing(maker)
    engine.error = error
    with caplog.at_level(logging.INFO, "polymodal.serving"), serving(create(engine, LIMITS, name="tiny")) as address:
        http = httpx.Client(base_url=address, timeout=60)
        for path, body in (
            ("/v1/chat/completions", asks("hi", png())),
            ("/v1/embeddings", {"model": "tiny", "input": "hi"}),
            ("/v1/images/generations", {"prompt": "a cat"}),
        ):
            reply = http.post(path, json=body)
            assert code(reply) == said
            assert "secret" not in reply.text
        lines = http.post("/v1/chat/completions", json=asks("hi", stream=True)).text.strip().split("\n\n")
        assert json.loads(lines[-1].removeprefix("data: "))["error"]["code"] == said
        assert http.get("/health").status_code == 200
    assert "secret" in caplog.text or isinstance(error, UnicodeDecodeError)
    assert not any("QUJD" * 12 in record.getMessage() for record in caplog.records)


def test_no_log_line_holds_what_was_sent(http, caplog):
    with caplog.at_level(logging.DEBUG):
        http.post("/v1/embeddings", json={"model": "tiny", "input": "a private matter"})
        http.post("/v1/chat/completions", json=asks("a private matter", data_uri(b"private", "private/matter")))
    ours = [record.getMessage() for record in caplog.records if record.name.startswith("polymodal")]
    assert ours
    assert not any("private" in line for line in ours)


def test_redaction_cuts_out_base64_and_lines():
    assert redacted("a\nb " + "A" * 60 + "==\tc") == "a b <base64> c"
    assert len(redacted("ab " * 1000)) == 500


def test_metrics_know_routes_and_codes_and_nothing_of_clients(http):
    http.get("/v1/models/somebody-elses-secret")
    http.get("/somebody-elses-secret", headers={"Host": "somebody-elses-secret"})
    text = http.get("/metrics").text
    assert "secret" not in text
    assert 'polymodal_requests_total{route="/v1/models/{model}",status="404"}' in text
    assert 'polymodal_refused_total{code="host_not_allowed"}' in text
    assert 'polymodal_engine{what="waiting"}' in text
