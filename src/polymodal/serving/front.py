"""A server in front of an engine in another process (vLLM, SGLang, llama-server, one of ours). Decides that it protects
that engine as it would protect a model of its own: the same guard, limits, keys and media gate, and no route but those
listed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass

from fastapi import FastAPI, Request

from polymodal.serving.app import Front, assembled
from polymodal.serving.backend import Backend
from polymodal.serving.decoding import Decoders
from polymodal.serving.fetch import Fetcher
from polymodal.serving.gate import MediaGate
from polymodal.serving.keys import Keys
from polymodal.serving.limits import ServingLimits


@dataclass(kw_only=True)
class Gateway(Front):
    """What its routes share."""

    backend: Backend


def gateway_of(request: Request) -> Gateway:
    server: Gateway = request.app.state.server
    return server


def create(
    backend: Backend,
    limits: ServingLimits | None = None,
    keys: Keys | None = None,
    *,
    names: Collection[str] = (),
    fetcher: Fetcher | None = None,
) -> FastAPI:
    """The application. `keys`: of its own clients, never passed on. `names`, `fetcher`: as of `app.create`."""
    limits, keys = limits or backend.limits, keys or Keys()
    decoders = Decoders(limits)
    server = Gateway(limits=limits, keys=keys, gate=MediaGate(limits, decoders, fetcher), backend=backend)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await decoders.start()
        await backend.start()
        yield
        await backend.close()
        await decoders.close()

    from polymodal.serving.routes import page, passing

    return assembled(server, [passing.router, passing.plain, page.router], lifespan, names)
