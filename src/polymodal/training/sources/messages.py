"""Conversations in our own form. Decides how a row of a file becomes a sample."""

from __future__ import annotations

import random

from polymodal.content import from_json
from polymodal.errors import ContentError, DataError
from polymodal.training.data import Sample
from polymodal.training.sources.paths import anchored_message
from polymodal.training.sources.rows import Conversations


class MessagesSource(Conversations):
    """A JSONL file, or a JSON list, of conversations in OpenAI's form: `{"messages": [...]}` or a bare list per row. Paths
    of media are relative to the file, or to its `media` folder. Raises `DataError` naming the row and the field."""

    def sample(self, index: int, rng: random.Random) -> Sample:
        name, row = self.rows.name(index), self.rows[index]
        if isinstance(row, dict) and "messages" not in row:
            hint = "; rows with 'conversations' are of kind 'llava' or 'sharegpt'" if "conversations" in row else ""
            raise DataError(f"{name}: field 'messages' is missing (it has: {', '.join(map(str, row)) or 'nothing'}){hint}")
        try:
            messages = from_json(row["messages"] if isinstance(row, dict) else row)
        except ContentError as error:
            raise DataError(f"{name}: {error}") from error
        return Sample([anchored_message(m, self.media) for m in messages], name)
