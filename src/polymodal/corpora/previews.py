"""Previews: any item as a picture. Decides what of a recording, a motion or a text the eye can check.

A picture with its boxes, a recording as its waveform, motion as one line per channel, a text as its words. Drawn by Pillow
alone, so that looking at data needs no more than making it does.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Callable
from typing import TYPE_CHECKING

from polymodal.corpora.items import Item
from polymodal.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

COLORS = ("#d62728", "#1f77b4", "#2ca02c", "#ff7f0e", "#9467bd", "#17becf", "#8c564b")


def preview(item: Item, side: int) -> Image.Image:
    """The item as a picture that fits into `side` x `side` pixels. Raises DataError for a modality without a preview."""
    if item.modality not in _PREVIEWS:
        raise DataError(f"{item.id}: there is no preview of '{item.modality}' (there is of: {', '.join(_PREVIEWS)})")
    return _PREVIEWS[item.modality](item, side)


def _image(item: Item, side: int) -> Image.Image:
    from PIL import Image, ImageDraw

    with Image.open(io.BytesIO(item.read())) as file:
        picture = file.convert("RGB")
    scale = side / max(picture.size)
    shown = picture.resize((max(1, round(picture.width * scale)), max(1, round(picture.height * scale))))
    draw = ImageDraw.Draw(shown)
    for number, box in enumerate(item.boxes):
        left, top, right, bottom = (value * scale for value in box.xyxy)
        draw.rectangle((left, top, max(left, right - 1), max(top, bottom - 1)), outline=COLORS[number % len(COLORS)])
    return shown


def _audio(item: Item, side: int) -> Image.Image:
    """Each column is the span from the lowest to the highest sample of its stretch of time."""
    import numpy as np
    import soundfile
    from PIL import Image, ImageDraw

    samples, rate = soundfile.read(io.BytesIO(item.read()), dtype="float32", always_2d=True)
    shown = Image.new("RGB", (side, side // 2), "white")
    draw = ImageDraw.Draw(shown)
    middle = side // 4
    for x, stretch in enumerate(np.array_split(samples[:, 0], side)):
        if len(stretch):
            draw.line((x, middle * (1 - stretch.max()), x, middle * (1 - stretch.min())), fill=COLORS[1])
    draw.text((2, 0), f"{len(samples) / rate:.1f} s", fill="gray")
    return shown


def _imu(item: Item, side: int) -> Image.Image:
    """Acceleration above, rotation below, each scaled to its own range."""
    from PIL import Image, ImageDraw
    from safetensors.numpy import load

    samples = load(item.read())["samples"]
    shown = Image.new("RGB", (side, side), "white")
    draw = ImageDraw.Draw(shown)
    for row, channels in enumerate((samples[:, :3], samples[:, 3:])):
        _lines(draw, channels, row * side // 2, side, side // 2)
    draw.text((2, 0), f"{len(samples)} samples", fill="gray")
    return shown


def _lines(draw: object, channels: np.ndarray, top: int, width: int, height: int) -> None:
    from PIL import ImageDraw

    assert isinstance(draw, ImageDraw.ImageDraw)
    low, high = float(channels.min()), float(channels.max())
    for number, values in enumerate(channels.T):
        ys = top + (height - 4) * (1 - (values - low) / (high - low or 1)) + 2
        xs = [index * width / len(values) for index in range(len(values))]
        draw.line(list(zip(xs, ys.tolist(), strict=True)), fill=COLORS[number])


def _text(item: Item, side: int) -> Image.Image:
    from PIL import Image, ImageDraw

    shown = Image.new("RGB", (side, side), "white")
    words = textwrap.fill(item.read().decode("utf-8"), side // 7, max_lines=side // 14)
    ImageDraw.Draw(shown).multiline_text((2, 2), words, fill="black")
    return shown


_PREVIEWS: dict[str, Callable[[Item, int], Image.Image]] = {
    "image": _image,
    "audio": _audio,
    "imu": _imu,
    "text": _text,
}
