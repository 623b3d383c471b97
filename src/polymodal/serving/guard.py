"""What every request passes before a route sees it. Decides who may call (Host, Origin, key), how much may be read, and
that what goes wrong is answered in one shape.

    Host     a page of another name that resolves to this machine (DNS rebinding) is not answered
    Origin   a page of another origin is not answered: its browser would hide the answer, but we would have worked
    key      all routes but OPEN
    body     counted as it comes, in total, over all requests, and by the clock
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import time
import uuid
from collections.abc import Collection
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from polymodal.serving.errors import ApiError, log, note

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from polymodal.serving.app import Server

OPEN = frozenset({"/health"})  # routes that need no key
LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})
_SAFE = (  # of every answer
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cross-origin-resource-policy", b"same-origin"),
)


class Guard:
    """An ASGI middleware around all routes. `names`: what this server may be called, without ports."""

    def __init__(self, app: ASGIApp, server: Server, names: Collection[str]) -> None:
        self.app, self.server, self.names = app, server, {name.lower() for name in names} | LOOPBACK

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":  # there are no WebSockets here
            await send({"type": "websocket.close", "code": 1008})
            return
        call = _Call(self, scope, receive, send)
        await call.run()


class _Call:
    """One request on its way. `held`: bytes of its body that count against all bodies."""

    def __init__(self, guard: Guard, scope: Scope, receive: Receive, send: Send) -> None:
        self.guard, self.server, self.scope = guard, guard.server, scope
        self._receive, self._send = receive, send
        self.id = f"req_{uuid.uuid4().hex[:24]}"
        self.status, self.held, self.complete = 0, 0, False
        self.until = time.monotonic() + self.server.limits.body_seconds

    async def run(self) -> None:
        started, server = time.perf_counter(), self.server
        self.scope.setdefault("state", {})["request_id"] = self.id
        server.requests += 1
        try:
            self._check()
            await self.guard.app(self.scope, self.receive, self.send)
        except ApiError as error:
            await self._refuse(error)
        except Exception as error:
            note(error, self.id)
            await self._refuse(ApiError("internal_error"), noted=True)
        finally:
            server.requests -= 1
            server.bodies -= self.held
            route = getattr(self.scope.get("route"), "path", "none")
            seconds = time.perf_counter() - started
            server.metrics.request(route, self.status, seconds)
            log.info("%s %s %s %d %.3f s", self.id, self.scope["method"], route, self.status, seconds)

    def _check(self) -> None:
        headers: list[tuple[bytes, bytes]] = self.scope["headers"]
        hosts = [value.decode("latin-1") for name, value in headers if name == b"host"]
        if len(hosts) != 1 or _name(hosts[0]) not in self.guard.names:
            raise ApiError("host_not_allowed")
        given = {name: value.decode("latin-1") for name, value in headers}
        origin = given.get(b"origin")
        if origin is not None and urlsplit(origin).netloc.lower() != hosts[0].lower():
            raise ApiError("origin_not_allowed")
        if given.get(b"sec-fetch-site", "none") not in ("none", "same-origin"):
            raise ApiError("origin_not_allowed")
        tenant = self.server.keys.tenant(given.get(b"authorization"))
        if tenant is None and self.scope["path"] not in OPEN:
            raise ApiError("invalid_api_key")
        self.scope["state"]["tenant"] = tenant or ""
        limits = self.server.limits
        if self.server.requests > limits.requests and self.scope["path"] not in OPEN:
            raise ApiError("busy", retry=limits.retry_seconds)
        claimed = given.get(b"content-length", "0")
        if not claimed.isdecimal() or int(claimed[:20]) > limits.body_bytes:
            raise ApiError("body_too_large", limit=limits.body_bytes)

    async def receive(self) -> Message:
        """The next piece of the body. Raises `ApiError` for one too large, too slow, or more than there is room for."""
        if self.complete:
            return await self._receive()
        try:
            message = await asyncio.wait_for(self._receive(), max(0.01, self.until - time.monotonic()))
        except asyncio.TimeoutError as error:
            raise ApiError("body_too_slow") from error
        if message["type"] != "http.request":
            return message
        size, limits = len(message.get("body", b"")), self.server.limits
        self.held += size
        self.server.bodies += size
        self.complete = not message.get("more_body", False)
        if self.held > limits.body_bytes:
            raise ApiError("body_too_large", limit=limits.body_bytes)
        if self.server.bodies > limits.bodies_bytes:
            raise ApiError("busy", retry=limits.retry_seconds)
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            given = {name for name, _ in message.get("headers", ())}
            more = [(name, value) for name, value in _SAFE if name not in given]
            message = {**message, "headers": [*message.get("headers", ()), *more, (b"x-request-id", self.id.encode())]}
        await self._send(message)

    async def _refuse(self, error: ApiError, noted: bool = False) -> None:
        if not noted:
            note(error, self.id)
        self.server.metrics.refusal(error.code)
        if self.status:  # the answer has begun: all that is left is to end it
            return
        body = json.dumps(error.body()).encode()
        headers: list[Any] = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        headers += [(name.lower().encode(), value.encode()) for name, value in (error.headers or {}).items()]
        if not self.complete and self.scope["method"] not in ("GET", "HEAD"):
            headers.append((b"connection", b"close"))  # the rest of its body is not read
        await self.send({"type": "http.response.start", "status": error.status_code, "headers": headers})
        await self.send({"type": "http.response.body", "body": b"" if self.scope["method"] == "HEAD" else body})


def _name(host: str) -> str:
    """The name in a Host header, without its port."""
    name, colon, port = host.lower().rpartition(":")
    if colon and port.isdecimal() and not name.endswith(":"):
        return name
    return host.lower()


def is_loopback(host: str) -> bool:
    """Whether an address to bind is reachable from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
