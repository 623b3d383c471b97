"""The corpus `moving-emoji`: emoji of Fluent that move for about three seconds. Decides what a video of a corpus is.

A video is MP4 (H.264, yuv420p), FPS frames per second on white, as long as the animation is. FFmpeg reads no animated
WebP, so the packages' own files would be of little use to others.

The first frame is the drawing of `emoji-3d`, and the name is that of the emoji, so a picture would do to answer. For each
emoji that moves there is therefore a second video of the same length in which it stands still, on its middle frame;
whether it moves is asked of both, and only several frames can tell. Splits are those of the drawings.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polymodal.corpora import emoji, pictures
from polymodal.corpora.building import Job
from polymodal.corpora.items import QA, Item
from polymodal.errors import DataError, MediaError
from polymodal.media.image import load_image
from polymodal.media.writing import mp4

if TYPE_CHECKING:
    from PIL import Image

VERSION = 1
ASSETS = ("emojibase", "moving-emoji")
LICENCE = "MIT"
FPS = 8


def jobs(folders: Mapping[str, Path]) -> list[Job]:
    """One job per emoji, of two videos. `folders`: of ASSETS. Raises DataError if there is none."""
    home = folders["moving-emoji"]
    files = {emoji.normalised(file.stem): file for file in (home / "assets").glob("*.webp")}
    try:
        entries = [entry for entry in emoji.labels(folders["emojibase"]) if entry["key"] in files]
    except (FileNotFoundError, KeyError) as error:
        raise DataError(f"corpus moving-emoji: the packages lack {error}") from error
    if not entries:
        raise DataError(f"corpus moving-emoji: no emoji with a name in {home}")
    return [
        Job([_item(entry, state) for state in ("moving", "still")], partial(_two, files[entry["key"]])) for entry in entries
    ]


def _item(entry: dict[str, Any], state: str) -> Item:
    asked = QA(ask="Does it move or stand still?", answer=state, type="motion", options=["moving", "still"])
    return Item(
        id=f"{state}-{entry['key']}",
        modality="video",
        file=f"{state}/{entry['key']}.mp4",
        source="moving-emoji",
        vendor="fluent-3d",
        licence=LICENCE,
        questions=[asked],
        **emoji.described(entry),
    )


def _two(file: Path) -> Iterator[bytes]:
    frames = sampled(file)
    yield mp4(frames, FPS)
    yield mp4([frames[len(frames) // 2]] * len(frames), FPS)


def sampled(file: Path) -> list[Image.Image]:
    """The pictures that an animation shows every 1/FPS seconds, from its start to its end; RGB, SIDE x SIDE, on white.

    Raises MediaError for a file that cannot be decoded, or shows only one of them.
    """
    from PIL import Image, UnidentifiedImageError

    frames: list[Image.Image] = []
    end = 0.0  # milliseconds: when the next frame begins
    try:
        with Image.open(file, formats=["WEBP"]) as animation:
            for number in range(getattr(animation, "n_frames", 1)):
                animation.seek(number)
                animation.load()
                end += animation.info["duration"]
                missing = int(end * FPS / 1000) - len(frames)
                if missing > 0:
                    frames += [pictures.square(load_image(animation))] * missing
    except (UnidentifiedImageError, OSError, EOFError, KeyError) as error:
        raise MediaError(f"{file.name}: not an animation that can be decoded ({error})") from error
    if len(frames) < 2:
        raise MediaError(f"{file.name}: shorter than two frames at {FPS} per second")
    return frames
