"""API keys. Decides that they come from a file, are compared in constant time, and are not kept as they are."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from pathlib import Path

from polymodal.errors import ContentError

SHORTEST = 16  # characters


class Keys:
    """None at all: everybody is let in."""

    def __init__(self, keys: Iterable[str] = ()) -> None:
        self._digests = [_digest(key) for key in keys]

    @classmethod
    def from_file(cls, path: Path) -> Keys:
        """One key a line; empty lines and those that begin with # are none. Raises `ContentError`."""
        try:
            lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
        except (OSError, UnicodeDecodeError) as error:
            raise ContentError(f"{path}: cannot be read as a file of API keys ({type(error).__name__})") from error
        keys = [line for line in lines if line and not line.startswith("#")]
        if not keys:
            raise ContentError(f"{path}: holds no API key; write one a line, of {SHORTEST} characters or more")
        for number, key in enumerate(keys, 1):
            if len(key) < SHORTEST or not key.isascii() or not key.isprintable() or " " in key:
                raise ContentError(f"{path}: key {number} must be {SHORTEST} or more ASCII characters without spaces")
        return cls(keys)

    def __len__(self) -> int:
        return len(self._digests)

    def tenant(self, authorization: str | None) -> str | None:
        """A name for whoever sends this header, the same each time; None for nobody we know. Each key is compared, however
        early one fits."""
        if not self._digests:
            return ""
        scheme, _, key = (authorization or "").partition(" ")
        given = _digest(key.strip()) if scheme.lower() == "bearer" else b""
        found = None
        for known in self._digests:
            if hmac.compare_digest(given, known):
                found = known.hex()[:16]
        return found


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
