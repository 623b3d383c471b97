"""What a model makes of "a rocket grows": the right thing, and does it do what it should?

    .venv/bin/python benchmarks/clips_made.py --model runs/nano-v3-pt-clip/model [--limit 110]

Clips of the corpus `emoji-motions`: pairs of a thing and a motion that the generator was trained on, and pairs that were
held out, one clip of each.

*motion*: read from the pixels by rule, without a network (`motion`): when there is anything on the page, how its area and
its place change, and by which angle each frame has to be turned to look like the next. Of eleven. What looks the same
whichever way it is turned cannot be told from what stands still; the real clips say how often that is.
*thing*: the first guess of a classifier that learned 64 things from crops of real training clips (see emoji_judge).
*both*: in the same clip.

Beside it: real clips, of which those that were held out are new to the judge, the same through the autoencoder, and the
made ones judged by the caption of another (*shuffled*). By chance it is 1/11 and 1/64.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

import polymodal
from common import options, show, start
from emoji_judge import Judge, Pair, trained
from polymodal import corpora
from polymodal.corpora.moving_stickers import MOTIONS
from polymodal.evaluation.metrics import wilson
from polymodal.evaluation.motions import INK, motion
from polymodal.media.video import load_video
from polymodal.parts.generators.pictures import pictures
from polymodal.parts.output import Target

OUTPUT = "clip"  # as recipes/nano/v3-pt-clip.yaml calls it
SHOWN = 16  # real clips of each thing, from which the judge learns


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--limit", type=int, default=110, help="clips of each set, at most")
    parser.add_argument("--folder", type=Path, default=Path("runs/clips-made"), help="for the judge and sheets of frames")
    arguments = start(parser)
    generator = polymodal.load(arguments.model).model.designs[OUTPUT].made_by()
    generator = getattr(generator, "of", generator)  # of one that reads prompts
    items = corpora.read("emoji-motions")
    judge = trained(lessons(items), arguments.folder / "thing-judge.safetensors")
    rows: list[dict[str, Any]] = []
    kinds: dict[str, dict[str, list[bool]]] = {}

    def rate(who: str, clips: Sequence[np.ndarray], wanted: Sequence[Any]) -> None:
        moves = [motion(clip) == item.subgroup for clip, item in zip(clips, wanted, strict=True)]
        things = named(judge, clips, wanted)
        both = [a and b for a, b in zip(moves, things, strict=True)]
        low, high = wilson(sum(both), len(both))
        means = {name: float(np.mean(hits)) for name, hits in (("motion", moves), ("thing", things), ("both", both))}
        rows.append({"clips": who, "n": len(wanted), **means, "95 % of both": f"{low:.3f} to {high:.3f}"})
        for item, hit in zip(wanted, moves, strict=True):
            kinds.setdefault(item.subgroup, {}).setdefault(who, []).append(hit)

    for name, split in (("trained", "train"), ("held out", "test")):
        wanted = chosen([item for item in items if item.split == split], arguments.limit)
        real = [generator.prepare(load_video(item.read())) for item in wanted]
        rate(f"real, {name}", [levels(clip) for clip in real], wanted)
        with torch.no_grad():
            again = generator.vae.decode(generator.vae.encode(torch.cat(real)).latent).sample.split(generator.frames)
        rate(f"autoencoder, {name}", [levels(clip) for clip in again], wanted)
        made = makes(generator, [item.caption for item in wanted])
        rate(f"made, {name}", made, wanted)
        rate(f"made, {name}, shuffled", made, wanted[1:] + wanted[:1])
        sheet([levels(clip) for clip in real], made, arguments.folder / f"{name.replace(' ', '-')}.png")
    line = {
        "rates": rows,
        "motions": {kind: {who: float(np.mean(h)) for who, h in of.items()} for kind, of in kinds.items()},
    }
    show(arguments, "clips", rows, line)
    if not arguments.json:
        columns = ("real, held out", "made, trained", "made, held out")
        show(arguments, "motion by motion", [by(kind, kinds[kind], columns) for kind in MOTIONS if kind in kinds], line)


def by(kind: str, hits: dict[str, list[bool]], columns: Sequence[str]) -> dict[str, Any]:
    return {"motion": kind, **{who: f"{sum(hits.get(who, []))} of {len(hits.get(who, []))}" for who in columns}}


def chosen(items: Sequence[Any], limit: int) -> list[Any]:
    """One clip of each pair of thing and motion, `limit` of them, in an order by chance."""
    pairs = {item.caption: item for item in items}
    return random.Random(0).sample(list(pairs.values()), min(limit, len(pairs)))


def makes(generator: Any, captions: Sequence[str], seed: int = 0, at_once: int = 16) -> list[np.ndarray]:
    """A clip for each caption: uint8 [frames, 64, 64, 3]."""
    noise, made = torch.Generator().manual_seed(seed), []
    for first in range(0, len(captions), at_once):
        told = generator.condition([Target(caption) for caption in captions[first : first + at_once]])
        made += [np.stack([np.asarray(frame) for frame in clip]) for clip, _ in generator.make(told, noise)]
    return made


def levels(clip: torch.Tensor) -> np.ndarray:
    """[F, 3, H, W] from -1 to 1 -> uint8 [F, H, W, 3]."""
    return np.stack([np.asarray(frame) for frame in pictures(clip)])


def cropped(clip: np.ndarray) -> np.ndarray:
    """The thing of a clip: the square around it in the first frame that shows nearly the most of it, 64 x 64."""
    ink = (255 - clip.min(-1).astype(int)) > INK
    area = ink.sum((1, 2))
    frame = int(np.argmax(area >= 0.8 * area.max()))
    ys, xs = np.nonzero(ink[frame]) if area.max() else (np.array([0, 63]), np.array([0, 63]))
    side = max(np.ptp(xs), np.ptp(ys)) / 2 + 3
    x, y = (xs.min() + xs.max()) / 2, (ys.min() + ys.max()) / 2
    page = Image.new("RGB", (128, 128), "white")
    page.paste(Image.fromarray(clip[frame]), (32, 32))
    box = tuple(round(32 + edge) for edge in (x - side, y - side, x + side, y + side))
    return np.asarray(page.crop(box).resize((64, 64), Image.Resampling.BICUBIC))


def lessons(items: Sequence[Any]) -> list[Pair]:
    """Crops of real training clips, SHOWN of each thing."""
    trained_on = [item for item in items if item.split == "train"]
    random.Random(1).shuffle(trained_on)
    of: dict[str, list[Any]] = {}
    for item in trained_on:
        of.setdefault(item.concept, []).append(item)
    some = [item for each in of.values() for item in each[:SHOWN]]
    return [Pair(item.caption, item.concept, "noto", False, cropped(opened(item))) for item in some]


def opened(item: Any) -> np.ndarray:
    """A real clip of eight frames, uint8 [8, 64, 64, 3]."""
    video = load_video(item.read())
    frames = video.at([(number + 0.5) * video.seconds / 8 for number in range(8)])
    return np.stack([np.asarray(frame.resize((64, 64), Image.Resampling.LANCZOS)) for frame in frames])


@torch.no_grad()
def named(judge: Judge, clips: Sequence[np.ndarray], wanted: Sequence[Any]) -> list[bool]:
    """Whether the judge's first guess is the thing of each caption."""
    pictures = torch.from_numpy(np.stack([cropped(clip) for clip in clips]))
    guessed = judge.eval()(judge.features(pictures))[0].argmax(1)
    return [judge.concepts[number] == item.concept for number, item in zip(guessed.tolist(), wanted, strict=True)]


def sheet(real: Sequence[np.ndarray], made: Sequence[np.ndarray], file: Path, rows: int = 24) -> None:
    """A line for each clip: the frames of the real one, and those of the made one."""
    lines = [np.concatenate([*a, *b], 1) for a, b in zip(real[:rows], made[:rows], strict=True)]
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.concatenate(lines)).save(file)


if __name__ == "__main__":
    main()
