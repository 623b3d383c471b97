"""What a user writes: messages made of typed parts. Decides the schema, and its OpenAI-style JSON form, in and out.

A conversation is a list of `Message`s; a message is a role and any number of `Part`s in any order: text, or media of any
modality. Nothing here opens a file or decodes a byte: a part holds a *reference* to media (path, bytes, array, decoded
object) and `polymodal.media` turns it into arrays behind one gate.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from polymodal.errors import ContentError, nearest

MODALITIES = ("image", "audio", "video", "points", "imu", "depth", "thermal")
PART_TYPES = ("text", *MODALITIES)
ROLES = ("system", "user", "assistant")

# OpenAI's names for content parts -> (our part type, the key of the payload)
_OPENAI = {"image_url": "image", "audio_url": "audio", "video_url": "video"}


@dataclass(frozen=True)
class Part:
    """One piece of a message. `text` for a text part, `media` for every other: a path, raw `bytes`, a data URI, a
    `PIL.Image.Image`, or an array (audio: `(samples, rate)`)."""

    type: str
    text: str | None = None
    media: Any = None

    def __post_init__(self) -> None:
        if self.type not in PART_TYPES:
            raise ContentError(f"part type '{self.type}' is not known{nearest(self.type, PART_TYPES)}")
        if (self.type == "text") != isinstance(self.text, str):
            raise ContentError(f"a '{self.type}' part needs {'a string in text' if self.type == 'text' else 'no text'}")
        if self.type != "text" and self.media is None:
            raise ContentError(f"a '{self.type}' part needs media")

    @classmethod
    def from_json(cls, item: Any) -> Part:
        """One content item in OpenAI's form (`text`, `image_url`, `input_audio`, `video_url`) or ours (`{"type": "imu",
        "imu": PATH}`). Raises `ContentError` naming the field."""
        if isinstance(item, str):
            return cls("text", text=item)
        if not isinstance(item, Mapping) or not isinstance(item.get("type"), str):
            raise ContentError("a content part must be a string or an object with a 'type'")
        kind = item["type"]
        if kind == "text":
            return cls("text", text=_field(item, "text", str))
        if kind == "input_audio":
            data = _field(_field(item, "input_audio", Mapping), "data", str, "input_audio.")
            try:
                return cls("audio", media=base64.b64decode(data, validate=True))
            except ValueError as error:
                raise ContentError("input_audio.data is not base64") from error
        if kind in _OPENAI:
            return cls(_OPENAI[kind], media=_field(_field(item, kind, Mapping), "url", str, f"{kind}."))
        if kind in MODALITIES:
            if kind not in item:
                raise ContentError(f"a '{kind}' part needs the field '{kind}'")
            return cls(kind, media=item[kind])
        known = ("text", "input_audio", *_OPENAI, *MODALITIES)
        raise ContentError(f"part type '{kind}' is not known{nearest(kind, known)}")

    def to_json(self) -> dict[str, Any]:
        """The OpenAI-style form; bytes and pictures become data URIs, so the result survives `json.dumps`."""
        if self.type == "text":
            return {"type": "text", "text": self.text}
        if self.type == "audio" and isinstance(self.media, (bytes, bytearray)):
            data = base64.b64encode(bytes(self.media)).decode()
            return {"type": "input_audio", "input_audio": {"data": data, "format": audio_format(bytes(self.media))}}
        url = _reference(self.media, self.type)
        if f"{self.type}_url" in _OPENAI:
            return {"type": f"{self.type}_url", f"{self.type}_url": {"url": url}}
        return {"type": self.type, self.type: url}


@dataclass(frozen=True)
class Message:
    """One turn. `train`: None supervises it if the assistant speaks, True/False decide by hand."""

    role: str
    parts: tuple[Part, ...]
    train: bool | None = None

    def __post_init__(self) -> None:
        if self.role not in ROLES:
            raise ContentError(f"role '{self.role}' is not known{nearest(self.role, ROLES)}")
        if self.train and self.role != "assistant":
            raise ContentError(f"only the assistant's turns can be trained on, not '{self.role}'")

    @property
    def supervised(self) -> bool:
        return self.role == "assistant" and self.train is not False

    @property
    def text(self) -> str:
        """The text parts, joined."""
        return "".join(part.text or "" for part in self.parts)

    @classmethod
    def from_json(cls, item: Any, where: str = "message") -> Message:
        """`{"role": ..., "content": str | [parts], "train": bool?}`. Raises `ContentError` naming `where` and the field."""
        if not isinstance(item, Mapping):
            raise ContentError(f"{where} must be an object with 'role' and 'content'")
        unknown = set(item) - {"role", "content", "train"}
        if unknown:
            key = min(unknown)
            raise ContentError(f"{where} has an unknown field '{key}'{nearest(key, ('role', 'content', 'train'))}")
        content = item.get("content")
        if isinstance(content, str):
            content = [content]
        if not isinstance(content, list):
            raise ContentError(f"{where}.content must be a string or a list of parts")
        try:
            return cls(_field(item, "role", str), tuple(Part.from_json(part) for part in content), item.get("train"))
        except ContentError as error:
            raise ContentError(f"{where}: {error}") from error

    def to_json(self) -> dict[str, Any]:
        plain = len(self.parts) == 1 and self.parts[0].type == "text"
        content = self.parts[0].text if plain else [part.to_json() for part in self.parts]
        item: dict[str, Any] = {"role": self.role, "content": content}
        return item if self.train is None else {**item, "train": self.train}


def text(value: str) -> Part:
    return Part("text", text=value)


def image(media: Any) -> Part:
    return Part("image", media=media)


def audio(media: Any) -> Part:
    return Part("audio", media=media)


def system(*parts: Part | str) -> Message:
    return Message("system", _parts(parts))


def user(*parts: Part | str) -> Message:
    return Message("user", _parts(parts))


def assistant(*parts: Part | str, train: bool | None = None) -> Message:
    return Message("assistant", _parts(parts), train)


def from_json(messages: Any) -> list[Message]:
    """A whole conversation from its JSON form; errors name the position of the message."""
    if not isinstance(messages, list) or not messages:
        raise ContentError("messages must be a non-empty list")
    return [Message.from_json(item, f"messages[{i}]") for i, item in enumerate(messages)]


def to_json(messages: Iterable[Message]) -> list[dict[str, Any]]:
    return [message.to_json() for message in messages]


def audio_format(data: bytes) -> str:
    """OpenAI's `format` field, from magic bytes."""
    return "wav" if data[:4] == b"RIFF" else "flac" if data[:4] == b"fLaC" else "ogg" if data[:4] == b"OggS" else "mp3"


def _parts(items: Iterable[Part | str]) -> tuple[Part, ...]:
    return tuple(Part("text", text=item) if isinstance(item, str) else item for item in items)


def _field(item: Mapping, name: str, kind: type, prefix: str = "") -> Any:
    value = item.get(name)
    if not isinstance(value, kind):
        raise ContentError(f"field '{prefix}{name}' must be {'a string' if kind is str else 'an object'}")
    return value


def _reference(media: Any, kind: str) -> str:
    if isinstance(media, (str, Path)):
        return str(media)
    if isinstance(media, (bytes, bytearray)):
        return f"data:application/octet-stream;base64,{base64.b64encode(bytes(media)).decode()}"
    if hasattr(media, "save") and hasattr(media, "mode"):  # a PIL image; not imported here, it is slow to
        buffer = io.BytesIO()
        media.save(buffer, format="PNG")
        return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
    if kind == "audio" and isinstance(media, tuple):
        import soundfile

        buffer = io.BytesIO()
        soundfile.write(buffer, media[0], media[1], format="WAV", subtype="FLOAT")
        return f"data:audio/wav;base64,{base64.b64encode(buffer.getvalue()).decode()}"
    raise ContentError(f"{kind} media of type {type(media).__name__} has no JSON form; give a path or bytes")
