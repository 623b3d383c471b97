"""`GET /v1/models`, `/health`, `/metrics`: what runs here, whether it runs, and how much."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import JSONResponse

from polymodal.serving.app import ERRORS, Server, server_of

router = APIRouter()


@router.get("/v1/models", responses=ERRORS)
async def models(request: Request) -> Response:
    return JSONResponse({"object": "list", "data": [_model(server_of(request))]})


@router.get("/v1/models/{model}", responses=ERRORS)
async def model(model: str, request: Request) -> Response:
    server = server_of(request)
    server.check_model(model)
    return JSONResponse(_model(server))


@router.get("/health", responses=ERRORS)
async def health(request: Request) -> Response:
    """Whether the server takes requests; nothing about it, because nobody needs a key to ask."""
    return JSONResponse({"status": "ok"})


@router.get("/metrics", responses=ERRORS)
async def metrics(request: Request) -> Response:
    server = server_of(request)
    return Response(server.metrics.text(server.engine.stats()), media_type=CONTENT_TYPE_LATEST)


def _model(server: Server) -> dict[str, object]:
    model = server.engine.composition.model
    made = sorted({design.modality for design in model.designs.values()})
    about = {"id": server.name, "object": "model", "created": server.started, "owned_by": "polymodal"}
    return {**about, "inputs": ["text", *sorted(model.modalities)], "outputs": ["text", *made]}
