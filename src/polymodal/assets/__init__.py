"""Weights and data that polymodal uses but does not ship. Decides the one way by which the rest of the code gets them.

    assets.path("whisper-base")      the ready folder, or an error naming the command that gets it; never downloads
    assets.fetch("whisper-base")     download, check, convert, and swap into the cache folder in one step
    assets.pin("whisper-base")       what it was made of, for proving that two machines use the same frozen part
    assets.digests("whisper-base")   sha256 of each of its files on this machine

What can be fetched is catalog.yaml; where it is kept is `assets.root()`.
"""

from __future__ import annotations

from polymodal.assets.sources import Progress
from polymodal.assets.store import digests, fetch, path, pin, root, state, verify

__all__ = ["Progress", "digests", "fetch", "path", "pin", "root", "state", "verify"]
