"""The corpus `emoji-motions`: small clips of one emoji on white, to learn to make clips from. Decides which things do what.

64 of the things of sticker scenes, as Noto draws them, and the eleven motions of `moving-stickers`: every pair of both but
for those that `held_out` says, by hash, is in `train`, VIEWS times at other places, sizes and speeds. What is held out is
`test`: whoever makes such a clip knows the thing and the motion, and has not seen them together. `caption` says both, "an
umbrella moves left"; `subgroup` is the motion, `group` its kind.

There is one design only, since a caption names none, and a page without a colour of its own: a generator of a few million
weights learns in minutes what is left, things and how they move. At 128 pixels the codec keeps the colours of 64.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

from polymodal.corpora import emoji
from polymodal.corpora.building import Job
from polymodal.corpora.concepts import concept
from polymodal.corpora.grammar import with_article
from polymodal.corpora.items import Item
from polymodal.corpora.moving_stickers import MOTIONS, Art, Frame, Shown, drawn
from polymodal.corpora.moving_stickers import line as spaced
from polymodal.corpora.scene_pictures import stickers
from polymodal.media.writing import mp4

VERSION = 1
SEED = 23
VENDOR = "noto"
ASSETS = ("emojibase", emoji.VENDORS[VENDOR].asset)
SIDE = 128  # pixels
FRAMES, FPS = 8, 4
VIEWS = {"train": 4, "test": 2}  # clips of each pair of a thing and a motion
SHARE = 15  # percent of the pairs, held out
_THINGS = """
monkey, wolf, cat, unicorn, panda, hedgehog, chick, turtle, shark, octopus, crab, snail, butterfly, bee, ladybug, spider,
rose, tulip, cactus, clover, watermelon, lemon, peach, tomato, eggplant, croissant, pretzel, hamburger, taco, donut,
cupcake, lollipop, teapot, ambulance, taxi, tractor, bicycle, ship, helicopter, rocket, sun, cloud, rainbow, umbrella,
snowflake, snowman, Christmas tree, balloon, gift, trophy, soccer ball, basketball, kite, door, chair, television, camera,
candle, light bulb, key, bomb, magnet, crown, coin
"""
THINGS = tuple(name.strip() for name in _THINGS.split(","))
_KINDS = {"moves": "moves", "grows": "resizes", "shrinks": "resizes", "appears": "comes", "vanishes": "comes"}
_KINDS |= {"turns": "turns", "stands": "rests"}


def jobs(folders: Mapping[str, Path]) -> list[Job]:
    """One job per clip. `folders`: of ASSETS. Raises DataError if a drawing is missing."""
    art = stickers(VENDOR, folders)
    return [_job(name, motion, view, art) for name, motion, view in _planned()]


def held_out(name: str, motion: str) -> bool:
    """Whether no training clip shows this thing do this."""
    return int(hashlib.sha1(f"{name} {motion}".encode()).hexdigest(), 16) % 100 < SHARE


def track(name: str, motion: str, rng: random.Random) -> list[Frame]:
    """What FRAMES frames show of a thing that does one of MOTIONS."""
    return _PLANS[motion.split()[0]](name, motion, rng)


def _planned() -> Iterator[tuple[str, str, int]]:
    for name in THINGS:
        for motion in MOTIONS:
            for view in range(VIEWS["test" if held_out(name, motion) else "train"]):
                yield name, motion, view


def _job(name: str, motion: str, view: int, art: Art) -> Job:
    split = "test" if held_out(name, motion) else "train"
    label = f"{name} {motion} {view}".replace(" ", "-").lower()
    item = Item(
        id=label,
        modality="video",
        file=f"{split}/{label}.mp4",
        caption=f"{with_article(name)} {motion}",
        concept=concept(name),
        group=_KINDS[motion.split()[0]],
        subgroup=motion,
        source="emoji-motions",
        vendor=VENDOR,
        licence=emoji.VENDORS[VENDOR].licence,
        split=split,
        concept_split="train",
    )
    return Job([item], partial(_clip, track(name, motion, random.Random(f"{SEED}/{label}")), art))


def _clip(frames: list[Frame], art: Art) -> Iterator[bytes]:
    from PIL import Image

    ground = Image.new("RGB", (SIDE, SIDE), "white")
    yield mp4([drawn(frame, ground, art) for frame in frames], FPS)


def _moves(name: str, motion: str, rng: random.Random) -> list[Frame]:
    side = rng.uniform(44, 60)
    edge, far = side / 2 + 2, rng.uniform(54, SIDE - side - 4)
    start, lane = rng.uniform(edge, SIDE - edge - far), _near(rng, 14)
    path = spaced(start, start + far, FRAMES)
    if motion.split()[1] in ("left", "up"):
        path = path[::-1]
    across = motion.split()[1] in ("left", "right")
    return [[Shown(name, side, *((at, lane) if across else (lane, at)))] for at in path]


def _resizes(name: str, motion: str, rng: random.Random) -> list[Frame]:
    x, y = _near(rng, 8), _near(rng, 8)
    sides = spaced(rng.uniform(28, 40), rng.uniform(90, 106), FRAMES)
    return [[Shown(name, side, x, y)] for side in (sides if motion == "grows" else sides[::-1])]


def _comes(name: str, motion: str, rng: random.Random) -> list[Frame]:
    thing, at = _resting(name, rng), rng.randint(3, 5)
    return [[thing] if (number >= at) == (motion == "appears") else [] for number in range(FRAMES)]


def _turns(name: str, motion: str, rng: random.Random) -> list[Frame]:
    side, x, y = rng.uniform(60, 78), _near(rng, 6), _near(rng, 6)
    far = rng.uniform(130, 170) * (1 if motion.endswith("anticlockwise") else -1)
    return [[Shown(name, side, x, y, angle)] for angle in spaced(0, far, FRAMES)]


def _rests(name: str, motion: str, rng: random.Random) -> list[Frame]:
    return [[_resting(name, rng)]] * FRAMES


def _resting(name: str, rng: random.Random) -> Shown:
    return Shown(name, rng.uniform(64, 92), _near(rng, 10), _near(rng, 10))


def _near(rng: random.Random, far: float) -> float:
    return SIDE / 2 + rng.uniform(-far, far)


_PLANS: dict[str, Callable[[str, str, random.Random], list[Frame]]] = {
    **{"moves": _moves, "grows": _resizes, "shrinks": _resizes, "appears": _comes, "vanishes": _comes},
    **{"turns": _turns, "stands": _rests},
}
