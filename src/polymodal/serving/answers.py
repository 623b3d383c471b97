"""Waiting for a model while a client may leave. Decides that nobody computes for somebody who has gone."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from starlette.requests import Request
from starlette.responses import Response

from polymodal.errors import Busy, Closed, PolymodalError
from polymodal.model.composition import Composition
from polymodal.serving.errors import ApiError, told
from polymodal.serving.types import TooLong

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from polymodal.serving.app import Server

T = TypeVar("T")


def refused(error: Exception) -> ApiError:
    """What a client is told of an engine's refusal or failure."""
    if isinstance(error, Busy):
        return ApiError("busy", retry=error.retry_after)
    if isinstance(error, Closed):
        return ApiError("shutting_down")
    if isinstance(error, TooLong):
        return ApiError("context_length_exceeded", detail=str(error))
    return told(error)


async def called(server: Server, request: Request, function: Callable[[Composition], T]) -> T:
    """Run a function on the model's thread. Raises `ApiError`."""
    try:
        future = server.engine.call(function)
    except PolymodalError as error:
        raise refused(error) from error
    try:
        return await while_there(server, request, asyncio.wrap_future(future), future.cancel)
    except ApiError:
        raise
    except Exception as error:
        raise refused(error) from error


async def while_there(server: Server, request: Request, work: Awaitable[T], cancel: Callable[[], object]) -> T:
    """Await `work` for as long as the client does; then `cancel` it. Raises `ApiError` where the client has gone."""
    task, gone = asyncio.ensure_future(work), asyncio.ensure_future(_gone(request.receive))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        server.metrics.cancelled()
        raise ApiError("client_gone")
    finally:
        if not task.done():
            cancel()
            task.cancel()
        gone.cancel()
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await gone


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class EventStream(Response):
    """Server-sent events as they come. `cancel` is called as soon as the client goes, and not with the next event."""

    media_type = "text/event-stream"

    def __init__(self, server: Server, events: AsyncGenerator[bytes], cancel: Callable[[], object]) -> None:
        super().__init__(headers={"X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self.server, self.events, self.cancel = server, events, cancel

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})

        async def write() -> None:
            async for event in self.events:
                await send({"type": "http.response.body", "body": event, "more_body": True})
            await send({"type": "http.response.body", "body": b""})

        task, gone = asyncio.ensure_future(write()), asyncio.ensure_future(_gone(receive))
        try:
            await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                task.result()
            else:
                self.server.metrics.cancelled()
        finally:
            self.cancel()
            for other in (task, gone):
                other.cancel()
                with contextlib.suppress(asyncio.CancelledError, Exception):
                    await other
            await self.events.aclose()


class Clock:
    """Notes the time to the first piece, once."""

    def __init__(self, server: Server) -> None:
        self.server, self.started = server, time.perf_counter()

    def piece(self) -> None:
        if self.started:
            self.server.metrics.first(time.perf_counter() - self.started)
            self.started = 0.0
