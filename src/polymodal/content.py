"""What a user writes: messages made of typed parts. Decides the schema, and its OpenAI-style JSON form, in and out.

A conversation is a list of `Message`s; a message is a role and any number of `Part`s in any order: text, or media of
any modality. Nothing here opens a file: a part holds a *reference* (path, bytes, array, decoded object) and
`polymodal.media` turns it into arrays behind one gate. Bytes survive the way to JSON and back; what is already decoded
becomes the bytes of a lossless file (PNG, float WAV, npy), or of MP4.
"""

from __future__ import annotations

import base64
import difflib
import io
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from polymodal.errors import ContentError, MediaError, nearest
from polymodal.media import gate

MODALITIES = ("image", "audio", "video", "points", "imu", "depth", "thermal", "segmentation")
PART_TYPES = ("text", *MODALITIES)
MADE = ("caption", "output", "failed")  # fields of media that the assistant makes
ROLES = ("system", "user", "assistant", "document")

_LEARNED = ("assistant", "document")  # roles whose text is supervised unless `train` says otherwise

# OpenAI's names for content parts -> (our part type, the key of the payload)
_OPENAI = {"image_url": "image", "audio_url": "audio", "video_url": "video"}


@dataclass(frozen=True)
class Part:
    """One piece of a message. `text` for a text part, `media` for every other: a path, raw `bytes`, a data URI, a
    `PIL.Image.Image`, or an array (audio and imu: `(samples, rate)`, video: `(frames, rate)`).

    Of media that the assistant makes: `caption`, what it shows or says, which a model can learn from without the media;
    `output`, which of the model's outputs makes it (only needed where several make this type); `failed`, why it could not
    be made."""

    type: str
    text: str | None = None
    media: Any = None
    caption: str | None = None
    output: str | None = None
    failed: str | None = None

    def __post_init__(self) -> None:
        if self.type not in PART_TYPES:
            raise ContentError(f"part type '{self.type}' is not known{nearest(self.type, PART_TYPES)}")
        if (self.type == "text") != isinstance(self.text, str):
            raise ContentError(f"a '{self.type}' part needs {'a string in text' if self.type == 'text' else 'no text'}")
        told = self.made
        for name, value in told.items():
            if self.type == "text" or not isinstance(value, str):
                raise ContentError(f"field '{name}' of a '{self.type}' part must be a string, and only media have one")
        if self.media is not None and self.type == "text":
            raise ContentError("a 'text' part takes no media")
        if self.media is None and self.type != "text" and not told.keys() & {"caption", "failed"}:
            raise ContentError(f"a '{self.type}' part needs media")

    @property
    def made(self) -> dict[str, str]:
        """What is said of media that the assistant makes, by the names of the fields."""
        return {name: value for name in MADE if (value := getattr(self, name)) is not None}

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
        made = {name: item[name] for name in MADE if item.get(name) is not None}
        if kind == "input_audio":
            data = _field(_field(item, "input_audio", Mapping), "data", str, "input_audio.")
            return cls("audio", media=_payload(f"data:;base64,{data}", "input_audio.data"), **made)
        if kind in _OPENAI:
            url = _field(_field(item, kind, Mapping), "url", str, f"{kind}.")
            return cls(_OPENAI[kind], media=_payload(url, f"{kind}.url"), **made)
        if kind in MODALITIES:
            if item.get(kind) is None and not made.keys() & {"caption", "failed"}:
                raise ContentError(f"field '{kind}' is missing{_near(kind, item)}")
            return cls(kind, media=_payload(item.get(kind), kind), **made)
        known = ("text", "input_audio", *_OPENAI, *MODALITIES)
        raise ContentError(f"part type '{kind}' is not known{nearest(kind, known)}")

    @classmethod
    def from_argument(cls, argument: str) -> Part:
        """Media on a command line: `KIND=FILE`, such as `points=chair.ply`. Raises `ContentError`."""
        kind, equals, file = argument.partition("=")
        if not equals or not file:
            raise ContentError(f"media is given as KIND=FILE, not '{argument}'")
        if kind not in MODALITIES:
            raise ContentError(f"media kind '{kind}' is not known{nearest(kind, MODALITIES)}")
        return cls(kind, media=os.path.expanduser(file))

    def to_json(self) -> dict[str, Any]:
        """The OpenAI-style form; bytes and decoded media are encoded as base64, so the result survives `json.dumps`.
        Raises `ContentError` for media without a JSON form and `MediaError` for decoded media over the limits."""
        if self.type == "text":
            return {"type": "text", "text": self.text}
        if self.media is None:
            return {"type": self.type, **self.made}
        url = media = _portable(self.media, self.type)
        if isinstance(media, bytes):
            payload, kind = base64.b64encode(media).decode(), gate.sniff(media)
            if self.type == "audio":
                return {"type": "input_audio", "input_audio": {"data": payload, "format": kind}, **self.made}
            url = f"data:{gate.MIME.get(kind, 'application/octet-stream')};base64,{payload}"
        if f"{self.type}_url" in _OPENAI:
            return {"type": f"{self.type}_url", f"{self.type}_url": {"url": url}, **self.made}
        return {"type": self.type, self.type: url, **self.made}


@dataclass(frozen=True)
class Message:
    """One turn. `train`: None supervises it if the assistant speaks, True/False decide by hand. A `document` is no turn: it
    stands alone, is rendered without the chat template, and all its text is supervised."""

    role: str
    parts: tuple[Part, ...]
    train: bool | None = None

    def __post_init__(self) -> None:
        if self.role not in ROLES:
            raise ContentError(f"role '{self.role}' is not known{nearest(self.role, ROLES)}")
        object.__setattr__(self, "parts", _parts((self.parts,) if isinstance(self.parts, str) else self.parts))
        if not all(isinstance(part, Part) for part in self.parts):
            raise ContentError("parts must be strings or Part objects")
        if not isinstance(self.train, (bool, type(None))):
            raise ContentError("field 'train' must be true, false or absent")
        if self.train and self.role not in _LEARNED:
            raise ContentError(f"only the assistant's turns can be trained on, not '{self.role}'")

    @property
    def supervised(self) -> bool:
        return self.role in _LEARNED and self.train is not False

    @property
    def text(self) -> str:
        """The text parts, joined."""
        return "".join(part.text or "" for part in self.parts)

    @classmethod
    def from_json(cls, item: Any, where: str = "message") -> Message:
        """`{"role": ..., "content": str | [parts], "train": bool?}`. Raises `ContentError` naming the field."""
        if not isinstance(item, Mapping):
            raise ContentError(f"{where} must be an object with 'role' and 'content'")
        unknown = set(item) - {"role", "content", "train"}
        if unknown:
            key = min(map(str, unknown))
            raise ContentError(f"{where} has an unknown field '{key}'{nearest(key, ('role', 'content', 'train'))}")
        content = item.get("content")
        if isinstance(content, str):
            content = [content]
        if not isinstance(content, list):
            raise ContentError(f"{where}.content must be a string or a list of parts")
        try:
            role = _field(item, "role", str)
            parts = tuple(_at(f"content[{i}]", part) for i, part in enumerate(content))
            return cls(role, parts, item.get("train"))
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


def video(media: Any) -> Part:
    return Part("video", media=media)


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


def _parts(items: Iterable[Part | str]) -> tuple[Part, ...]:
    return tuple(Part("text", text=item) if isinstance(item, str) else item for item in items)


def _at(where: str, item: Any) -> Part:
    try:
        return Part.from_json(item)
    except ContentError as error:
        raise ContentError(f"{where}: {error}") from error


def _field(item: Mapping, name: str, kind: type, prefix: str = "") -> Any:
    if name not in item:
        raise ContentError(f"field '{prefix}{name}' is missing{_near(name, item)}")
    if not isinstance(item[name], kind):
        raise ContentError(f"field '{prefix}{name}' must be {'a string' if kind is str else 'an object'}")
    return item[name]


def _near(name: str, item: Mapping) -> str:
    """A hint where a field of `item` looks like a misspelt `name`."""
    close = difflib.get_close_matches(name, map(str, item), n=1, cutoff=0.5)
    return f" (is '{close[0]}' meant to be it?)" if close and close[0] != "type" else ""


def _payload(media: Any, where: str) -> Any:
    """A data URI becomes its bytes, so that bytes come back from JSON as they went; all else stays a reference."""
    if not isinstance(media, str) or media[:5].lower() != "data:":
        return media
    try:
        return gate.decode_data_uri(media)
    except MediaError as error:
        raise ContentError(f"field '{where}': {error}") from error


def _portable(media: Any, kind: str) -> Any:
    """The path or the bytes that stand for `media` in JSON; of a decoded picture or recording, what a model sees."""
    if isinstance(media, (str, os.PathLike)):
        return os.fspath(media)
    if isinstance(media, (bytes, bytearray, memoryview)):
        return bytes(media)
    buffer = io.BytesIO()
    if kind in ("image", "segmentation") and (hasattr(media, "getpalette") or hasattr(media, "__array__")):
        from polymodal.media.image import load_image

        load_image(media).save(buffer, format="PNG")
        return buffer.getvalue()
    if kind == "audio" and isinstance(media, tuple) and len(media) == 2:
        import soundfile

        from polymodal.media.audio import load_audio

        rate = int(media[1])
        soundfile.write(buffer, load_audio(media, rate), rate, format="WAV", subtype="FLOAT")
        return buffer.getvalue()
    if kind == "video" and isinstance(media, tuple):
        from polymodal.media.writing import encoded as file

        return file(kind, media)[1]
    if kind == "imu" and isinstance(media, tuple):
        from polymodal.media.series import encoded, load_series

        return encoded(load_series(media))
    if kind in ("points", "imu", "depth", "thermal") and hasattr(media, "__array__"):
        import numpy as np

        np.save(buffer, np.asarray(media), allow_pickle=False)
        return buffer.getvalue()
    raise ContentError(f"{kind} media of type {type(media).__name__} has no JSON form; give a path or bytes")
