"""Conversations with placeholders: LLaVA's JSON and ShareGPT's. Decides that placeholders and media are counted.

Both write `<image>`, `<audio>` or `<video>` where an item stands and list the items in fields of the row. LLaVA's own code
moves the placeholder to the front and takes one picture; here items stand where they are written, any number, any turn. A
line break beside a placeholder is part of that convention and not of the text: the model puts its own text around media.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from polymodal.content import Message, Part
from polymodal.errors import DataError, nearest
from polymodal.training.data import Sample
from polymodal.training.sources.paths import anchored
from polymodal.training.sources.rows import Conversations

FIELDS = {"image": ("image", "images"), "audio": ("audio", "audios"), "video": ("video", "videos")}
LLAVA_ROLES = {"human": "user", "gpt": "assistant", "system": "system"}
ROLES = {**LLAVA_ROLES, "user": "user", "assistant": "assistant", "model": "assistant", "chatgpt": "assistant"}
_TOOLS = ("function", "function_call", "observation", "tool")
_PLACEHOLDER = re.compile(r"\n?<(image|audio|video)>\n?")


class LlavaSource(Conversations):
    """LLaVA's JSON: rows of `{"image": PATH, "conversations": [{"from": "human" | "gpt" | "system", "value": TEXT}]}`, with
    `audio`, `video`, and lists of each as well. Paths are relative to the file, or to its `media` folder. Raises
    `DataError` naming the row and, for placeholders without media or media without placeholders, both numbers."""

    def sample(self, index: int, rng: random.Random) -> Sample:
        name, row = self.rows.name(index), self.rows[index]
        turns = listed(row, ("conversations",), name)
        return Sample(dialogue(turns, media_of(row, name, self.media), name, LLAVA_ROLES), name)


class ShareGPTSource(Conversations):
    """ShareGPT's JSON as LLaMA-Factory reads it: `conversations` or `messages`, turns of `from` and `value` or `role` and
    `content`, a `system` prompt beside them, media in `images`, `audios` and `videos`. Otherwise as `LlavaSource`."""

    def sample(self, index: int, rng: random.Random) -> Sample:
        name, row = self.rows.name(index), self.rows[index]
        turns = listed(row, ("conversations", "messages"), name)
        messages = dialogue(turns, media_of(row, name, self.media), name, ROLES)
        if system := row.get("system"):
            if not isinstance(system, str):
                raise DataError(f"{name}: field 'system' must be a string")
            messages.insert(0, Message("system", (Part("text", text=system),)))
        return Sample(messages, name)


def listed(row: Any, fields: tuple[str, ...], name: str) -> list[Any]:
    """The turns of a row: the first of `fields` that it has. Raises `DataError`."""
    if not isinstance(row, Mapping):
        raise DataError(f"{name}: a row must be an object with '{fields[0]}'")
    field = next((field for field in fields if field in row), None)
    if field is None:
        raise DataError(f"{name}: field '{fields[0]}' is missing (it has: {', '.join(map(str, row)) or 'nothing'})")
    if not isinstance(row[field], list) or not row[field]:
        raise DataError(f"{name}: field '{field}' must be a non-empty list of turns")
    return row[field]


def media_of(row: Mapping[str, Any], name: str, folder: Path) -> dict[str, list[Any]]:
    """{modality: its items}, paths anchored in `folder`. A field may hold one item or a list; null is none."""
    found: dict[str, list[Any]] = {}
    for modality, fields in FIELDS.items():
        for field in fields:
            value = row.get(field)
            items = value if isinstance(value, list) else [] if value is None else [value]
            if not all(isinstance(item, str) for item in items):
                raise DataError(f"{name}: field '{field}' must be a path or a list of paths")
            found.setdefault(modality, []).extend(anchored(item, folder) for item in items)
    return found


def dialogue(turns: list[Any], media: Mapping[str, list[Any]], name: str, roles: Mapping[str, str]) -> list[Message]:
    """Turns with placeholders -> messages with media. Raises `DataError` naming the row, the field and both numbers."""
    spoken = [_spoken(turn, f"{name}: turn {i}", roles) for i, turn in enumerate(turns, 1)]
    for modality in FIELDS:
        places, items = sum(words.count(f"<{modality}>") for _, words in spoken), len(media.get(modality, ()))
        if places != items:
            where = " or ".join(f"'{field}'" for field in FIELDS[modality])
            raise DataError(
                f"{name}: {_count(places, f'<{modality}>')} in its turns, but {_count(items, modality)} in {where}"
            )
    waiting = {modality: iter(items) for modality, items in media.items()}
    messages = []
    for role, words in spoken:
        pieces = _PLACEHOLDER.split(words)  # text, modality, text, modality, ..., text
        parts = [Part("text", text=p) if i % 2 == 0 else Part(p, media=next(waiting[p])) for i, p in enumerate(pieces)]
        messages.append(Message(role, tuple(part for part in parts if part.text != "")))
    return messages


def _spoken(turn: Any, where: str, roles: Mapping[str, str]) -> tuple[str, str]:
    """(our role, the text with placeholders) of one turn."""
    if not isinstance(turn, Mapping):
        raise DataError(f"{where} must be an object")
    said, words = ("role", "content") if "role" in turn else ("from", "value")
    for field in (said, words):
        if not isinstance(turn.get(field), str):
            raise DataError(f"{where}: field '{field}' {'must be a string' if field in turn else 'is missing'}")
    if turn[said] in _TOOLS:
        raise DataError(f"{where}: turns of '{turn[said]}' are not supported; leave tool calls out")
    if turn[said] not in roles:
        raise DataError(f"{where}: {said} '{turn[said]}' is not known{nearest(turn[said], roles)}")
    return roles[turn[said]], turn[words]


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 or what.endswith('>') else 's'}"
