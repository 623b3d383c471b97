"""Where the media of a row lies. Decides that a path in a data file is relative to that file, never to the working folder.

`media: FOLDER` moves the root, for data whose pictures lie elsewhere; it is itself relative to the file.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from polymodal.content import Message

IMAGES = ("jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff", "avif")
RECORDINGS = ("wav", "flac", "ogg", "mp3", "m4a", "aac", "aif", "aiff")
VIDEOS = ("mp4", "webm", "avi", "mov", "mkv")
POINTS = ("ply", "obj", "glb")
# Which part a file is. What format it has is for the gate to say, by its bytes.
MODALITY = {**dict.fromkeys(IMAGES, "image"), **dict.fromkeys(RECORDINGS, "audio"), **dict.fromkeys(VIDEOS, "video")}
MODALITY |= dict.fromkeys(POINTS, "points")


def root(file: Path, media: str | None) -> Path:
    """The folder that the media of `file` are looked for in."""
    return file.parent / Path(media or "").expanduser()


def anchored(media: Any, folder: Path) -> Any:
    """`media`, with a relative path made relative to `folder`. URLs stay for the gate to refuse by name."""
    if not isinstance(media, str) or media[:5].lower() == "data:" or "://" in media:
        return media
    return str(folder / media)


def anchored_message(message: Message, folder: Path) -> Message:
    parts = (p if p.media is None else replace(p, media=anchored(p.media, folder)) for p in message.parts)
    return Message(message.role, tuple(parts), message.train)
