"""The corpus `moving-stickers`: two seconds of stickers of which we know how they move. Decides what a question about
motion is, and that only the order of the frames can answer it.

    moves      a thing goes left, right, up or down       which way, what it does, what it is
    resizes    grows or shrinks                           grow or shrink, what it does, what it is
    comes      appears or vanishes                        appear or vanish, what it does
    turns      clockwise or anticlockwise                 which way round, what it does
    rests      stands still                               what it does, what it is
    pair       one of two things goes somewhere           what moves, which way
    sequence   three things, one after the other          what is shown first, what last

Each clip is followed by its reversal, the same pictures from the last to the first, with the opposite answer (`rests`
has none). Whoever sees the pictures without their order can thus be right about half of `moves`, `resizes`, `comes`
and `turns`, and a third of `sequence`, and no more. Splits are those of `scenes`: new combinations in `test`, drawn by
another hand, OpenMoji, in `held-out`. `subgroup` says the motion in two words, for objectives that learn it as a name.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from polymodal.corpora import emoji, moving_emoji
from polymodal.corpora.building import Job
from polymodal.corpora.concepts import concept
from polymodal.corpora.grammar import with_article
from polymodal.corpora.items import QA, SIDE, Item
from polymodal.corpora.scene_pictures import fitted, page, stickers
from polymodal.corpora.scene_questions import NAMES_OFFERED
from polymodal.corpora.scene_things import BACKGROUNDS, THINGS
from polymodal.corpora.scenes import VENDORS
from polymodal.media.writing import mp4

if TYPE_CHECKING:
    from PIL import Image

VERSION = 1
SEED = 17
SECONDS = 2
FRAMES = SECONDS * moving_emoji.FPS
SIZES = {"train": 400, "val": 40, "test": 80, "held-out": 80}  # tracks: clips without their reversals
KINDS = ("moves", "resizes", "moves", "comes", "sequence", "moves", "turns", "pair", "moves", "rests")  # in turn
REVERSED = {"left": "right", "up": "down", "grows": "shrinks", "appears": "vanishes", "clockwise": "anticlockwise"}
REVERSED |= {after: before for before, after in REVERSED.items()}
DIRECTIONS = ("left", "right", "up", "down")
MOTIONS = (
    *(f"moves {way}" for way in DIRECTIONS),
    *("grows", "shrinks", "appears", "vanishes", "turns clockwise", "turns anticlockwise", "stands still"),
)
SMALL, LARGE = 60, 96  # pixels of the longer side of a thing that keeps its size
FAR = 84  # pixels that a thing goes, at least
MARGIN = 2

Art = Mapping[str, "Image.Image"]
Line = Sequence[float]


@dataclass(frozen=True)
class Shown:
    """A thing in a frame: the pixels of its longer side, its middle, and degrees that it is turned anticlockwise."""

    name: str
    side: float
    x: float
    y: float
    angle: float = 0.0


Frame = list[Shown]


@dataclass(frozen=True)
class Track:
    """What a clip shows. `motion`: one of MOTIONS, or None of a sequence; `names`: what moves, then what else there is, or
    all things in their order."""

    kind: str
    motion: str | None
    names: tuple[str, ...]
    frames: list[Frame]

    @property
    def caption(self) -> str:
        things = [with_article(name) for name in self.names]
        if self.motion is None:
            return ", then ".join(things)
        return f"{things[0]} {self.motion}" + "".join(f" beside {thing}" for thing in things[1:])

    def reversed(self) -> Track:
        """The same frames from the last to the first."""
        names = self.names[::-1] if self.motion is None else self.names
        motion = self.motion and " ".join(REVERSED.get(word, word) for word in self.motion.split())
        return Track(self.kind, motion, names, self.frames[::-1])


def jobs(folders: Mapping[str, Path]) -> list[Job]:
    """One job per track. `folders`: the packages of emoji by asset name. Raises DataError if a drawing is missing."""
    art = {vendor: stickers(vendor, folders) for vendor in (*VENDORS, emoji.HELD_OUT)}
    return [_job(split, number, art) for split, size in SIZES.items() for number in range(size)]


def _job(split: str, number: int, art: Mapping[str, Art]) -> Job:
    rng = random.Random(f"{SEED}/{split}/{number}")
    vendor = emoji.HELD_OUT if split == "held-out" else VENDORS[rng.randrange(len(VENDORS))]
    track = plan(KINDS[number % len(KINDS)], rng)
    color = rng.choice(list(BACKGROUNDS))
    both = [track] if track.kind == "rests" else [track, track.reversed()]
    names = [f"{split}-{number:04d}", f"{split}-{number:04d}-reversed"][: len(both)]
    items = [_item(name, split, vendor, each, questions(each, rng)) for name, each in zip(names, both, strict=True)]
    return Job(items, partial(_clips, names[0], color, both, art[vendor]))


def _item(name: str, split: str, vendor: str, track: Track, asked: list[QA]) -> Item:
    return Item(
        id=name,
        modality="video",
        file=f"{split}/{name}.mp4",
        caption=track.caption,
        concept=concept(track.names[0]),
        group=track.kind,
        subgroup=track.motion,
        source="moving-stickers",
        vendor=vendor,
        licence=emoji.VENDORS[vendor].licence,
        split=split,
        concept_split="train",
        questions=asked,
    )


def _clips(name: str, color: str, tracks: Sequence[Track], art: Art) -> Iterator[bytes]:
    ground = page(color, random.Random(name))
    shown = [drawn(frame, ground, art) for frame in tracks[0].frames]
    for number in range(len(tracks)):
        yield mp4(shown[::-1] if number else shown, moving_emoji.FPS)


def drawn(frame: Frame, ground: Image.Image, art: Art) -> Image.Image:
    """A picture like `ground` with the things of a frame on it."""
    from PIL import Image

    picture = ground.copy()
    for thing in frame:
        drawing = art[thing.name]
        drawing = drawing.resize(fitted(drawing.size, round(thing.side)), Image.Resampling.LANCZOS)
        if thing.angle:
            drawing = drawing.rotate(thing.angle, Image.Resampling.BICUBIC, expand=True)
        width, height = drawing.size
        picture.paste(drawing, (round(thing.x - width / 2), round(thing.y - height / 2)), drawing)
    return picture


def plan(kind: str, rng: random.Random) -> Track:
    """A track of one of KINDS. It and its reversal are equally likely."""
    track = _PLANS[kind](rng)
    return track if rng.random() < 0.5 else track.reversed()


def _moves(rng: random.Random) -> Track:
    name, side = rng.choice(sorted(THINGS)), rng.randint(SMALL, LARGE)
    path, free = _path(0, SIDE, side, rng), _somewhere(0, SIDE, side, rng)
    across = rng.random() < 0.5
    frames = [[Shown(name, side, *((at, free) if across else (free, at)))] for at in path]
    return Track("moves", "moves right" if across else "moves down", (name,), frames)


def _pair(rng: random.Random) -> Track:
    moving, resting = rng.sample(sorted(THINGS), 2)
    sides, across = [rng.randint(SMALL, 84) for _ in "ab"], rng.random() < 0.5
    halves = [(0, SIDE // 2), (SIDE // 2, SIDE)]
    rng.shuffle(halves)
    path, lane = _path(0, SIDE, sides[0], rng), _somewhere(*halves[0], sides[0], rng)
    still = _somewhere(0, SIDE, sides[1], rng), _somewhere(*halves[1], sides[1], rng)
    other = Shown(resting, sides[1], *(still if across else still[::-1]))
    frames = [[Shown(moving, sides[0], *((at, lane) if across else (lane, at))), other] for at in path]
    return Track("pair", "moves right" if across else "moves down", (moving, resting), frames)


def _resizes(rng: random.Random) -> Track:
    name, small, large = rng.choice(sorted(THINGS)), rng.randint(44, 70), rng.randint(130, 180)
    x, y = (_somewhere(0, SIDE, large, rng) for _ in "xy")
    return Track("resizes", "grows", (name,), [[Shown(name, side, x, y)] for side in line(small, large)])


def _comes(rng: random.Random) -> Track:
    thing = _alone(rng.choice(sorted(THINGS)), rng)
    begin = rng.randint(FRAMES // 3, FRAMES - FRAMES // 3)
    frames = [[thing] if number >= begin else [] for number in range(FRAMES)]
    return Track("comes", "appears", (thing.name,), frames)


def _turns(rng: random.Random) -> Track:
    name, side, begin, far = rng.choice(sorted(THINGS)), rng.randint(90, 130), rng.uniform(0, 360), rng.uniform(120, 180)
    x, y = (_somewhere(0, SIDE, 1.42 * side, rng) for _ in "xy")
    frames = [[Shown(name, side, x, y, angle)] for angle in line(begin, begin + far)]
    return Track("turns", "turns anticlockwise", (name,), frames)


def _rests(rng: random.Random) -> Track:
    thing = _alone(rng.choice(sorted(THINGS)), rng)
    return Track("rests", "stands still", (thing.name,), [[thing]] * FRAMES)


def _sequence(rng: random.Random) -> Track:
    things = [_alone(name, rng) for name in rng.sample(sorted(THINGS), 3)]
    third = FRAMES // 3
    cuts = rng.randint(third - 1, third), FRAMES - rng.randint(third - 1, third)
    frames = [[things[(number >= cuts[0]) + (number >= cuts[1])]] for number in range(FRAMES)]
    return Track("sequence", None, tuple(thing.name for thing in things), frames)


_PLANS: dict[str, Callable[[random.Random], Track]] = {
    "moves": _moves,
    "resizes": _resizes,
    "comes": _comes,
    "turns": _turns,
    "rests": _rests,
    "pair": _pair,
    "sequence": _sequence,
}


def _alone(name: str, rng: random.Random) -> Shown:
    side = rng.randint(SMALL, 150)
    return Shown(name, side, _somewhere(0, SIDE, side, rng), _somewhere(0, SIDE, side, rng))


def _somewhere(low: float, high: float, side: float, rng: random.Random) -> float:
    """Where the middle of what is `side` long may be between two edges."""
    return rng.uniform(low + side / 2 + MARGIN, high - side / 2 - MARGIN)


def _path(low: float, high: float, side: float, rng: random.Random) -> Line:
    """Middles from lower to higher, at least FAR apart, as likely near one edge as near the other."""
    begin, end = low + side / 2 + MARGIN, high - side / 2 - MARGIN
    far = rng.uniform(FAR, end - begin)
    start = rng.uniform(begin, end - far)
    return line(start, start + far)


def line(start: float, end: float, frames: int = FRAMES) -> Line:
    """`frames` numbers at equal distances, from the first to the last."""
    return [start + (end - start) * number / (frames - 1) for number in range(frames)]


def questions(track: Track, rng: random.Random) -> list[QA]:
    """What a track is asked. `type`: way, size, presence, turn, action, what, mover, first, last."""
    if track.motion is None:
        places = (("first", track.names[0]), ("last", track.names[-1]))
        return [_named(at, f"What is shown {at}?", name, track.names, rng) for at, name in places]
    motion = track.motion.split()[-1]
    named = _named("what", "What is this?", track.names[0], _offered(track.names[0], rng), rng)
    action = _qa("action", "What does it do?", track.motion, MOTIONS, "It {}.")
    if track.kind == "pair":
        mover = _qa("mover", "What moves?", track.names[0], rng.sample(track.names, 2), "The {} moves.")
        ask = f"Which way does the {track.names[0]} move?"
        return [mover, _qa("way", ask, motion, DIRECTIONS, f"The {track.names[0]} moves {{}}.")]
    if track.kind == "moves":
        return [_qa("way", "Which way does it move?", motion, DIRECTIONS, "It moves {}."), action, named]
    if track.kind == "resizes":
        return [_qa("size", "Does it grow or shrink?", motion, ("grows", "shrinks"), "It {}."), action, named]
    if track.kind == "comes":
        return [_qa("presence", "Does it appear or vanish?", motion, ("appears", "vanishes"), "It {}."), action]
    if track.kind == "turns":
        ask, round = "Does it turn clockwise or anticlockwise?", ("clockwise", "anticlockwise")
        return [_qa("turn", ask, motion, round, "It turns {}."), action]
    return [action, named]


def _offered(name: str, rng: random.Random) -> list[str]:
    return [name, *rng.sample(sorted(THINGS.keys() - {name}), NAMES_OFFERED - 1)]


def _named(type: str, ask: str, right: str, offered: Sequence[str], rng: random.Random) -> QA:
    answers = [f"It is {with_article(name)}." for name in rng.sample(offered, len(offered))]
    return QA(ask=ask, answer=f"It is {with_article(right)}.", type=type, options=answers)


def _qa(type: str, ask: str, right: str, offered: Sequence[str], answer: str) -> QA:
    return QA(ask=ask, answer=answer.format(right), type=type, options=[answer.format(option) for option in offered])
