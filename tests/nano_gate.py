"""What polymodal-nano could do when its weights were last replaced, and how that is measured again.

    .venv/bin/python -m tests.nano_gate        writes measured.json beside the weights

Small enough for every test run: some dozens of held-out items of each modality that nano has, from fetched assets without
building a corpus, answered in words. The blind model, which is told the mean feature of all items in place of each, is
measured when the weights are replaced, and not again. `benchmarks/` has the full measurements.

    photographs    every second one of 206; their concepts are in no training
    speech         40 sentences of known words by Piper's joe, new ones
    instruments    one clip of each that is trained on, an octave above what was heard of it
    clips          stickers by OpenMoji that move: which way, or what they do
    exercises      two seconds of a smart watch, worn by the two people of the test
    furniture      19 models in the public domain, unseen ones of families that are trained on
    depth, thermal new scenes: how many things, which is nearest or hottest, whether any is beyond a limit

The asset of furniture would be 120 MB to fetch, so these points lie beside this file; `keep_furniture` wrote them.
"""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import polymodal
from polymodal import assets, corpora, media
from polymodal.content import Part, user
from polymodal.corpora import CORPORA, Item
from polymodal.corpora.building import Job
from polymodal.corpora.kinds import kind
from polymodal.evaluation.metrics import bootstrap, contains, wilson, word_errors
from polymodal.model.composition import Composition
from polymodal.model.generation import Sampling
from polymodal.parts.input_projectors.tags import Tags

FILE = polymodal.CHECKPOINTS["nano"] / "measured.json"
FURNITURE = Path(__file__).parent / "furniture.safetensors"
BATCH = 16
SENTENCES, TRACKS, WINDOWS, SCENES = 40, 16, 32, 24
Measured = dict[str, float]


@dataclass(frozen=True)
class Asked:
    """A medium, what is asked about it, and what the answer must be, or hold."""

    medium: Any
    ask: str
    answer: str


@dataclass(frozen=True)
class Ability:
    """What is asked of a modality. `named`: of an input that names what it hears, and does not only write it down.
    `errors`: it is the word error rate that is measured, of which less is better, and not the share of right answers."""

    modality: str
    asked: Callable[[], Iterator[Asked]]
    named: bool = False
    errors: bool = False
    needs: tuple[str, ...] = ()  # what makes the media, and has no wheels for every Python


def photographs() -> Iterator[Asked]:
    for item, data in _made(_jobs("photos12")[::2]):
        yield Asked(data, "What kind of thing is this?", f"This is a type of {kind(item)}.")


def sentences() -> Iterator[Asked]:
    found = [job for job in _jobs("sentences") if all(i.split == "test" and "known-words" in i.tags for i in job.items)]
    for item, data in itertools.islice(_made(found), SENTENCES):
        yield Asked(data, "Repeat what you hear.", item.text or "")


def instruments() -> Iterator[Asked]:
    for job in _jobs("instruments"):
        item, data = next(((i, d) for i, d in _made([job]) if i.split == "held-out"), (None, None))
        if item:
            yield Asked(data, "Which instrument is this?", item.concept)


def clips() -> Iterator[Asked]:
    held_out = [job for job in _jobs("moving-stickers") if job.items[0].split == "held-out"]
    for item, data in _made(held_out[:TRACKS]):
        for question in item.questions:
            if question.type in ("way", "size", "presence", "turn") or item.group == "rests":
                yield Asked(data, question.ask, question.answer)
                break


def exercises() -> Iterator[Asked]:
    tested = [job for job in _jobs("motion") if job.items[0].split == "test" and job.items[0].group == "watch-motion"]
    for item, data in _made(tested[:: len(tested) // WINDOWS]):
        yield Asked(data, item.questions[0].ask, item.concept)


def furniture() -> Iterator[Asked]:
    from safetensors import safe_open

    with safe_open(FURNITURE, "numpy") as file:
        points, names = file.get_tensor("points"), json.loads(file.metadata()["names"])
    for cloud, name in zip(points, names, strict=True):
        yield Asked(cloud.astype("float32"), "What is this?", name)


def maps(view: str) -> Iterator[Asked]:
    for item, data in _scenes():
        if item.modality == view:
            for question in item.questions:
                if question.type in ("count", "nearest", "hottest", "within", "above"):
                    yield Asked(data, question.ask, question.answer)


ABILITIES = {
    "photographs": Ability("image", photographs),
    "speech, word error rate": Ability("audio", sentences, errors=True),
    "instruments": Ability("audio", instruments, named=True, needs=("tinysoundfont",)),
    "clips": Ability("video", clips),
    "exercises": Ability("imu", exercises),
    "furniture": Ability("points", furniture),
    "depth": Ability("depth", partial(maps, "depth"), needs=("pybullet",)),
    "thermal": Ability("thermal", partial(maps, "thermal"), needs=("pybullet",)),
}


def abilities(composition: Composition) -> list[str]:
    """Those of ABILITIES that a model has the inputs for."""
    inputs = composition.model.modalities
    naming = {name for name, part in inputs.items() if any(isinstance(m, Tags) for m in part.projector.modules())}
    return [name for name, of in ABILITIES.items() if of.modality in (naming if of.named else inputs)]


def measure(composition: Composition, name: str, blind: bool = False) -> Measured:
    """The value of one ability, and the interval it may move in; with `blind` that of the blind model, too."""
    ability = ABILITIES[name]
    asked = list(ability.asked())
    features = encoded(composition, ability.modality, [one.medium for one in asked])
    value, low, high = score(ability, asked, answers(composition, ability.modality, features, asked))
    found = {"value": value, "low": low, "high": high}
    if blind:
        shortest = min(map(len, features))
        mean = torch.stack([rows[:shortest] for rows in features]).mean(0)
        unlike = {one.ask: one for one in asked}  # what is asked twice it answers alike
        said = answers(composition, ability.modality, [mean] * len(unlike), list(unlike.values()))
        guessed = dict(zip(unlike, said, strict=True))
        found["blind"], *_ = score(ability, asked, [guessed[one.ask] for one in asked])
    return found


def score(ability: Ability, asked: Sequence[Asked], said: Sequence[str]) -> tuple[float, float, float]:
    """A value and its 95 % interval."""
    if ability.errors:
        errors = [word_errors(one.answer, answer) for one, answer in zip(asked, said, strict=True)]
        return sum(e for e, _ in errors) / sum(n for _, n in errors), *bootstrap(errors)
    right = sum(contains(one.answer, answer) for one, answer in zip(asked, said, strict=True))
    return right / len(asked), *wilson(right, len(asked))


@torch.no_grad()
def encoded(composition: Composition, modality: str, shown: Sequence[Any]) -> list[Tensor]:
    """The encoder's features [N, De] of each medium."""
    encoder, found = composition.model.modalities[modality].encoder, []
    for start in range(0, len(shown), BATCH):
        loaded = [media.load(Part(modality, media=medium)) for medium in shown[start : start + BATCH]]
        found += encoder([encoder.prepare(medium) for medium in loaded]).tokens
    return found


def answers(composition: Composition, modality: str, features: list[Tensor], asked: Sequence[Asked]) -> list[str]:
    found: list[str] = []
    for start in range(0, len(asked), BATCH):
        pairs = list(zip(features, asked, strict=True))[start : start + BATCH]
        prompts = [[user(Part(modality, media=rows), one.ask)] for rows, one in pairs]
        for parts in composition.generate(prompts, Sampling(max_new_tokens=24)):
            found.append("".join(part.text or "" for part in parts))
    return found


def _jobs(name: str) -> Sequence[Job]:
    return CORPORA[name].jobs({asset: assets.path(asset) for asset in CORPORA[name].assets})


def _made(jobs: Sequence[Job]) -> Iterator[tuple[Item, bytes]]:
    return ((item, data) for job in jobs for item, data in zip(job.items, job.make(), strict=True))


@cache
def _scenes() -> list[tuple[Item, bytes]]:
    return list(_made([job for job in _jobs("solids") if job.items[0].split == "test"][:SCENES]))


def keep_furniture() -> None:
    """Write the points of the models that no training saw and nobody owns, from the built corpus `furniture`."""
    import numpy as np
    from safetensors.numpy import save_file

    kept = [i for i in corpora.read("furniture") if i.split == "held-out" and i.licence == "CC0-1.0"]
    some = np.random.default_rng(0).permutation(1024)[:512]
    points = np.stack([media.load(Part("points", media=i.read()))[some] for i in kept]).astype(np.float16)
    about = {"names": json.dumps([i.subgroup for i in kept]), "licence": "CC0-1.0", "source": "Sweet Home 3D, BlendSwap"}
    save_file({"points": points}, FURNITURE, about)


if __name__ == "__main__":
    nano = polymodal.load("nano")
    everything = {name: measure(nano, name, blind=True) for name in abilities(nano)}
    FILE.write_text(json.dumps(everything, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(FILE.read_text(encoding="utf-8"))
