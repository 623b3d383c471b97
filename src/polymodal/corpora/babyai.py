"""The corpus `babyai`: an expert walks a grid world as it is told. Decides what one decision looks like as a picture and a
question.

An item is one step of an episode: the room from above, the instruction with the actions so far, and what the expert does
next. Episodes differ by seed in train, val and test; the level HELD_OUT, which asks to put one thing next to another, is
in none of them. The expert is the bot of minigrid (BabyAI, arXiv 1810.08272); the few episodes that it does not
solve are no demonstrations and are passed over. Equal seeds give equal episodes.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from polymodal.corpora import pictures
from polymodal.corpora.building import Job
from polymodal.corpora.concepts import concept
from polymodal.corpora.items import QA, SIDE, Item
from polymodal.errors import DataError

VERSION = 1
LEVELS = ("GoToObj", "GoToLocal", "PickupLoc")
HELD_OUT = "PutNextLocal"
EPISODES = {"train": 60, "val": 6, "test": 14}  # of each level
HELD_OUT_EPISODES = 40
LONGEST = 64  # steps
HISTORY = 4  # actions that a question repeats
ACTIONS = ("turn left", "turn right", "go forward", "pick up", "drop", "toggle", "done")  # in minigrid's order


@dataclass(frozen=True)
class Episode:
    """What the expert was told and did. `actions`: indices of ACTIONS."""

    level: str
    seed: int
    mission: str
    actions: tuple[int, ...]


def jobs(folders: Mapping[str, Path]) -> list[Job]:
    """One job per episode. Raises DataError if minigrid is not installed."""
    found = []
    for level in LEVELS:
        episodes = solved(level)
        for split, number in EPISODES.items():
            found += [_job(next(episodes), split) for _ in range(number)]
    held = solved(HELD_OUT)
    return found + [_job(next(held), "held-out") for _ in range(HELD_OUT_EPISODES)]


def solved(level: str) -> Iterator[Episode]:
    """Episodes of a level that the expert solves, by seed."""
    from minigrid.utils.baby_ai_bot import BabyAIBot

    with _world(level) as world:
        seed = 0
        while True:
            mission = _begin(world, seed)
            bot, reward = BabyAIBot(world), 0.0
            actions: list[int] = []
            while len(actions) < LONGEST:
                action = int(bot.replan(actions[-1] if actions else None))
                actions.append(action)
                _, reward, over, cut, _ = world.step(action)
                if over or cut:
                    break
            if reward > 0:
                yield Episode(level, seed, mission, tuple(actions))
            seed += 1


def _world(level: str) -> Any:
    try:
        import gymnasium
        import minigrid  # noqa: F401 - registers the levels
    except ImportError as error:
        raise DataError("corpus babyai needs minigrid; install it with: pip install 'polymodal[corpora]'") from error
    return gymnasium.make(f"BabyAI-{level}-v0", render_mode="rgb_array", highlight=False).unwrapped


def _begin(world: Any, seed: int) -> str:
    """Lay out the room and return the instruction. The world prints each layout it rejects."""
    with redirect_stdout(io.StringIO()):
        return world.reset(seed=seed)[0]["mission"]


def _job(episode: Episode, split: str) -> Job:
    return Job([_item(episode, step, split) for step in range(len(episode.actions))], partial(_play, episode))


def _item(episode: Episode, step: int, split: str) -> Item:
    name = f"{episode.level}-{episode.seed:04d}/{step:02d}"
    history = ", ".join(ACTIONS[action] for action in episode.actions[max(0, step - HISTORY) : step])
    so_far = f"So far: {history}." if history else "You begin."
    ask = f"{episode.mission[0].upper()}{episode.mission[1:]}. {so_far} What do you do next?"
    return Item(
        id=name,
        modality="image",
        file=f"{name}.png",
        caption=episode.mission,
        concept=concept(episode.mission),
        group=episode.level,
        subgroup=f"{episode.level}-{episode.seed:04d}",
        source="babyai",
        vendor="minigrid",
        licence="Apache-2.0",
        split=split,
        concept_split="train",
        questions=[QA(ask=ask, answer=ACTIONS[episode.actions[step]], type="action", options=list(ACTIONS[:-1]))],
    )


def _play(episode: Episode) -> Iterator[bytes]:
    from PIL import Image

    with _world(episode.level) as world:
        _begin(world, episode.seed)
        for action in episode.actions:
            tile = SIDE // max(world.width, world.height)
            yield pictures.encoded(Image.fromarray(world.get_frame(highlight=False, tile_size=tile)))
            world.step(action)
