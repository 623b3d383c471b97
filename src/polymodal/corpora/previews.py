"""Previews: any item as a picture. Decides what of a recording, a motion or a text the eye can check.

A picture with its boxes, a recording as its waveform, a clip as five of its pictures, motion as one line per channel,
points from in front and from above, depth and temperature in false colours with their least and most, a text as its words.
Drawn by Pillow alone, so that looking at data needs no more than making it does.
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

FRAMES = 5  # of a clip
VIEWS = ((30, 25), (0, 90))  # of points: degrees they are turned about the vertical, then tilted towards the viewer
COLORS = ("#d62728", "#1f77b4", "#2ca02c", "#ff7f0e", "#9467bd", "#17becf", "#8c564b")

# Of a map, from far or cold to near or hot.
HEAT = ((0, 0, 0), (90, 10, 110), (220, 50, 40), (250, 170, 20), (255, 255, 220))


def preview(item: Item, side: int) -> Image.Image:
    """The item as a picture that fits into `side` x `side` pixels. Raises DataError for a modality without a preview."""
    if item.modality not in _PREVIEWS:
        raise DataError(f"{item.id}: there is no preview of '{item.modality}' (there is of: {', '.join(_PREVIEWS)})")
    return _PREVIEWS[item.modality](item, side)


def _image(item: Item, side: int) -> Image.Image:
    from PIL import Image

    with Image.open(io.BytesIO(item.read())) as file:
        picture = file.convert("RGB")
    scale = side / max(picture.size)
    shown = picture.resize((max(1, round(picture.width * scale)), max(1, round(picture.height * scale))))
    _outline(shown, item, scale)
    return shown


def _outline(shown: Image.Image, item: Item, scale: float) -> None:
    from PIL import ImageDraw

    draw = ImageDraw.Draw(shown)
    for number, box in enumerate(item.boxes):
        left, top, right, bottom = (value * scale for value in box.xyxy)
        draw.rectangle((left, top, max(left, right - 1), max(top, bottom - 1)), outline=COLORS[number % len(COLORS)])


def _map(item: Item, side: int) -> Image.Image:
    """Coloured from the least of its numbers to the most, depth by one over it; what has none is white."""
    import numpy as np
    from PIL import Image, ImageDraw

    from polymodal.media.maps import load_map

    values = load_map(item.read())
    known = np.isfinite(values) & ((values > 0) | (item.modality != "depth"))
    if not known.any():
        raise DataError(f"{item.id}: a map without a single measured pixel")
    low, high = values[known].min(), values[known].max()
    heat = 1 / np.where(known, values, high) if item.modality == "depth" else values
    heat = (heat - heat[known].min()) / (np.ptp(heat[known]) or 1)
    stops = np.linspace(0, 1, len(HEAT))
    colored = np.stack([np.interp(heat, stops, channel) for channel in zip(*HEAT, strict=True)], -1)
    colored[~known] = 255
    scale = side / max(values.shape)
    height, width = (max(1, round(length * scale)) for length in values.shape)
    shown = Image.fromarray(np.round(colored).astype(np.uint8)).resize((width, height), Image.Resampling.NEAREST)
    _outline(shown, item, scale)
    ImageDraw.Draw(shown).text((2, 0), f"{low:.3g} to {high:.3g}", fill="white", stroke_width=1, stroke_fill="black")
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
    """The first three channels above (acceleration), all others below (rotation), each half scaled to its own range."""
    from PIL import Image, ImageDraw
    from safetensors.numpy import load

    samples = load(item.read())["samples"]
    shown = Image.new("RGB", (side, side), "white")
    draw = ImageDraw.Draw(shown)
    halves = [channels for channels in (samples[:, :3], samples[:, 3:]) if channels.size]
    for row, channels in enumerate(halves):
        _lines(draw, channels, row * side // len(halves), side, side // len(halves))
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


def _video(item: Item, side: int) -> Image.Image:
    """Five pictures at even times, row by row, three in the first."""
    from PIL import Image

    from polymodal.media import load_video

    clip, cell = load_video(item.read()), side // 3
    shown = Image.new("RGB", (side, 2 * cell), "white")
    for number, frame in enumerate(clip.at([clip.seconds * (0.5 + n) / FRAMES for n in range(FRAMES)])):
        frame.thumbnail((cell - 2, cell - 2))
        shown.paste(frame, (number % 3 * cell + 1, number // 3 * cell + 1))
    return shown


def _points(item: Item, side: int) -> Image.Image:
    """Three quarters from the front, and below it from above."""
    from PIL import Image, ImageDraw
    from safetensors.numpy import load

    points = load(item.read())["points"]
    shown = Image.new("RGB", (side, side), "white")
    for row, view in enumerate(views(points, (side, side // 2))):
        shown.paste(view, (0, row * (side // 2)))
    size = points[:, :3].max(0) - points[:, :3].min(0)
    ImageDraw.Draw(shown).text((2, 0), " x ".join(f"{100 * value:.3g}" for value in size) + " cm", fill="gray")
    return shown


def views(points: np.ndarray, size: tuple[int, int]) -> list[Image.Image]:
    """[N, 6] of places and colours, seen as each of VIEWS says, at one scale, in pictures of `size` pixels (width, height);
    what is far is drawn first, and darker."""
    import numpy as np
    from PIL import Image, ImageDraw

    places = points[:, :3].astype(np.float64)
    places -= places.min(0) + np.ptp(places, axis=0) / 2
    seen, radius = [_seen(places, *view) for view in VIEWS], max(size) / 160
    scale = min((0.9 * np.array(size) / np.maximum(2 * np.abs(view[:, :2]).max(0), 1e-9)).min() for view in seen)
    pictures = []
    for view in seen:
        shown = Image.new("RGB", size, "white")
        draw = ImageDraw.Draw(shown)
        depth = (view[:, 2] - view[:, 2].min()) / (np.ptp(view[:, 2]) or 1)
        colors = (255 * points[:, 3:] * (0.5 + 0.4 * depth[:, None])).astype(int)  # white is seen on white
        for index in np.argsort(depth):
            x, y = view[index, :2] * scale + np.array(size) / 2
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=tuple(colors[index].tolist()))
        pictures.append(shown)
    return pictures


def _seen(places: np.ndarray, turned: float, tilted: float) -> np.ndarray:
    """[N, 3] of places (x to the right, y up, z to the viewer): to the right, down, and how near, without perspective."""
    import numpy as np

    a, b = np.radians((turned, tilted))
    x, y, z = places.T
    x, z = x * np.cos(a) - z * np.sin(a), x * np.sin(a) + z * np.cos(a)
    return np.column_stack((x, z * np.sin(b) - y * np.cos(b), y * np.sin(b) + z * np.cos(b)))


def _text(item: Item, side: int) -> Image.Image:
    from PIL import Image, ImageDraw

    shown = Image.new("RGB", (side, side), "white")
    words = textwrap.fill(item.read().decode("utf-8"), side // 7, max_lines=side // 14)
    ImageDraw.Draw(shown).multiline_text((2, 2), words, fill="black")
    return shown


_PREVIEWS: dict[str, Callable[[Item, int], Image.Image]] = {
    "image": _image,
    "audio": _audio,
    "video": _video,
    "imu": _imu,
    "points": _points,
    "depth": _map,
    "thermal": _map,
    "text": _text,
}
