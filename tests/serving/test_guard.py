"""Who may call, and how much may be sent: Host, Origin, keys, bodies, routes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import time

import httpx
import pytest

from polymodal.errors import ContentError
from polymodal.serving.app import create
from polymodal.serving.guard import is_loopback
from polymodal.serving.keys import Keys
from polymodal.serving.limits import ServingLimits
from tests.serving.conftest import KEY, LIMITS, asks, code, png, serving

ROUTES = {
    ("GET", "/v1/models"),
    ("GET", "/v1/models/{model}"),
    ("GET", "/health"),
    ("GET", "/metrics"),
    ("GET", "/openapi.json"),
    ("POST", "/v1/chat/completions"),
    ("POST", "/v1/images/generations"),
    ("POST", "/v1/audio/speech"),
    ("POST", "/v1/audio/transcriptions"),
    ("POST", "/v1/embeddings"),
}


BEGUN = (  # a request whose body never comes
    "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
    "Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
)


def settled(app) -> bool:
    """Whether nothing is held any more; an answer is sent a moment before."""
    until = time.monotonic() + 20
    while (app.state.server.requests or app.state.server.bodies) and time.monotonic() < until:
        time.sleep(0.01)
    return (app.state.server.requests, app.state.server.bodies) == (0, 0)


def all_routes(app) -> set[tuple[str, str]]:
    paths = json.loads(json.dumps(app.openapi()))["paths"]
    described = {(method.upper(), path) for path, methods in paths.items() for method in methods}
    plain = {
        (method, route.path)
        for route in app.routes
        if hasattr(route, "path")
        for method in route.methods or ()
        if method != "HEAD"
    }
    return described | plain


def test_every_route_is_in_this_table(app):
    assert all_routes(app) == ROUTES


@pytest.mark.parametrize(
    "path",
    [
        *("/docs", "/redoc", "/invocations", "/pause", "/update_weights", "/v1/completions", "/admin", "/debug", "/ping"),
        *("/v1/chat/completions/", "//v1/models", "/v1/models/..%2f..%2fhealth", "/%2e%2e/etc/passwd"),
        *("/shutdown", "/v1/load_lora_adapter", "/collective_rpc", "/tokenize", "/server_info"),
    ],
)
def test_no_other_route_answers(http, path):
    reply = http.get(path)
    assert code(reply) in ("not_found", "model_not_found")
    assert code(http.post(path, json={})) in ("not_found", "method_not_allowed")


def test_methods_are_those_of_the_table(http):
    for method in ("PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"):
        assert code(http.request(method, "/v1/chat/completions")) == "method_not_allowed"
    assert code(http.get("/v1/chat/completions")) == "method_not_allowed"


@pytest.mark.parametrize(
    "host",
    [
        "evil.example.org",
        "127.0.0.1.evil.org",
        "localhost.evil.org",
        "evil@localhost",
        "169.254.169.254",
        "",
        "localhost:x:1",
        "0",
    ],
)
def test_a_name_that_was_rebound_to_this_machine_is_not_answered(http, host):
    assert code(http.get("/v1/models", headers={"Host": host})) == "host_not_allowed"


def test_names_of_loopback_and_given_names_are_answered(http, engine):
    for host in ("localhost", "LOCALHOST:8000", "127.0.0.1:1", "[::1]", "[::1]:80"):
        assert http.get("/v1/models", headers={"Host": host}).status_code == 200
    app = create(engine, LIMITS, name="tiny", names=["models.example.org"], closes=False)
    with serving(app) as address:
        assert httpx.get(f"{address}/health", headers={"Host": "models.example.org:443"}).status_code == 200


def raw(address: str, text: str) -> str:
    host, port = address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(text.encode())
        out = b""
        while block := connection.recv(65536):
            out += block
    return out.decode()


def test_two_hosts_or_none_are_refused(address):
    end = "Connection: close\r\n\r\n"
    for hosts in ("Host: localhost\r\nHost: evil.org\r\n", "Host: evil.org\r\nHost: localhost\r\n"):
        assert raw(address, f"GET /v1/models HTTP/1.1\r\n{hosts}{end}").split()[1] in ("400", "421")
    assert raw(address, f"GET /v1/models HTTP/1.0\r\n{end}").split()[1] in ("400", "421")


def test_pages_of_other_origins_are_refused_and_there_is_no_cors(http, address):
    for headers in (
        {"Origin": "https://evil.org"},
        {"Origin": "null"},
        {"Origin": "http://localhost:1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ):
        reply = http.post("/v1/chat/completions", json=asks("hi"), headers=headers)
        assert code(reply) == "origin_not_allowed"
        assert not [name for name in reply.headers if name.startswith("access-control")]
    own = http.get("/v1/models", headers={"Origin": address, "Sec-Fetch-Site": "same-origin"})
    assert own.status_code == 200
    body = json.dumps(asks("hi"))
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=a", ""):
        reply = http.post("/v1/chat/completions", content=body, headers={"Content-Type": kind})
        assert code(reply) == "content_type_not_allowed"  # what a page may send without asking


def test_with_keys_every_route_but_health_needs_one(engine):
    app = create(engine, LIMITS, Keys([KEY, "another-key-0123456789"]), name="tiny", closes=False)
    with serving(app) as address, httpx.Client(base_url=address, timeout=60) as http:
        for method, path in ROUTES:
            reply = http.request(method, path.replace("{model}", "tiny"))
            if path == "/health":
                assert reply.status_code == 200
                continue
            assert code(reply) == "invalid_api_key"
            assert reply.headers["www-authenticate"] == "Bearer"
            for wrong in (KEY, f"Basic {KEY}", "Bearer", f"Bearer {KEY}x", f"Bearer {KEY[:-1]}", "Bearer é".encode()):
                assert code(http.request(method, path, headers={"Authorization": wrong})) == "invalid_api_key"
        assert code(http.get("/nothing/here")) == "invalid_api_key"  # nor can routes be found out
        for key in (f"Bearer {KEY}", "bearer another-key-0123456789"):
            assert http.get("/v1/models", headers={"Authorization": key}).status_code == 200


def test_a_key_of_each_kind_of_mistake_is_refused_by_name(tmp_path):
    file = tmp_path / "keys"
    for text, said in (("", "holds no API key"), ("short", "16 or more"), ("# only\n\n", "holds no"), ("é" * 20, "ASCII")):
        file.write_text(text)
        with pytest.raises(ContentError, match=said):
            Keys.from_file(file)
    with pytest.raises(ContentError, match="cannot be read"):
        Keys.from_file(tmp_path / "gone")
    file.write_text(f"# mine\n{KEY}\n\nanother-key-0123456789\n")
    keys = Keys.from_file(file)
    one, two = keys.tenant(f"Bearer {KEY}"), keys.tenant("Bearer another-key-0123456789")
    assert len(keys) == 2
    assert one
    assert two not in (None, one)  # each has caches of its own
    assert KEY not in repr(vars(keys))


def test_a_body_over_the_limit_is_refused_while_it_comes(engine):
    app = create(engine, LIMITS.model_copy(update={"body_bytes": 5000}), name="tiny", closes=False)

    def pieces():
        for _ in range(1000):
            yield b" " * 1000

    with serving(app) as address, httpx.Client(base_url=address, timeout=60) as http:
        kind = {"Content-Type": "application/json"}
        assert code(http.post("/v1/chat/completions", content=b" " * 6000, headers=kind)) == "body_too_large"
        before = time.monotonic()
        with contextlib.suppress(httpx.TransportError):  # it may hang up before the rest is sent
            assert code(http.post("/v1/chat/completions", content=pieces(), headers=kind)) == "body_too_large"
        assert time.monotonic() - before < 10
        form = http.post("/v1/audio/transcriptions", files={"file": ("a", bytes(6000))}, data={"model": "tiny"})
        assert code(form) == "body_too_large"
        assert http.get("/health").status_code == 200
        assert settled(app)


def test_a_body_that_drips_is_given_up(engine):
    app = create(engine, LIMITS.model_copy(update={"body_seconds": 0.5}), name="tiny", closes=False)
    with serving(app) as address:
        started = time.monotonic()
        assert raw(address, BEGUN).split()[1] == "408"
        assert time.monotonic() - started < 10
        assert settled(app)


def test_more_requests_than_the_limit_are_told_when_to_come_back(engine):
    app = create(engine, LIMITS.model_copy(update={"requests": 1, "retry_seconds": 7}), name="tiny", closes=False)
    with serving(app) as address:
        host, port = address.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as waiting:
            waiting.sendall(BEGUN.encode())
            until = time.monotonic() + 20
            while not app.state.server.requests and time.monotonic() < until:
                time.sleep(0.01)
            reply = httpx.get(f"{address}/v1/models")
            assert code(reply) == "busy"
            assert reply.headers["retry-after"] == "7"
            assert httpx.get(f"{address}/health").status_code == 200
        assert settled(app)
        assert httpx.get(f"{address}/v1/models").status_code == 200


def test_all_bodies_together_are_bounded(engine):
    app = create(engine, LIMITS.model_copy(update={"bodies_bytes": 1000}), name="tiny", closes=False)
    with serving(app) as address:
        assert code(httpx.post(f"{address}/v1/chat/completions", json=asks("a" * 2000))) == "busy"
        assert settled(app)


def test_websockets_are_closed():
    from polymodal.serving.guard import Guard

    sent = []

    async def send(message) -> None:
        sent.append(message)

    asyncio.run(Guard(None, None, [])({"type": "websocket"}, None, send))
    assert sent == [{"type": "websocket.close", "code": 1008}]


def test_answers_tell_browsers_to_keep_out(http):
    headers = http.get("/health").headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-security-policy"].startswith("default-src 'none'")
    assert headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("host", "near"),
    [
        ("127.0.0.1", True),
        ("localhost", True),
        ("::1", True),
        ("[::1]", True),
        ("0.0.0.0", False),
        ("::", False),
        ("a.b", False),
    ],
)
def test_what_is_loopback(host, near):
    assert is_loopback(host) is near


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "invalid_field"),
        (b"{", "invalid_json"),
        (b"\xff\xfe", "invalid_json"),
        (b'{"model": NaN}', "invalid_json"),
        (b'{"model": Infinity}', "invalid_json"),
        (b'{"a": "\\ud800"}', "invalid_json"),
        (b'{"a": "\x00"}', "invalid_json"),
        (b"1" * 10_000, "invalid_json"),
        (b"[" * 100_000, "json_too_deep"),
        (b"[" * 20 + b"]" * 20, "json_too_deep"),
        (b'{"a":' * 5_000, "json_too_deep"),
        (b"[" + b"[]," * 60_000 + b"1]", "json_too_complex"),
        (b"null", "invalid_field"),
        (b"[]", "invalid_field"),
        (b'"text"', "invalid_field"),
    ],
    ids=range(15),
)
def test_json_is_bounded(http, body, said):
    reply = http.post("/v1/chat/completions", content=body, headers={"Content-Type": "application/json"})
    assert code(reply) == said


def test_a_picture_is_no_deep_or_complex_json(http):
    assert http.post(
        "/v1/embeddings", json={"model": "tiny", "input": [asks(png(0, (400, 400)))["messages"][0]["content"][0]]}
    )


def test_limits_have_units():
    for name, field in ServingLimits.model_fields.items():
        assert field.description, name
