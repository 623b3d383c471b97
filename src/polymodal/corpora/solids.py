"""The corpora `solids` and `solids-control`: two to five solids before a wall, as a picture, as depth and as temperatures.
Decides what is new in the tests, and that a picture cannot tell what a map can.

Each scene is three items of the same view: a picture, a depth map in metres and a SYNTHETIC thermal map in degrees Celsius,
each with questions of its own. Solids float: on a floor, what stands higher in a picture is farther away. How large one
looks is drawn first and its distance later, and its true size follows from both (`solid_views`), so that two scenes
which differ in distances and temperatures alone have equal pictures. `solids-control` asks the questions about depth and
temperature of these pictures: what a model learns from it is what can be guessed. Logistic regression on places and sizes
in the picture, trained on the 2,400 scenes, is right about 51 % of the 1,200 pairs of the test: which is nearer. It is
right about 50 %: which is warmer, and 99 %: which looks wider.

A box of a map says which in order it is, "nearest ring" or "second hottest mug", so that what each cell shows can be
learned without a question. Splits are by scene. Of each shape one color (HELD_OUT, as in CLEVR-CoGenT, arXiv 1612.06890)
is shown, and asked about, in `held-out` alone.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from polymodal.corpora import pictures
from polymodal.corpora import solid_questions as questions
from polymodal.corpora.building import Job
from polymodal.corpora.concepts import concept
from polymodal.corpora.grammar import with_article
from polymodal.corpora.items import QA, SIDE, Box, Item
from polymodal.corpora.scene_pictures import LAYOUTS, LAYOUTS_OF
from polymodal.corpora.scene_questions import WHERE
from polymodal.corpora.solid_questions import COLORS
from polymodal.corpora.solid_shapes import PIXELS, SHAPES, focal, placed, seen
from polymodal.corpora.solid_views import Scene, Solid, tiff, views

if TYPE_CHECKING:
    import numpy as np

VERSION = 2
SEED = 53
SIZES = {"train": 2400, "val": 120, "test": 240, "held-out": 240}  # scenes
NUMBERS = (2, 3, 4, 5)  # of solids, in turn
SMALL, LARGE = (0.5, 0.58), (0.82, 0.94)  # how much of its cell a solid's longer side takes
HELD_OUT = tuple(zip(COLORS, SHAPES, strict=True))
LICENCE = "Zlib"  # PyBullet's, whose meshes are shown

Asked = dict[str, list[QA]]  # by view


def jobs(kind: str, folders: Mapping[str, Path]) -> list[Job]:
    """One job per scene. `kind`: `solids` or `solids-control`. Raises DataError if pybullet or trimesh is not installed."""
    return [_job(kind, split, number) for split, size in SIZES.items() for number in range(size)]


def plan(number: int, split: str, rng: random.Random) -> tuple[Scene, Asked]:
    """A scene of `number` solids and what each of its views is asked."""
    view, elevation = rng.uniform(35, 55), rng.uniform(15, 45)
    colors, shapes, shared = _combinations(number, split == "held-out", rng)
    metres, limit, nearer = questions.distances(number, rng)
    degrees, room, threshold, above = questions.temperatures(number, rng)
    cells = LAYOUTS[rng.choice(LAYOUTS_OF[number])]
    solids = []
    for i, place in enumerate(rng.sample(sorted(cells), number)):
        left, top, right, bottom = (value * PIXELS / SIDE for value in cells[place])
        cell = min(right - left, bottom - top)
        side, yaw = cell * rng.uniform(*rng.choice((SMALL, LARGE))), rng.uniform(0, 360)
        middle = (rng.uniform(left + side / 2, right - side / 2), rng.uniform(top + side / 2, bottom - side / 2))
        at, xyxy = placed(seen(shapes[i], elevation, yaw), focal(view), middle, side)
        solids.append(Solid(shapes[i], colors[i], place, xyxy, yaw, at, metres[i], degrees[i]))
    gray = rng.uniform(0.6, 0.95)
    scene = Scene(
        solids=solids,
        view=view,
        elevation=elevation,
        tilt=(rng.uniform(-12, 12), rng.uniform(-12, 12)),
        wall=rng.uniform(16, 20),
        gray=(gray, gray + rng.uniform(-0.05, 0.05), gray + rng.uniform(-0.05, 0.05)),
        light=(rng.uniform(-1, 1), rng.uniform(1, 2), rng.uniform(1, 2)),
        room=room,
    )
    held = [solid for solid in solids if (solid.color, solid.shape) in HELD_OUT]
    asked = questions.of_picture(solids, rng.choice(held or solids), _allowed(split == "held-out"), rng)
    if shared:
        asked.append(questions.of_color(*shared))
    depth = questions.of_depth(solids, limit, nearer, rng)
    thermal = questions.of_warmth(solids, threshold, above, rng)
    return scene, {"image": asked, "depth": depth, "thermal": thermal}


def _allowed(held_out: bool) -> list[tuple[str, str]]:
    """What `exists` may ask for."""
    return [pair for color in COLORS for shape in SHAPES if ((pair := (color, shape)) in HELD_OUT) == held_out]


def _combinations(number: int, held_out: bool, rng: random.Random) -> tuple[list[str], list[str], tuple[str, int] | None]:
    """Colors and shapes, the shapes all different; and of three or more, a color with how many share it, as likely one as
    MOST. One at least is of HELD_OUT, or none."""
    alike = rng.randint(1, questions.MOST) if number > 2 else 1
    while True:
        shapes, first, *others = rng.sample(SHAPES, number), *rng.sample(COLORS, number - alike + 1)
        colors = rng.sample([first] * alike + others, number)
        if any(pair in HELD_OUT for pair in zip(colors, shapes, strict=True)) == held_out:
            return colors, shapes, (first, alike) if number > 2 else None


def _job(kind: str, split: str, number: int) -> Job:
    name = f"{split}-{number:04d}"
    rng = random.Random(f"{SEED}/{name}")
    scene, asked = plan(NUMBERS[number % len(NUMBERS)], split, rng)
    if kind == "solids-control":
        item = _item(kind, name, split, scene, "image", asked["depth"] + asked["thermal"])
        return Job([item], partial(_picture, scene, name))
    counted = questions.count(len(scene.solids))
    asked = {view: of if view == "image" else [*of, counted] for view, of in asked.items()}
    return Job([_item(kind, name, split, scene, view, of) for view, of in asked.items()], partial(_views, scene, name))


def _item(kind: str, name: str, split: str, scene: Scene, view: str, asked: list[QA]) -> Item:
    caption = _caption(scene, view)
    return Item(
        id=f"{name}/{view}",
        modality=view,
        file=f"{split}/{name}-{view}.{'png' if view == 'image' else 'tiff'}",
        caption=caption,
        concept=concept(_listed([with_article(solid.thing.name) for solid in scene.solids])),
        tags=["synthetic"] if view == "thermal" else [],
        group=view,
        subgroup=name,
        source=kind,
        vendor="polymodal, synthetic" if view == "thermal" else "pybullet",
        licence=LICENCE,
        split=split,
        concept_split="train",
        questions=asked,
        boxes=[
            Box(name=name, xyxy=solid.xyxy) for name, solid in zip(_named(scene.solids, view), scene.solids, strict=True)
        ],
    )


def _named(solids: Sequence[Solid], view: str) -> list[str]:
    """Of a picture "red cube"; of a map "nearest cube", "second nearest cube" and so on to "farthest cube"."""
    if view == "image":
        return [solid.thing.name for solid in solids]
    first, last = ("nearest", "farthest") if view == "depth" else ("hottest", "coldest")
    order = sorted(solids, key=lambda solid: solid.distance if view == "depth" else -solid.temperature)
    words = [first, *(f"{nth} {first}" for nth in ("second", "third", "fourth")[: len(order) - 2]), last]
    return [f"{words[order.index(solid)]} {solid.shape}" for solid in solids]


def _caption(scene: Scene, view: str) -> str:
    """ "a red cube and a blue ball"; of a map also where and how far away or how warm each is."""
    if view == "image":
        return _listed([with_article(solid.thing.name) for solid in scene.solids])
    if view == "depth":
        return "a depth map: " + _listed(
            [f"{with_article(s.shape)} {s.distance:.1f} m away {WHERE[s.place]}" for s in scene.solids]
        )
    told = [f"a thing of {s.temperature:.0f} °C {WHERE[s.place]}" for s in scene.solids]
    return f"a synthetic thermal map: {_listed(told)}"


def _listed(parts: list[str]) -> str:
    return f"{', '.join(parts[:-1])} and {parts[-1]}"


def _views(scene: Scene, name: str) -> Iterator[bytes]:
    seen = views(scene, name)
    yield _encoded(seen.rgb)
    yield tiff(seen.depth)
    yield tiff(seen.thermal)


def _picture(scene: Scene, name: str) -> Iterator[bytes]:
    yield _encoded(views(scene, name).rgb)


def _encoded(rgb: np.ndarray) -> bytes:
    from PIL import Image

    return pictures.encoded(Image.fromarray(rgb))
