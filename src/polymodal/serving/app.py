"""The application. Decides that there is one way to build a server, and that every answer it gives is one of its own.

`create` puts a guard around the listed routes; there is no page of documentation (it would load scripts of others), no
CORS, no WebSocket, and no route that changes anything. The model is the one that the server was started with: a request
can only name it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

import polymodal
from polymodal.serving.decoding import Decoders
from polymodal.serving.errors import ApiError, note
from polymodal.serving.fetch import Fetcher
from polymodal.serving.gate import MediaGate
from polymodal.serving.guard import Guard
from polymodal.serving.keys import Keys
from polymodal.serving.limits import ServingLimits
from polymodal.serving.metrics import Metrics
from polymodal.serving.schema import ErrorBody
from polymodal.serving.types import Engine

ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorBody, "description": "Refused."}
    for status in (400, 401, 403, 404, 405, 408, 413, 415, 421, 429, 500, 503)
}
TRANSCRIPTION = "Repeat what you hear."  # what polymodal-nano was taught to write down speech at


@dataclass
class Server:
    """What the routes share. `requests` and `bodies`: how many, and how many bytes of bodies, are held at the moment."""

    engine: Engine
    limits: ServingLimits
    keys: Keys
    gate: MediaGate
    name: str
    transcription: str
    metrics: Metrics = field(default_factory=Metrics)
    started: int = field(default_factory=lambda: int(time.time()))
    requests: int = 0
    bodies: int = 0

    def check_model(self, name: str) -> None:
        """Raises `ApiError` for any name but the one served: none is looked for, let alone loaded."""
        if name != self.name:
            raise ApiError("model_not_found", "model")


def server_of(request: Request) -> Server:
    server: Server = request.app.state.server
    return server


def create(
    engine: Engine,
    limits: ServingLimits | None = None,
    keys: Keys | None = None,
    *,
    name: str = "nano",
    names: Collection[str] = (),
    fetcher: Fetcher | None = None,
    transcription: str = TRANSCRIPTION,
    closes: bool = True,
) -> FastAPI:
    """The application of one model. `name`: what requests call the model. `names`: what the server may be called in `Host`,
    beside the names of loopback. `fetcher`: None fetches nothing. `closes`: whether the engine ends with it."""
    limits, keys = limits or ServingLimits(), keys or Keys()
    decoders = Decoders(limits)
    server = Server(engine, limits, keys, MediaGate(limits, decoders, fetcher), name, transcription)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await decoders.start()
        yield
        if closes:
            await asyncio.to_thread(engine.close)
        await decoders.close()

    about = "OpenAI's API, for one multimodal model."
    app = FastAPI(
        title="polymodal",
        version=polymodal.__version__,
        description=about,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.server = server
    from polymodal.serving.routes import chat, embeddings, info, making, transcriptions

    for routes in (info, chat, making, transcriptions, embeddings):
        app.include_router(routes.router)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(Exception, _failed)
    app.add_middleware(Guard, server=server, names=names)
    return app


async def _refused(request: Request, error: Exception) -> Response:
    """Our refusals, and those of the framework in our words."""
    if not isinstance(error, ApiError):
        status = getattr(error, "status_code", 500)
        code = {404: "not_found", 405: "method_not_allowed", 400: "invalid_json"}.get(status, "internal_error")
        headers = getattr(error, "headers", None) or {}
        error = ApiError(code, detail=f"the framework said {status}")
        error.headers = {**headers}
    note(error, getattr(request.state, "request_id", "-"))
    server_of(request).metrics.refusal(error.code)
    return JSONResponse(error.body(), error.status_code, headers=dict(error.headers or {}))


async def _invalid(request: Request, error: Exception) -> Response:
    """What a schema refuses: the place, and never the value."""
    assert isinstance(error, RequestValidationError)
    found = max(error.errors(), key=lambda one: (one["type"] == "extra_forbidden", len(one["loc"])))
    code = "unknown_field" if found["type"] == "extra_forbidden" else "invalid_field"
    return await _refused(request, ApiError(code, place(found["loc"]), str(found["type"])))


async def _failed(request: Request, error: Exception) -> Response:
    """A defect of ours. The guard writes it down with its traceback."""
    refusal = ApiError("internal_error")
    server_of(request).metrics.refusal(refusal.code)
    return JSONResponse(refusal.body(), refusal.status_code)


def place(loc: Sequence[Any]) -> str | None:
    """Where in a body: without the names of the schema's branches, which stand between."""
    out: list[str] = []
    for item in list(loc)[1:]:
        text = str(item)
        branch = text in ("str",) or "[" in text or "(" in text or text.endswith("Part")
        if not branch and (not out or out[-1] != text):
            out.append(text)
    return ".".join(out) or None
