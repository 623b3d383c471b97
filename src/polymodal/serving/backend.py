"""An engine in another process, called by its HTTP API. Decides what is believed of it: nothing but JSON of a known shape,
of a bounded size, in a bounded time.

Its address is the operator's, never a request's; no proxy of the environment and no redirect leads elsewhere. What it says
of an error goes to the log, and a client hears one of our own texts.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Literal
from urllib.parse import urlsplit

import httpx

from polymodal.errors import ContentError
from polymodal.serving.errors import ApiError
from polymodal.serving.limits import ServingLimits

Kind = Literal["openai", "vllm"]
KINDS: tuple[Kind, ...] = ("openai", "vllm")
CONNECT = 10.0  # seconds
FRESH = 5.0  # seconds for which a list of models is not asked for again
ERROR_BYTES = 65_536


class Backend:
    """`url`: of the API, with or without its `/v1`. `kind`: `openai` for any server of this API (llama-server, SGLang, one
    of ours), `vllm` for fields that vLLM has beside it. `key`: sent as the bearer's. `only`: the one model that may be
    asked."""

    def __init__(
        self, url: str, limits: ServingLimits, kind: Kind = "openai", key: str | None = None, only: str | None = None
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query or parts.fragment:
            raise ContentError(f"--backend: '{url}' is no address of an engine; give one such as http://127.0.0.1:8080")
        base = url.rstrip("/")
        self.base = base if base.endswith("/v1") else f"{base}/v1"
        self.limits, self.kind, self.only = limits, kind, only
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._client: httpx.AsyncClient | None = None
        self._models: list[dict[str, Any]] = []
        self._asked = -FRESH

    async def start(self) -> None:
        timeout = httpx.Timeout(self.limits.answer_seconds, connect=CONNECT)
        bounds = httpx.Limits(max_connections=self.limits.requests + 8)
        self._client = httpx.AsyncClient(
            timeout=timeout, limits=bounds, headers=self._headers, trust_env=False, follow_redirects=False
        )

    async def close(self) -> None:
        if self._client is not None:
            await self._client.aclose()

    async def models(self, fresh: bool = False) -> list[dict[str, Any]]:
        """What it serves: `id`, and of one of our servers also `inputs` and `outputs`. Raises `ApiError`."""
        if fresh or time.monotonic() - self._asked > FRESH:
            found = await self.json("GET", "/models")
            data = found.get("data") if isinstance(found, dict) else None
            if not isinstance(data, list):
                raise ApiError("engine_failed", detail="its list of models is none")
            known = [about for item in data[:1000] if (about := _about(item)) is not None]
            self._models = [about for about in known if self.only in (None, about["id"])]
            self._asked = time.monotonic()
        return self._models

    async def check(self, model: str) -> None:
        """Raises `ApiError` for a model that it does not list: none is loaded because somebody names it."""
        if model not in [about["id"] for about in await self.models()]:
            raise ApiError("model_not_found", "model")

    async def json(self, method: str, path: str, **sent: Any) -> Any:
        """The JSON value that it answers with. Raises `ApiError`."""
        try:
            return json.loads(await self.raw(method, path, **sent))
        except ValueError as error:
            raise ApiError("engine_failed", detail="its answer is no JSON") from error

    async def raw(self, method: str, path: str, **sent: Any) -> bytes:
        """The body that it answers with. Raises `ApiError`."""
        return b"".join([block async for block in self._blocks(method, path, **sent)])

    async def events(self, path: str, body: Any) -> AsyncGenerator[dict[str, Any]]:
        """The JSON objects of a stream of server-sent events, up to its `[DONE]`, or up to its end where each answer has
        said how it ended (`transformers serve` says no more than that). Raises `ApiError`."""
        held, ended = b"", dict[int, bool]()
        blocks = self._blocks("POST", path, json=body)
        try:
            async for block in blocks:
                *whole, held = re.split(rb"\r?\n\r?\n", held + block)
                for one in whole:
                    lines = [line[5:].strip() for line in one.splitlines() if line.startswith(b"data:")]
                    if lines == [b"[DONE]"]:
                        return
                    if lines:
                        event = _event(b"\n".join(lines))
                        ended |= {index: end or ended.get(index, False) for index, end in _ends(event)}
                        yield event
            if ended and all(ended.values()):
                return
            raise ApiError("engine_failed", detail="its stream ended in the middle")
        finally:
            await blocks.aclose()

    async def _blocks(self, method: str, path: str, **sent: Any) -> AsyncGenerator[bytes]:
        """The body of an answer as it comes, in a bounded time and size."""
        until, size = time.monotonic() + self.limits.answer_seconds, 0
        async with self._opened(method, path, until, **sent) as reply:
            blocks = reply.aiter_bytes()
            while True:
                try:
                    block = await asyncio.wait_for(anext(blocks), max(0.01, until - time.monotonic()))
                except StopAsyncIteration:
                    return
                except (asyncio.TimeoutError, httpx.HTTPError) as error:
                    raise ApiError("engine_failed", detail=type(error).__name__) from error
                size += len(block)
                if size > self.limits.reply_bytes:
                    raise ApiError("engine_failed", detail=f"more than {self.limits.reply_bytes} bytes")
                yield block

    @asynccontextmanager
    async def _opened(self, method: str, path: str, until: float, **sent: Any) -> AsyncIterator[httpx.Response]:
        assert self._client is not None, "start() comes first"
        request = self._client.build_request(method, f"{self.base}{path}", **sent)
        try:
            coming = self._client.send(request, stream=True)
            reply = await asyncio.wait_for(coming, max(0.01, until - time.monotonic()))
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise ApiError("engine_unavailable", detail=type(error).__name__, retry=self.limits.retry_seconds) from error
        except (asyncio.TimeoutError, httpx.HTTPError) as error:
            raise ApiError("engine_failed", detail=type(error).__name__) from error
        try:
            if reply.status_code != 200:
                raise await self._refusal(reply)
            yield reply
        finally:
            await reply.aclose()

    async def _refusal(self, reply: httpx.Response) -> ApiError:
        """What a client is told of a status. Its text is read for the log, and for a prompt that is too long."""
        said = b""
        try:
            async for block in reply.aiter_bytes():
                said += block
                if len(said) > ERROR_BYTES:
                    break
        except httpx.HTTPError as error:
            return ApiError("engine_failed", detail=type(error).__name__)
        detail = f"{reply.status_code}: {said[:400].decode('utf-8', 'replace')}"
        if reply.status_code in (429, 503):
            after = reply.headers.get("retry-after", "")
            return ApiError("busy", None, detail, min(int(after), 60) if after.isdecimal() else self.limits.retry_seconds)
        if b"context_length_exceeded" in said or b"maximum context length" in said:
            return ApiError("context_length_exceeded", detail=detail)
        return ApiError("engine_refused" if reply.status_code in (400, 404, 413, 422) else "engine_failed", detail=detail)


def _event(data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except ValueError as error:
        raise ApiError("engine_failed", detail="an event is no JSON") from error
    if not isinstance(value, dict) or value.get("error"):
        raise ApiError("engine_failed", detail=json.dumps(value)[:400])
    return value


def _ends(event: dict[str, Any]) -> list[tuple[int, bool]]:
    """Of each answer that an event is about: its number, and whether it says how the answer ended."""
    choices = event.get("choices")
    found = [choice for choice in choices if isinstance(choice, dict)] if isinstance(choices, list) else []
    return [(index, bool(c.get("finish_reason"))) for c in found if isinstance(index := c.get("index", 0), int)]


def _about(item: Any) -> dict[str, Any] | None:
    """What is passed on of a model: names, and nothing of paths or settings."""
    if not isinstance(item, dict) or not isinstance(item.get("id"), str) or not 0 < len(item["id"]) <= 200:
        return None
    out: dict[str, Any] = {"id": item["id"], "object": "model", "created": 0, "owned_by": "engine"}
    for name in ("inputs", "outputs"):
        kinds = item.get(name)
        if isinstance(kinds, list) and all(isinstance(kind, str) and re.fullmatch(r"[a-z]{1,20}", kind) for kind in kinds):
            out[name] = kinds
    return out
