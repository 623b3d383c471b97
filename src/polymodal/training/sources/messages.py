"""The user's own conversations. Decides how a line of a file becomes a sample."""

from __future__ import annotations

import json
import random
from pathlib import Path

from polymodal.content import Message, Part, from_json
from polymodal.errors import ContentError, DataError
from polymodal.training.data import Sample


class MessagesSource:
    """A JSONL file of conversations in OpenAI's form: `{"messages": [...]}` or a bare list per line. Relative media paths
    are relative to the file. Raises `DataError` naming the row and the field."""

    def __init__(self, path: str) -> None:
        self.file = Path(path)
        if not self.file.is_file():
            raise DataError(f"{path}: there is no such file")
        try:
            lines = self.file.read_text(encoding="utf-8").split("\n")  # not at the line separators within a JSON string
        except UnicodeDecodeError as error:
            raise DataError(f"{path}: not UTF-8 ({error})") from error
        self.rows = [(i, line) for i, line in enumerate(lines, 1) if line.strip()]
        if not self.rows:
            raise DataError(f"{path}: the file holds no conversation")

    def __len__(self) -> int:
        return len(self.rows)

    def sample(self, index: int, rng: random.Random) -> Sample:
        number, line = self.rows[index]
        name = f"{self.file.name}:{number}"
        try:
            row = json.loads(line)
            messages = from_json(row.get("messages") if isinstance(row, dict) else row)
        except (ValueError, ContentError) as error:
            raise DataError(f"{name}: {error}") from error
        return Sample([self._anchor(m) for m in messages], name)

    def _anchor(self, message: Message) -> Message:
        return Message(message.role, tuple(map(self._part, message.parts)), message.train)

    def _part(self, part: Part) -> Part:
        if not isinstance(part.media, str) or part.media.startswith("data:") or "://" in part.media:
            return part
        return Part(part.type, media=str(self.file.parent / part.media))
