"""The animated emoji of Fluent. Decides that what does not move is no animation.

The packages hold every emoji as WebP, and copies of most people in five tones of skin. More than a third of the files have
one frame only; they and the copies are left out, which makes the ready folder a third of the download.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from polymodal.errors import AssetError

_SKIN_TONE = re.compile(r"-1f3f[b-f]")


def moving_emoji(kept: Path, ready: Path) -> None:
    """assets/<code points>.webp, those of more than one frame. Raises AssetError for a file that is no WebP, or if none
    moves."""
    from PIL import Image, UnidentifiedImageError

    found = 0
    (ready / "assets").mkdir()
    for file in sorted((kept / "assets").glob("*.webp")):
        if _SKIN_TONE.search(file.name):
            continue
        try:
            with Image.open(file, formats=["WEBP"]) as picture:
                moves = getattr(picture, "n_frames", 1) > 1
        except UnidentifiedImageError as error:
            raise AssetError(f"moving-emoji: {file.name} is no WebP file") from error
        if moves:
            shutil.move(file, ready / "assets" / file.name)
            found += 1
    if not found:
        raise AssetError("moving-emoji: no file of more than one frame in its packages")
