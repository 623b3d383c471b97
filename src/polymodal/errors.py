"""Typed errors. Decides what a user can get wrong, and that each such error fits one line and names the way out.

Every error a user can cause derives from `PolymodalError`; the command line prints its message alone and exits with
code 2. Anything else is a defect of ours and keeps its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class PolymodalError(Exception):
    """Base of every error a user can cause. `str(error)` is one line."""


class MediaError(PolymodalError):
    """A picture, recording or clip that cannot be used. Names the file, the reason and the limit."""


class MediaLimit(MediaError):
    """A medium over one of the limits, in size, length or number. Names the limit."""


class ContentError(PolymodalError):
    """A message or part that breaks the schema. Names the field."""


class SchemaError(ContentError):
    """A JSON schema that answers cannot be held to. Says what of it."""


class RecipeError(PolymodalError):
    """A recipe key, value or combination of parts that cannot work. Names the key and the nearest match."""


class CountMismatch(PolymodalError):
    """Placeholders and features disagree. Names the sample, the item and both numbers."""


class CheckpointError(PolymodalError):
    """A checkpoint folder that is incomplete, changed or of another format. Names the tensor or file."""


class AssetError(PolymodalError):
    """Weights or data that are not there, or not what was pinned. Names the command that gets them."""


class DataError(PolymodalError):
    """A training sample that cannot be used. Names the row and the field."""


class Busy(PolymodalError):
    """More is asked than can be answered now. `retry_after`: whole seconds after which it is worth asking again."""

    def __init__(self, message: str, retry_after: int = 1) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class OutOfTime(PolymodalError):
    """What was begun was not done within its seconds, and was given up."""


class Closed(PolymodalError):
    """The engine answers nothing more: it is being shut down."""


class EvaluationError(PolymodalError):
    """A benchmark's files, a file of predictions, or a protocol that cannot be used. Names the file and the field."""


def nearest(word: str, choices: Iterable[str]) -> str:
    """A hint such as ` (did you mean 'mlp'?)`, or the list of choices where nothing is near."""
    names = sorted(choices)
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.5)
    if close:
        return f" (did you mean '{close[0]}'?)"
    return f" (choose from: {', '.join(names)})" if names else ""
