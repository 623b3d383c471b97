"""`POST /v1/audio/transcriptions`. Decides that a transcription is an answer to a recording and a fixed instruction, the
one that the server was started with: a model of this package has no other way to write down what it hears."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response
from starlette.datastructures import UploadFile
from starlette.responses import JSONResponse, PlainTextResponse

from polymodal.content import Part, user
from polymodal.errors import PolymodalError
from polymodal.model.generation import Sampling
from polymodal.serving.answers import refused, while_there
from polymodal.serving.app import ERRORS, Server, server_of
from polymodal.serving.body import form
from polymodal.serving.conversation import takes_kind
from polymodal.serving.errors import ApiError
from polymodal.serving.tickets import Ticket

router = APIRouter()
_FIELDS = ("file", "model", "language", "response_format", "temperature", "stream", "prompt")
TOKENS = 256  # of a transcription: about a minute and a half of speech
_TEXT = {"type": "string"}
_FORM = {
    "type": "object",
    "required": ["file", "model"],
    "additionalProperties": False,
    "properties": {
        "file": {"type": "string", "format": "binary"},
        "model": _TEXT,
        "language": {**_TEXT, "description": "Not looked at."},
        "response_format": {"type": "string", "enum": ["json", "text"]},
        "temperature": {"type": "number", "minimum": 0, "maximum": 1},
    },
}


@router.post(
    "/v1/audio/transcriptions",
    responses=ERRORS,
    openapi_extra={"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": _FORM}}}},
)
async def transcriptions(request: Request) -> Response:
    server = server_of(request)
    fields = await form(request)
    file, said = _checked(fields.multi_items())
    server.check_model(said.get("model", ""))
    if not takes_kind(server, "audio"):
        has = ", ".join(sorted(server.engine.composition.model.modalities)) or "text alone"
        raise ApiError("modality_not_supported", "file", asked="audio", has=has)
    recording = await server.gate.by_bytes("audio", await file.read(), server.gate.allowance(), "file")
    server.metrics.media("in", "audio")
    sampling = Sampling(max_new_tokens=min(server.limits.tokens, TOKENS), temperature=_temperature(said), most_media=0)
    asked = user(Part("audio", media=recording.media), server.transcription)
    try:
        ticket = server.engine.submit([asked], sampling, seconds=server.limits.answer_seconds, salt=request.state.tenant)
    except PolymodalError as error:
        raise refused(error) from error
    try:
        text = await while_there(server, request, _text(server, ticket), ticket.cancel)
    except PolymodalError as error:
        raise refused(error) from error
    return PlainTextResponse(f"{text}\n") if said.get("response_format") == "text" else JSONResponse({"text": text})


def _checked(items: list[tuple[str, Any]]) -> tuple[UploadFile, dict[str, str]]:
    said: dict[str, str] = {}
    file = None
    for name, value in items:
        if name not in _FIELDS:
            raise ApiError("unknown_field", name)
        if name in said or (name == "file" and file is not None):
            raise ApiError("invalid_form", name)
        if isinstance(value, UploadFile) != (name == "file"):
            raise ApiError("invalid_field", name)
        if isinstance(value, UploadFile):
            file = value
        else:
            said[name] = value
    if file is None:
        raise ApiError("invalid_field", "file")
    if said.get("response_format", "json") not in ("json", "text"):
        raise ApiError("not_supported", "response_format")
    if said.get("stream", "false").lower() != "false" or said.get("prompt"):
        raise ApiError("not_supported", "prompt" if said.get("prompt") else "stream")
    return file, said


def _temperature(said: dict[str, str]) -> float:
    try:
        value = float(said.get("temperature") or 0)
    except ValueError as error:
        raise ApiError("invalid_field", "temperature") from error
    if not 0 <= value <= 1:
        raise ApiError("invalid_field", "temperature")
    return value


async def _text(server: Server, ticket: Ticket) -> str:
    done = await ticket.wait()
    server.metrics.tokens(done.usage.prompt, done.usage.cached, done.usage.generated)
    return "".join(part.text or "" for part in done.answers[0].parts).strip()
