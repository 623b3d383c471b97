"""`POST /v1/chat/completions`. Decides how what a model made stands in an answer.

An answer of text alone is a string, as everywhere. One that holds media is a list of content parts in their order, in the
form in which a later request may send it back. In a stream, text comes in `delta.content` and media, whole, in
`delta.content_parts`: clients that know only text go on working.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import AsyncGenerator
from typing import Any

from fastapi import APIRouter, Request, Response
from starlette.responses import JSONResponse

from polymodal.content import Part
from polymodal.errors import MediaError, PolymodalError
from polymodal.media import writing
from polymodal.model.generation import Sampling
from polymodal.serving.answers import Clock, EventStream, refused, while_there
from polymodal.serving.app import ERRORS, Server, server_of
from polymodal.serving.body import StrictRoute
from polymodal.serving.conversation import conversation
from polymodal.serving.errors import ApiError, note
from polymodal.serving.schema import ChatRequest, check_neutral
from polymodal.serving.types import Done, Failed, PartMade, TextPiece, Ticket, Usage

router = APIRouter(route_class=StrictRoute)


@router.post("/v1/chat/completions", responses=ERRORS)
async def chat(asked: ChatRequest, request: Request) -> Response:
    server = server_of(request)
    server.check_model(asked.model)
    check_neutral(asked)
    sampling, stop, n = _sampling(server, asked), _stops(server, asked), asked.n or 1
    messages = await conversation(server, asked.messages)
    try:
        ticket = server.engine.submit(
            messages,
            sampling,
            n=n,
            stop=stop,
            seconds=server.limits.answer_seconds,
            tenant=request.state.tenant,
        )
    except PolymodalError as error:
        raise refused(error) from error
    head = {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time()), "model": server.name}
    if asked.stream:
        usage = asked.stream_options is not None and asked.stream_options.include_usage
        return EventStream(server, _events(server, ticket, head, n, usage, request.state.request_id), ticket.cancel)
    body = await while_there(server, request, _whole(server, ticket, head, n, asked), ticket.cancel)
    return JSONResponse(body)


def _sampling(server: Server, asked: ChatRequest) -> Sampling:
    limits = server.limits
    if (asked.n or 1) > limits.answers:
        raise ApiError("invalid_field", "n")
    tokens = asked.max_completion_tokens or asked.max_tokens or min(limits.tokens, 256)
    if tokens > limits.tokens:
        name = "max_completion_tokens" if asked.max_completion_tokens else "max_tokens"
        raise ApiError("tokens_over_limit", name, limit=limits.tokens)
    wanted = set(asked.modalities or ()) - {"text"}
    made = {design.modality for design in server.engine.composition.model.designs.values()}
    for kind in sorted(wanted - made):
        has = ", ".join(sorted(made)) or "text alone"
        raise ApiError("output_not_supported", "modalities", asked=kind, has=has)
    given = {name: getattr(asked, name) for name in ("temperature", "top_p", "top_k", "repetition_penalty", "seed")}
    most = 0 if asked.modalities == ["text"] else limits.made
    known = {name: value for name, value in given.items() if value is not None}
    return Sampling(max_new_tokens=tokens, most_media=most, **known)


def _stops(server: Server, asked: ChatRequest) -> list[str]:
    stops = [asked.stop] if isinstance(asked.stop, str) else asked.stop or []
    if len(stops) > server.limits.stops or any(not 0 < len(stop) <= 200 for stop in stops):
        raise ApiError("invalid_field", "stop")
    return stops


async def _whole(server: Server, ticket: Ticket, head: dict[str, Any], n: int, asked: ChatRequest) -> dict[str, Any]:
    clock = Clock(server)
    parts: list[list[Part]] = [[] for _ in range(n)]
    ends: dict[int, Done] = {}
    async for event in ticket:
        clock.piece()
        if isinstance(event, Failed):
            raise refused(event.error) from event.error
        if isinstance(event, Done):
            ends[event.answer] = event
        else:
            new = event.part if isinstance(event, PartMade) else Part("text", text=event.text)
            parts[event.answer].append(new)
    spoken = asked.modalities is not None and "audio" in asked.modalities
    choices = [
        {"index": i, "message": _message(server, parts[i], spoken), "logprobs": None, "finish_reason": ends[i].finish}
        for i in range(n)
    ]
    usage = _usage(server, [end.usage for end in ends.values()])
    return {**head, "object": "chat.completion", "choices": choices, "usage": usage}


def _message(server: Server, parts: list[Part], spoken: bool) -> dict[str, Any]:
    """`spoken`: with the first recording in OpenAI's own place, too."""
    joined: list[Part] = []
    for part in parts:
        if part.type == "text" and joined and joined[-1].type == "text":
            joined[-1] = Part("text", text=(joined[-1].text or "") + (part.text or ""))
        else:
            joined.append(part)
    if all(part.type == "text" for part in joined):
        return {"role": "assistant", "content": "".join(part.text or "" for part in joined), "refusal": None}
    content = [made(server, part) for part in joined]
    message: dict[str, Any] = {"role": "assistant", "content": content, "refusal": None}
    sound = next((item for item in content if spoken and "input_audio" in item), None)
    if sound is not None:
        later = int(time.time()) + 3600
        data = {"id": f"audio_{uuid.uuid4().hex}", "data": sound["input_audio"]["data"], "expires_at": later}
        message["audio"] = {**data, "transcript": sound.get("caption", "")}
    return message


def made(server: Server, part: Part) -> dict[str, Any]:
    """A content part of an answer. Why something could not be made may hold a path: it goes to the log."""
    if part.type == "text":
        return {"type": "text", "text": part.text or ""}
    server.metrics.media("out", part.type)
    about = {name: value for name, value in part.made.items() if name != "failed"}
    try:
        if part.media is None:
            raise MediaError(part.failed or "nothing was made")
        suffix, data = writing.encoded(part.type, part.media)
        return {**Part(part.type, media=data, **about).to_json()}
    except PolymodalError as error:
        refusal = ApiError("cannot_make", detail=str(error))
        note(refusal, "part")
        kind = {"audio": "input_audio", "image": "image_url", "video": "video_url"}.get(part.type, part.type)
        return {"type": kind, **about, "failed": refusal.words}


def _usage(server: Server, each: list[Usage]) -> dict[str, Any]:
    """OpenAI counts the prompt once, however many answers it gets."""
    prompt, cached = max(u.prompt for u in each), max(u.cached for u in each)
    generated = sum(u.generated for u in each)
    server.metrics.tokens(prompt, cached, generated)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": generated,
        "total_tokens": prompt + generated,
        "prompt_tokens_details": {"cached_tokens": cached, "media_tokens": max(u.media for u in each)},
    }


async def _events(
    server: Server, ticket: Ticket, head: dict[str, Any], n: int, usage: bool, request: str
) -> AsyncGenerator[bytes]:
    head, clock = {**head, "object": "chat.completion.chunk"}, Clock(server)
    used: list[Usage] = []

    def chunk(answer: int, delta: dict[str, Any], finish: str | None = None) -> bytes:
        choice = {"index": answer, "delta": delta, "logprobs": None, "finish_reason": finish}
        return _event({**head, "choices": [choice], **({"usage": None} if usage else {})})

    for answer in range(n):
        yield chunk(answer, {"role": "assistant", "content": ""})
    try:
        async for event in ticket:
            clock.piece()
            if isinstance(event, Failed):
                raise refused(event.error) from event.error
            if isinstance(event, Done):
                used.append(event.usage)
                yield chunk(event.answer, {}, event.finish)
            elif isinstance(event, TextPiece):
                yield chunk(event.answer, {"content": event.text})
            else:
                yield chunk(event.answer, {"content_parts": [made(server, event.part)]})
    except Exception as error:  # the status was sent: what is left is an event that clients know as an error
        told = error if isinstance(error, ApiError) else ApiError("internal_error")
        note(error, request)
        server.metrics.refusal(told.code)
        yield _event(told.body())
        return
    counted = _usage(server, used)
    if usage:
        yield _event({**head, "choices": [], "usage": counted})
    yield b"data: [DONE]\n\n"


def _event(value: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"
