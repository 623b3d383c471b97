"""Samples as figures for a page. Decides what stands beside a preview where people read: axes, units, motion, sound.

A preview (`polymodal.corpora.previews`) is a thumbnail without units. Here a map has a bar of colours in its unit, a series
its axes, a recording its waveform above its spectrogram and an MP3 beside it, and a clip moves. All of it is a function of
the item alone: equal items make equal bytes.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from PIL import Image

from polymodal import media
from polymodal.corpora import Item
from polymodal.corpora.items import RATE
from polymodal.corpora.previews import views

SIDE = 240  # pixels of the longer side of a picture
LARGE = 320  # of one in which there is something to read
CLIP = 200  # of a moving one
FPS = 8
SIZE = (360, 270)  # pixels of a drawing; shown at half of it, so its letters are large
DPI = 150
LETTERS = 9  # points
UNITS = {"depth": "m", "thermal": "°C"}  # of the corpora shown: a map itself does not say
BANDS, WINDOW, HOP = 257, 512, 160  # of the spectrogram: rows, samples of a window and between two


def figures(item: Item, side: int = SIDE) -> dict[str, bytes]:
    """{suffix: bytes} of the files that show an item, its picture first. `side`: of a picture, in pixels."""
    return _FIGURES[item.modality](item, side)


def _picture(item: Item, side: int) -> dict[str, bytes]:
    """As it is: the boxes that a preview draws are not what a model is shown."""
    picture = media.load_image(item.read())
    scale = side / max(picture.size)
    return {"webp": _webp(picture.resize((round(picture.width * scale), round(picture.height * scale))))}


def _cloud(item: Item, side: int) -> dict[str, bytes]:
    """From in front and from above, beside each other."""
    both = Image.new("RGB", SIZE, "white")
    for place, view in enumerate(views(media.load_points(item.read()), (SIZE[0] // 2, SIZE[1]))):
        both.paste(view, (place * SIZE[0] // 2, 0))
    return {"webp": _webp(both)}


def _clip(item: Item, side: int) -> dict[str, bytes]:
    clip = media.load_video(item.read())
    frames = list(clip.at([n / FPS for n in range(int(clip.seconds * FPS))]))
    for frame in frames:
        frame.thumbnail((CLIP, CLIP))
    return {"webp": _webp(frames[0], save_all=True, append_images=frames[1:], duration=1000 // FPS, loop=0)}


def _sound(item: Item, side: int) -> dict[str, bytes]:
    import soundfile

    samples = media.load_audio(item.read())
    seconds = len(samples) / RATE
    figure, (wave, tones) = _axes(2, (1, 2))
    wave.plot(np.arange(len(samples)) / RATE, samples, linewidth=0.3, color="#1f77b4")
    wave.set(xlim=(0, seconds), ylim=(-1.05 * np.abs(samples).max(), 1.05 * np.abs(samples).max()), yticks=[], xticks=[])
    shown = (0, seconds, 0, RATE / 2000)
    tones.imshow(spectrogram(samples), aspect="auto", origin="lower", extent=shown, cmap="magma", vmin=-70, vmax=0)
    tones.set(ylabel="kHz")
    tones.set_xlabel("s", labelpad=0)
    mp3 = io.BytesIO()
    soundfile.write(mp3, samples, RATE, format="MP3", bitrate_mode="CONSTANT", compression_level=0.85)
    return {"webp": _drawn(figure), "mp3": mp3.getvalue()}


def spectrogram(samples: np.ndarray) -> np.ndarray:
    """[BANDS, T] in decibels below the loudest, from windows of WINDOW samples, HOP apart."""
    padded = np.pad(samples, WINDOW // 2)
    windows = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP] * np.hanning(WINDOW)
    power = np.abs(np.fft.rfft(windows)).T ** 2
    return 10 * np.log10(np.maximum(power / power.max(), 1e-9))


def _series(item: Item, side: int) -> dict[str, bytes]:
    """One plot for each unit, with the channels that come with it: three axes of a sensor are three lines."""
    series = media.load_series(item.read())
    groups = list(_by_unit(series))
    figure, axes = _axes(len(groups), [1] * len(groups))
    times = np.arange(len(series.samples)) / (series.rate or 1)
    for plot, (unit, names, samples) in zip(axes, groups, strict=True):
        for name, values in zip(names, samples.T, strict=True):
            plot.plot(times, values, linewidth=0.8, label=name)
        plot.set(ylabel=unit, xlim=(0, times[-1]))
        above = {"loc": "lower right", "bbox_to_anchor": (1.02, 0.9), "ncols": len(names), "frameon": False}
        plot.legend(**above, fontsize=LETTERS, handlelength=0.7, handletextpad=0.3, columnspacing=0.7)
    for plot in axes[:-1]:
        plot.set_xticklabels([])
    axes[-1].set_xlabel("s" if series.rate else "sample", labelpad=0)
    return {"webp": _drawn(figure)}


def _by_unit(series: media.series.Series) -> Iterator[tuple[str, list[str], np.ndarray]]:
    """(unit, names of channels, samples): the channels in as many equal runs as units are stated."""
    names = list(series.channels or map(str, range(series.samples.shape[1])))
    units = (series.units or "").split(", ")
    size = len(names) // len(units)
    for place, unit in enumerate(units):
        run = slice(place * size, (place + 1) * size if place + 1 < len(units) else None)
        yield unit, names[run], series.samples[:, run]


def _map(item: Item, side: int) -> dict[str, bytes]:
    from matplotlib.colors import LogNorm

    values = media.load_map(item.read())
    near = item.modality == "depth"
    known = values[np.isfinite(values) & ((values > 0) | (not near))]
    ends = float(known.min()), float(known.max())
    look: dict[str, Any] = {"norm": LogNorm(*ends)} if near else {"vmin": ends[0], "vmax": ends[1]}
    figure, (axes,) = _axes(1, [1])
    shown = axes.imshow(values, cmap="inferno_r" if near else "inferno", interpolation="nearest", **look)
    axes.set_axis_off()
    bar = figure.colorbar(shown, ax=axes, fraction=0.05, pad=0.03, shrink=0.9)
    ticks = [tick for tick in (1, 2, 3, 5, 10, 20, 50) if ends[0] <= tick <= ends[1]] if near else None
    bar.minorticks_off()
    if ticks:
        bar.set_ticks(ticks, labels=list(map(str, ticks)))
    bar.ax.tick_params(labelsize=LETTERS, length=2, pad=1)
    bar.ax.set_title(UNITS[item.modality], fontsize=LETTERS)
    return {"webp": _drawn(figure)}


def _axes(rows: int, heights: Any) -> tuple[Any, Any]:
    """A figure and its plots from top to bottom."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(SIZE[0] / DPI, SIZE[1] / DPI), dpi=DPI, layout="constrained")
    axes = figure.subplots(rows, 1, height_ratios=heights, squeeze=False)[:, 0]
    for plot in axes:
        plot.tick_params(labelsize=LETTERS, length=2, pad=1)
        plot.xaxis.label.set_size(LETTERS)
        plot.yaxis.label.set_size(LETTERS)
    return figure, axes


def _drawn(figure: Any) -> bytes:
    png = io.BytesIO()
    figure.savefig(png, format="png")
    with Image.open(png) as picture:
        return _webp(picture.convert("RGB"))


def _webp(picture: Image.Image, **animation: Any) -> bytes:
    out = io.BytesIO()
    picture.save(out, "WEBP", quality=75, method=6, **animation)
    return out.getvalue()


_FIGURES: dict[str, Callable[[Item, int], dict[str, bytes]]] = {
    "image": _picture,
    "video": _clip,
    "audio": _sound,
    "points": _cloud,
    "imu": _series,
    "depth": _map,
    "thermal": _map,
}
