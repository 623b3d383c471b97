"""Messages of a request -> messages of the library. Decides that what is refused is refused before anything is decoded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from polymodal.content import Message, Part
from polymodal.errors import ContentError
from polymodal.serving.errors import ApiError
from polymodal.serving.gate import Allowance
from polymodal.serving.schema import AudioPart, ChatMessage, ImagePart, Made, OtherPart, TextPart, VideoPart

if TYPE_CHECKING:
    from polymodal.serving.app import Server

KINDS = {"image_url": "image", "input_audio": "audio", "video_url": "video"}


async def conversation(server: Server, messages: Sequence[ChatMessage]) -> list[Message]:
    """What the model is to answer. Raises `ApiError`."""
    limits = server.limits
    if len(messages) > limits.messages:
        raise ApiError("too_many_messages", "messages", limit=limits.messages)
    if messages[-1].role != "user" or not messages[-1].content:
        raise ApiError("nothing_to_answer", f"messages.{len(messages) - 1}")
    contents = [
        [TextPart(type="text", text=item.content)] if isinstance(item.content, str) else (item.content or ())
        for item in messages
    ]
    check(server, [part for content in contents for part in content])
    for at, (message, content) in enumerate(zip(messages, contents, strict=True)):
        for place, part in enumerate(content):
            takes(server, message.role, part, f"messages.{at}.content.{place}")
    left = server.gate.allowance()
    out = []
    for at, (message, content) in enumerate(zip(messages, contents, strict=True)):
        parts = [await opened(server, part, left, f"messages.{at}.content.{i}") for i, part in enumerate(content)]
        role = "system" if message.role == "developer" else message.role
        out.append(Message(role, tuple(parts or [Part("text", text="")])))
    return out


def check(server: Server, parts: Sequence[Any]) -> None:
    """Raises `ApiError` for too many parts, media or characters."""
    limits = server.limits
    if len(parts) > limits.parts:
        raise ApiError("too_many_parts", limit=limits.parts)
    if sum(not isinstance(part, TextPart) for part in parts) > limits.media:
        raise ApiError("too_many_media", limit=limits.media)
    if sum(len(part.text) for part in parts if isinstance(part, TextPart)) > limits.text:
        raise ApiError("text_too_long", limit=limits.text)


def takes(server: Server, role: str, part: Any, param: str) -> None:
    """Raises `ApiError` for media that the model neither takes nor, where the assistant speaks, makes."""
    if isinstance(part, TextPart):
        return
    kind = KINDS.get(part.type, part.type)
    if role in ("system", "developer"):
        raise ApiError("not_supported", param)
    model = server.engine.composition.model
    made = {design.modality for design in model.designs.values()}
    if role != "assistant" and (part.caption or part.output or part.failed):
        raise ApiError("not_supported", param)
    if not takes_kind(server, kind) and not (role == "assistant" and kind in made):
        raise ApiError("modality_not_supported", param, asked=kind, has=", ".join(sorted(model.modalities)) or "text alone")


def takes_kind(server: Server, kind: str) -> bool:
    """Whether the model takes media of a kind: by an input, or as an output would have made them."""
    composition = server.engine.composition
    if kind in composition.model.modalities:
        return True
    try:
        return composition.processor.spans.reads(Part(kind, media=b""))
    except ContentError:  # several outputs could
        return False


async def opened(server: Server, part: Any, left: Allowance, param: str) -> Part:
    """One content part, its media decoded. Raises `ApiError`."""
    if isinstance(part, TextPart):
        return Part("text", text=part.text)
    kind = KINDS.get(part.type, part.type)
    told = {name: value for name in ("caption", "output", "failed") if (value := getattr(part, name)) is not None}
    medium = await _medium(server, part, kind, left, f"{param}.{'media' if isinstance(part, OtherPart) else part.type}")
    if medium is None and not told.keys() & {"caption", "failed"}:
        raise ApiError("invalid_field", f"{param}.{part.type}")
    return Part(kind, media=medium, **told)


async def _medium(server: Server, part: Made, kind: str, left: Allowance, param: str) -> Any:
    """The decoded medium; None where there is none."""
    if isinstance(part, AudioPart):
        if part.input_audio is None:
            return None
        opened = await server.gate.by_base64(kind, part.input_audio.data, left, f"{param}.data")
    else:
        assert isinstance(part, (ImagePart, VideoPart, OtherPart))
        url = {"image_url": "image_url", "video_url": "video_url"}.get(part.type, "media")
        given = getattr(part, url)
        if given is None:
            return None
        opened = await server.gate.by_url(kind, given.url, left, f"{param}.url")
    server.metrics.media("in", kind)
    return opened.media
