"""A request as it is passed on to an engine behind this server. Decides that it is written anew: only fields that were read
and understood, and of media only what our own encoders wrote of decoded pixels and samples."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from polymodal.content import Part
from polymodal.errors import MediaError
from polymodal.media import gate, writing
from polymodal.serving.conversation import KINDS, listed, opened
from polymodal.serving.errors import ApiError
from polymodal.serving.gate import Allowance
from polymodal.serving.routes.chat import most_tokens, stops
from polymodal.serving.schema import ChatMessage, ChatRequest, TextPart, check_neutral

if TYPE_CHECKING:
    from polymodal.serving.app import Front
    from polymodal.serving.backend import Kind

PASSED = ("presence_penalty", "frequency_penalty", "logprobs", "top_logprobs", "response_format")
PRIVATE = {"user", "safety_identifier", "metadata", "store", "service_tier", "messages"}  # written anew, or nobody's
OF_VLLM = ("top_k", "repetition_penalty")


async def chat(server: Front, asked: ChatRequest, kind: Kind) -> dict[str, Any]:
    """The body of a chat request. Raises `ApiError`."""
    check_neutral(asked, PASSED)
    for name in OF_VLLM if kind != "vllm" else ():
        if getattr(asked, name) is not None:
            raise ApiError("not_supported", name)
    tokens, found = most_tokens(server, asked), stops(server, asked)
    body = asked.model_dump(exclude_none=True, exclude=PRIVATE, by_alias=True)
    if asked.max_completion_tokens is None:
        body["max_tokens"] = tokens
    if found:
        body["stop"] = found
    return {**body, "messages": await messages(server, asked.messages)}


async def messages(server: Front, given: Sequence[ChatMessage]) -> list[dict[str, Any]]:
    """The messages, their media decoded and written anew. Raises `ApiError`."""
    contents = listed(server, given)
    for at, content in enumerate(contents):
        for place, part in enumerate(content):
            _takes(part, f"messages.{at}.content.{place}")
    left, out = server.gate.allowance(), []
    for at, (message, content) in enumerate(zip(given, contents, strict=True)):
        about = {"role": message.role, **({"name": message.name} if message.name else {})}
        parts = [await part_of(server, part, left, f"messages.{at}.content.{i}") for i, part in enumerate(content)]
        out.append({**about, "content": message.content if isinstance(message.content, str) else parts})
    return out


async def part_of(server: Front, part: Any, left: Allowance, param: str) -> dict[str, Any]:
    """One content part. Raises `ApiError`."""
    if isinstance(part, TextPart):
        return {"type": "text", "text": part.text}
    _takes(part, param)
    read = await opened(server, part, left, param)
    if read.media is None:
        return {"type": part.type, **read.made}
    data = await asyncio.to_thread(written, read, param)
    payload = base64.b64encode(data).decode()
    if part.type == "input_audio":
        return {"type": "input_audio", "input_audio": {"data": payload, "format": "wav"}, **read.made}
    detail = getattr(getattr(part, part.type), "detail", None)
    url = {"url": f"data:{gate.MIME[gate.sniff(data)]};base64,{payload}", **({"detail": detail} if detail else {})}
    return {"type": part.type, part.type: url, **read.made}


def written(part: Part, param: str) -> bytes:
    """A decoded medium as a file of our own: PNG, WAV of 16 kHz and 16 bits, MP4 without sound. Raises `ApiError`."""
    medium = part.media
    if part.type == "video":  # H.264 has even sides
        frames, rate = medium
        width, height = (side - side % 2 for side in frames[0].size)
        if not width or not height:
            raise ApiError("media_damaged", param, "a clip of one pixel")
        medium = [frame.crop((0, 0, width, height)) for frame in frames], rate
    try:
        return writing.encoded(part.type, medium)[1]
    except MediaError as error:
        raise ApiError("media_damaged", param, str(error)) from error


def _takes(part: Any, param: str) -> None:
    if not isinstance(part, TextPart) and part.type not in KINDS:
        raise ApiError("modality_not_supported", param, asked=part.type, has=", ".join(sorted(KINDS.values())))
