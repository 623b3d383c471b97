"""The routes of a server in front of another engine. Decides what passes: these, each with a body that was read and written
anew; everything else that an engine may offer (its own routes, its admin's) is not there."""

from __future__ import annotations

import io
import json
import time
from collections.abc import AsyncGenerator
from typing import Any

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import JSONResponse, PlainTextResponse

from polymodal.serving import cleaning
from polymodal.serving.answers import EventStream, while_there
from polymodal.serving.app import ERRORS, SOUND, STREAM, TEXT
from polymodal.serving.body import StrictRoute, form
from polymodal.serving.conversation import check
from polymodal.serving.errors import ApiError, note
from polymodal.serving.front import Gateway, gateway_of
from polymodal.serving.routes.transcriptions import checked, described
from polymodal.serving.schema import ChatRequest, EmbeddingRequest, ImageRequest, SpeechRequest, TextPart

router = APIRouter(route_class=StrictRoute)
SOUNDS = {
    **{"mp3": "audio/mpeg", "wav": "audio/wav", "flac": "audio/flac", "pcm": "audio/pcm"},
    **{"opus": "audio/ogg", "aac": "audio/aac"},
}


@router.get("/v1/models", responses=ERRORS)
async def models(request: Request) -> Response:
    found = await gateway_of(request).backend.models(fresh=True)
    return JSONResponse({"object": "list", "data": found})


@router.get("/v1/models/{model}", responses=ERRORS)
async def model(model: str, request: Request) -> Response:
    server = gateway_of(request)
    await server.backend.check(model)
    return JSONResponse(next(about for about in await server.backend.models() if about["id"] == model))


@router.get("/health", responses=ERRORS)
async def health(request: Request) -> Response:
    """Whether this server takes requests; whether the engine does, `/v1/models` says."""
    return JSONResponse({"status": "ok"})


@router.get("/metrics", responses=ERRORS, response_class=PlainTextResponse)
async def metrics(request: Request) -> Response:
    server = gateway_of(request)
    return Response(server.metrics.text({"active": server.requests}), media_type=CONTENT_TYPE_LATEST)


@router.post("/v1/chat/completions", responses=STREAM)
async def chat(asked: ChatRequest, request: Request) -> Response:
    server = gateway_of(request)
    await server.backend.check(asked.model)
    body = await cleaning.chat(server, asked, server.backend.kind)
    if asked.stream:
        return EventStream(server, _events(server, body, request.state.request_id), lambda: None)
    return JSONResponse(await _passed(server, request, "/chat/completions", "choices", json=body))


async def _events(server: Gateway, body: dict[str, Any], request_id: str) -> AsyncGenerator[bytes]:
    started, events = time.perf_counter(), server.backend.events("/chat/completions", body)
    try:
        async for event in events:
            if started:
                server.metrics.first(time.perf_counter() - started)
                started = 0.0
            yield b"data: " + json.dumps(event).encode() + b"\n\n"
    except ApiError as error:  # the status was sent: what is left is an event that clients know as an error
        note(error, request_id)
        server.metrics.refusal(error.code)
        yield b"data: " + json.dumps(error.body()).encode() + b"\n\n"
        return
    finally:
        await events.aclose()
    yield b"data: [DONE]\n\n"


@router.post("/v1/images/generations", responses=ERRORS)
async def images(asked: ImageRequest, request: Request) -> Response:
    server = gateway_of(request)
    if asked.model is None:
        raise ApiError("invalid_field", "model")
    await server.backend.check(asked.model)
    if asked.response_format == "url":  # it would lead to somewhere else
        raise ApiError("not_supported", "response_format")
    body = asked.model_dump(exclude_none=True, exclude={"user"})
    return JSONResponse(await _passed(server, request, "/images/generations", "data", json=body))


@router.post("/v1/audio/speech", responses=SOUND)
async def speech(asked: SpeechRequest, request: Request) -> Response:
    server = gateway_of(request)
    await server.backend.check(asked.model)
    kind = asked.response_format or "mp3"
    if kind not in SOUNDS:
        raise ApiError("speech_format", "response_format", has=", ".join(SOUNDS))
    coming = server.backend.raw("POST", "/audio/speech", json=asked.model_dump(exclude_none=True))
    return Response(await while_there(server, request, coming, lambda: None), media_type=SOUNDS[kind])


@router.post("/v1/embeddings", responses=ERRORS)
async def embeddings(asked: EmbeddingRequest, request: Request) -> Response:
    server = gateway_of(request)
    await server.backend.check(asked.model)
    given = asked.input if isinstance(asked.input, list) else [asked.input]
    items: list[Any] = [item if isinstance(item, list) else [item] for item in given]
    items = [[TextPart(type="text", text=part) if isinstance(part, str) else part for part in item] for item in items]
    check(server, [part for item in items for part in item])
    left, clean = server.gate.allowance(), []
    for i, item in enumerate(items):
        parts = [await cleaning.part_of(server, part, left, f"input.{i}") for part in item]
        text = len(parts) == 1 and parts[0]["type"] == "text"
        clean.append(parts[0]["text"] if text else parts)
    body = {**asked.model_dump(exclude_none=True, exclude={"user", "input"}), "input": clean}
    return JSONResponse(await _passed(server, request, "/embeddings", "data", json=body))


plain = APIRouter()  # its body is a form


@plain.post("/v1/audio/transcriptions", responses=TEXT, openapi_extra=described())
async def transcriptions(request: Request) -> Response:
    server = gateway_of(request)
    fields = await form(request)
    file, said = checked(fields.multi_items())
    await server.backend.check(said.get("model", ""))
    part = await server.gate.by_bytes("audio", await file.read(), server.gate.allowance(), "file")
    sent = {name: said[name] for name in ("model", "language", "temperature") if said.get(name)}
    sound = io.BytesIO(cleaning.written(part, "file"))
    files = {"file": ("recording.wav", sound, "audio/wav")}
    reply = await _passed(server, request, "/audio/transcriptions", "text", data=sent, files=files)
    text = str(reply["text"])
    return PlainTextResponse(f"{text}\n") if said.get("response_format") == "text" else JSONResponse({"text": text})


async def _passed(server: Gateway, request: Request, path: str, holds: str, **sent: Any) -> dict[str, Any]:
    """The JSON object that the engine answers with, which must hold a key. Raises `ApiError`."""
    coming = server.backend.json("POST", path, **sent)
    reply = await while_there(server, request, coming, lambda: None)
    if not isinstance(reply, dict) or holds not in reply or reply.get("error"):
        raise ApiError("engine_failed", detail=f"its answer has no '{holds}'")
    return reply
