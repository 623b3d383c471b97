"""What a clip of something on white does, read from its pixels by rule: when there is anything on the page, how its area
and its place change, and by which angle each frame has to be turned to look like the next. Decides it without a network, so
that a clip that was made is judged by nothing that learned from clips. What looks the same whichever way it is turned
cannot be told from what stands still.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

INK = 30  # levels below white from which a pixel is of the thing
SEEN = 20  # pixels of a thing that is there
GROWN = 1.8  # times the area
GONE = 9.0  # pixels that what moves goes
TURN = 21.0  # degrees between two frames of what turns, about
TURNS = {0.0: "stands still", TURN: "turns anticlockwise", -TURN: "turns clockwise"}


def motion(clip: np.ndarray) -> str:
    """Which of MOTIONS a clip on white shows. uint8 [F, H, W, 3]."""
    ink = (255 - clip.min(-1).astype(int)) > INK
    area = ink.sum((1, 2))
    there = area >= SEEN
    if there[0] != there[-1]:
        return "appears" if there[-1] else "vanishes"
    if not there[0]:
        return "nothing"
    if not 1 / GROWN < area[-1] / area[0] < GROWN:
        return "grows" if area[-1] > area[0] else "shrinks"
    first, last = place(ink[0]), place(ink[-1])
    across, down = last[0] - first[0], last[1] - first[1]
    if max(abs(across), abs(down)) > GONE:
        if abs(across) > abs(down):
            return "moves right" if across > 0 else "moves left"
        return "moves down" if down > 0 else "moves up"
    frames = [centred(frame, middle(mask)) for frame, mask, is_there in zip(clip, ink, there, strict=True) if is_there]
    return TURNS[min(TURNS, key=lambda angle: unlike(frames, angle))]


def place(ink: np.ndarray) -> tuple[float, float]:
    """Half-way between the edges, which what only turns leaves where they are, but for 5 % of the pixels at each."""
    ys, xs = np.nonzero(ink)
    return float(np.percentile(xs, (5, 95)).mean()), float(np.percentile(ys, (5, 95)).mean())


def middle(ink: np.ndarray) -> tuple[float, float]:
    ys, xs = np.nonzero(ink)
    return float(xs.mean()), float(ys.mean())


def centred(frame: np.ndarray, at: tuple[float, float]) -> Image.Image:
    """The frame moved so that `at` is its middle."""
    high, wide = frame.shape[:2]
    shift = (1, 0, at[0] - (wide - 1) / 2, 0, 1, at[1] - (high - 1) / 2)
    how = Image.Transform.AFFINE, shift, Image.Resampling.BILINEAR
    return Image.fromarray(frame).transform((wide, high), *how, fillcolor="white")


def unlike(frames: Sequence[Image.Image], angle: float) -> float:
    """How unlike each frame, turned by `angle`, is to the next: a mean over pixels."""
    turned = [frame.rotate(angle, Image.Resampling.BILINEAR, fillcolor="white") for frame in frames[:-1]]
    pairs = zip(turned, frames[1:], strict=True)
    return float(np.mean([np.abs(np.asarray(a, int) - np.asarray(b, int)).mean() for a, b in pairs]))
