"""`POST /v1/chat/completions`. Decides how what a model made stands in an answer.

An answer of text alone is a string, as everywhere. One that holds media is a list of content parts in their order, in the
form in which a later request may send it back. In a stream, text comes in `delta.content` and media, whole, in
`delta.content_parts`: clients that know only text go on working.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import AsyncGenerator, Sequence
from typing import Any

from fastapi import APIRouter, Request, Response
from starlette.responses import JSONResponse

from polymodal import media
from polymodal.content import Part
from polymodal.errors import MediaError, PolymodalError
from polymodal.media import writing
from polymodal.media.decoder import RATE
from polymodal.model.generation import Sampling
from polymodal.serving.answers import Clock, EventStream, refused, while_there
from polymodal.serving.app import ERRORS, Server, server_of
from polymodal.serving.body import StrictRoute
from polymodal.serving.conversation import conversation
from polymodal.serving.errors import ApiError, note
from polymodal.serving.schema import ChatRequest, check_neutral
from polymodal.serving.tickets import Done, Ended, Failed, PartMade, Ticket, Usage, Wrote

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
            salt=request.state.tenant,
        )
    except PolymodalError as error:
        raise refused(error) from error
    head = {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time()), "model": server.name}
    if asked.stream:
        usage = asked.stream_options is not None and asked.stream_options.include_usage
        return EventStream(server, _events(server, ticket, head, n, usage, request.state), ticket.cancel)
    spoken = asked.modalities is not None and "audio" in asked.modalities
    whole = _whole(server, ticket, head, spoken, request.state.tenant)
    return JSONResponse(await while_there(server, request, whole, ticket.cancel))


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


async def _whole(server: Server, ticket: Ticket, head: dict[str, Any], spoken: bool, salt: str) -> dict[str, Any]:
    clock = Clock(server)
    done: Done | None = None
    async for event in ticket:
        clock.piece()
        if isinstance(event, Failed):
            raise refused(event.error) from event.error
        done = event if isinstance(event, Done) else done
    assert done is not None
    choices = [
        {
            "index": i,
            "message": _message(server, answer.parts, spoken, salt),
            "logprobs": None,
            "finish_reason": _finish(answer.reason),
        }
        for i, answer in enumerate(done.answers)
    ]
    return {**head, "object": "chat.completion", "choices": choices, "usage": _usage(server, done.usage)}


def _finish(reason: str) -> str:
    """In OpenAI's words: a cap of seconds cuts an answer short as one of tokens does."""
    return "stop" if reason == "stop" else "length"


def _message(server: Server, parts: Sequence[Part], spoken: bool, salt: str) -> dict[str, Any]:
    """`spoken`: with the first recording in OpenAI's own place, too."""
    if all(part.type == "text" for part in parts):
        return {"role": "assistant", "content": "".join(part.text or "" for part in parts), "refusal": None}
    content = [made(server, part, salt) for part in parts]
    message: dict[str, Any] = {"role": "assistant", "content": content, "refusal": None}
    sound = next((item for item in content if spoken and "input_audio" in item), None)
    if sound is not None:
        later = int(time.time()) + 3600
        data = {"id": f"audio_{uuid.uuid4().hex}", "data": sound["input_audio"]["data"], "expires_at": later}
        message["audio"] = {**data, "transcript": sound.get("caption", "")}
    return message


def made(server: Server, part: Part, salt: str) -> dict[str, Any]:
    """A content part of an answer. Why something could not be made may hold a path: it goes to the log."""
    if part.type == "text":
        return {"type": "text", "text": part.text or ""}
    server.metrics.media("out", part.type)
    about = {name: value for name, value in part.made.items() if name != "failed"}
    try:
        if part.media is None:
            raise MediaError(part.failed or "nothing was made")
        data = writing.encoded(part.type, part.media)[1]
        _remember(server, part, data, salt)
        return Part(part.type, media=data, **about).to_json()
    except PolymodalError as error:
        refusal = ApiError("cannot_make", detail=str(error))
        note(refusal, "part")
        kind = {"audio": "input_audio", "image": "image_url", "video": "video_url"}.get(part.type, part.type)
        return {"type": kind, **about, "failed": refusal.words}


def _remember(server: Server, part: Part, data: bytes, salt: str) -> None:
    """Tell the engine what a part will be if the client sends it back: what the gate makes of the file. A clip is not told:
    it would have to be decoded again, and what comes back is read from its frames."""
    if part.type == "video":
        return
    back = media.load(Part(part.type, media=data))
    if part.type == "audio":
        back = (back, RATE)
    server.engine.sent(part, Part(part.type, media=back), salt)


def _usage(server: Server, used: Usage) -> dict[str, Any]:
    server.metrics.tokens(used.prompt, used.cached, used.generated)
    return {
        "prompt_tokens": used.prompt,
        "completion_tokens": used.generated,
        "total_tokens": used.prompt + used.generated,
        "prompt_tokens_details": {"cached_tokens": used.cached, "media_tokens": used.media},
    }


async def _events(
    server: Server, ticket: Ticket, head: dict[str, Any], n: int, usage: bool, state: Any
) -> AsyncGenerator[bytes]:
    head, clock, used = {**head, "object": "chat.completion.chunk"}, Clock(server), Usage()

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
                used = event.usage
            elif isinstance(event, Ended):
                yield chunk(event.answer, {}, _finish(event.reason))
            elif isinstance(event, Wrote):
                yield chunk(event.answer, {"content": event.text})
            elif isinstance(event, PartMade):
                yield chunk(event.answer, {"content_parts": [made(server, event.part, state.tenant)]})
    except Exception as error:  # the status was sent: what is left is an event that clients know as an error
        told = error if isinstance(error, ApiError) else ApiError("internal_error")
        note(error, state.request_id)
        server.metrics.refusal(told.code)
        yield _event(told.body())
        return
    counted = _usage(server, used)
    if usage:
        yield _event({**head, "choices": [], "usage": counted})
    yield b"data: [DONE]\n\n"


def _event(value: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"
