"""Does nano name what is not seen or heard as pictures and speech: points, motion, sounds? Of what no training saw.

    .venv/bin/python benchmarks/senses.py --model runs/nano-v2-pt-senses/model

One row for each sense and set: the name that its `tags` projector finds likeliest, and whether the right one is among the
two that the backbone is told. With `--ask`, nano is asked in words too; the answer must hold the name, in letters.

* points, unseen models: of families that are trained on, models (furniture) or makes (parts) that are not.
* imu, unseen people: windows of two seconds by persons 9 and 10; the clips of BasicMotions, whose people are not known.
* audio, unseen pitches: trained instruments above an octave that they were never heard in; real recordings: GCompris'.

Controls: *shuffled* (the media of others), *blind* (the mean of all features), *majority* (the best constant answer) and
chance. Points are also read in another order, and turned: about the vertical, and any way.
"""

from __future__ import annotations

import argparse
import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from common import options, show, start
from polymodal import corpora
from polymodal.content import Part, user
from polymodal.corpora import Item
from polymodal.corpora.concepts import concept
from polymodal.corpora.instruments import KINDS
from polymodal.evaluation.metrics import contains, wilson
from polymodal.model.generation import Sampling
from polymodal.parts.base import Features
from polymodal.parts.input_projectors.tags import Tags

BATCH = 32
SPOKEN = 40  # recordings of voices that no training heard
RECORDED = {"guitar": "classical guitar", "horn": "french horn", "organ": "church organ"}  # GCompris' names -> the font's
STRUCK = ("bongo", "castanet", "cymbal", "drum kit", "snare drum", "tambourine", "triangle")  # which the font does not have


@dataclass
class Set:
    """Items of one modality with the name of each. `question`: what nano is asked."""

    title: str
    modality: str
    question: str
    items: list[Item]
    names: list[str]
    tags: Tags


def sets(known: dict[str, list[Tags]]) -> Iterator[Set]:
    """What is measured, for the modalities that a model names."""
    if "points" in known:
        for title, corpus, of in (("furniture", "furniture", "subgroup"), ("parts", "parts3d", "group")):
            items = [
                i for i in corpora.read(corpus) if i.split == "held-out" and getattr(i, of) in known["points"][0].index
            ]
            names = [getattr(i, of) for i in items]
            yield Set(f"{title}, unseen models", "points", "What is this?", items, names, known["points"][0])
    if "imu" in known:
        tested = [i for i in corpora.read("motion") if i.split == "test"]
        for title, group, question in (
            ("exercises, unseen people", "watch-motion", "Which exercise is this?"),
            ("activities", "basic-motions", "What is this person doing?"),
        ):
            items = [i for i in tested if i.group == group]
            yield Set(title, "imu", question, items, [i.concept for i in items], known["imu"][0])
    if "audio" in known:
        yield from sounds(known["audio"])


def sounds(tags: list[Tags]) -> Iterator[Set]:
    """Instruments by name and by how they are played, of the sound font and as GCompris recorded them; and speech."""
    played = {concept(name): kind for kind, named in KINDS.items() for name in named.values()}
    played |= dict.fromkeys(STRUCK, "by hitting it")
    font = corpora.read("instruments")
    real = [i for i in corpora.read("gcompris") if i.modality == "audio" and i.subgroup == "instruments"]
    heard = {item.id: RECORDED.get(item.concept, item.concept) for item in real}
    voices = [i for i in corpora.read("utterances") if i.split == "test"]
    for part in tags:
        by_name = "flute" in part.index
        said = "Which instrument is this?" if by_name else "How is this instrument played?"
        name = (lambda i: i.concept) if by_name else (lambda i: i.group)
        chosen = {"unseen pitches": [i for i in font if i.split == "held-out"]}
        if not by_name:
            chosen["unseen instruments"] = [i for i in font if i.split in ("test", "val")]
        for title, items in chosen.items():
            yield Set(title, "audio", said, items, [name(i) for i in items], part)
        recorded = {i.id: heard[i.id] if by_name else played.get(heard[i.id]) for i in real}
        items = [i for i in real if recorded[i.id] in part.index]
        yield Set("real recordings", "audio", said, items, [recorded[i.id] for i in items], part)
        items = random.Random(0).sample(voices, SPOKEN)
        yield Set("unseen voices", "audio", "What is this?", items, ["speech"] * SPOKEN, part)


def tags_of(composition: Any) -> dict[str, list[Tags]]:
    """The learned `tags` projectors of each modality that has any and is no picture."""
    found = {}
    for name, part in composition.model.modalities.items():
        learned = [m for m in part.projector.modules() if isinstance(m, Tags) and list(m.classifier.parameters())]
        if learned and name != "image":
            found[name] = learned
    return found


@torch.no_grad()
def encode(composition: Any, modality: str, loaded: list[Any]) -> list[Tensor]:
    """Loaded media -> features of each."""
    encoder, out = composition.model.modalities[modality].encoder, []
    for at in range(0, len(loaded), BATCH):
        out += encoder([encoder.prepare(one) for one in loaded[at : at + BATCH]]).tokens
    return out


@torch.no_grad()
def named(tags: Tags, features: list[Tensor], names: list[str]) -> dict[str, Any]:
    """How often the right name is the likeliest, and among two."""
    best = tags.scores(Features(features)).topk(2).indices.tolist()
    right = [tags.index[name] for name in names]
    first = sum(wanted == found[0] for wanted, found in zip(right, best, strict=True))
    return share(first, len(right)) | {"of two": sum(w in found for w, found in zip(right, best, strict=True)) / len(right)}


def share(hits: int, n: int) -> dict[str, Any]:
    low, high = wilson(hits, n)
    return {"n": n, "accuracy": hits / n, "95 % interval": f"{low:.3f} to {high:.3f}", "of two": ""}


def whole(tags: Tags, features: list[Tensor]) -> list[Tensor]:
    """The mean feature of all items, in place of each: what a blind model is given."""
    read = torch.stack([tags.read(rows) for rows in features]).mean(0)
    return [read.reshape(-1, features[0].shape[-1])] * len(features)


def turned(cloud: np.ndarray, rng: np.random.Generator, upright: bool) -> np.ndarray:
    """A cloud turned by a random angle about the vertical, or any way (QR of a Gaussian matrix is uniform)."""
    turn, upper = np.linalg.qr(rng.normal(size=(3, 3)))
    turn *= np.sign(np.diag(upper))
    turn[:, 0] *= np.linalg.det(turn)
    if upright:
        angle = rng.uniform(0, 2 * np.pi)
        turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    return np.column_stack((cloud[:, :3] @ turn.T, cloud[:, 3:])).astype(np.float32)


def changes(modality: str) -> dict[str, Callable[[Any], Any]]:
    """Other ways to show the same, which should be named alike."""
    if modality != "points":
        return {}
    rng = np.random.default_rng(0)
    return {
        "points in another order": lambda cloud: cloud[rng.permutation(len(cloud))],
        "turned about the vertical": lambda cloud: turned(cloud, rng, upright=True),
        "turned any way": lambda cloud: turned(cloud, rng, upright=False),
    }


def asked(composition: Any, chosen: Set, features: list[Tensor]) -> dict[str, Any]:
    """How often nano's answer in words holds the name."""
    hits = 0
    for at in range(0, len(features), BATCH):
        prompts = [[user(Part(chosen.modality, media=x), chosen.question)] for x in features[at : at + BATCH]]
        answers = composition.generate(prompts, Sampling(max_new_tokens=16))
        for name, parts in zip(chosen.names[at : at + BATCH], answers, strict=True):
            hits += contains(name, "".join(part.text or "" for part in parts))
    return share(hits, len(features))


def measure(composition: Any, chosen: Set, ask: bool, heard: dict[str, Tensor]) -> Iterator[dict[str, Any]]:
    """The rows of one set. `heard`: features by place, of items that two sets share."""
    tags = chosen.tags
    places = [str(item.place) for item in chosen.items]
    new = [(place, item) for place, item in zip(places, chosen.items, strict=True) if place not in heard]
    port = composition.model.modalities[chosen.modality]
    loaded = [port.load(Part(chosen.modality, media=item.read())) for _, item in new]
    heard |= dict(zip((place for place, _ in new), encode(composition, chosen.modality, loaded), strict=True))
    features = [heard[place] for place in places]
    order = random.Random(0).sample(range(len(features)), len(features))
    said = f"{len(set(chosen.names))} of {len(tags.index)} names"
    most = Counter(chosen.names).most_common(1)[0][1]
    rows = {
        f"nano ({said})": named(tags, features, chosen.names),
        "shuffled": named(tags, [features[i] for i in order], chosen.names),
        "blind": named(tags, whole(tags, features), chosen.names),
        "majority": share(most, len(features)),
        "chance": {"n": len(features), "accuracy": 1 / len(tags.index), "95 % interval": "", "of two": 2 / len(tags.index)},
    }
    for how, change in changes(chosen.modality).items():  # of points, which no two sets share
        rows[how] = named(tags, encode(composition, chosen.modality, [change(one) for one in loaded]), chosen.names)
    if ask:
        rows["nano, asked in words"] = asked(composition, chosen, features)
        rows["asked, shuffled"] = asked(composition, chosen, [features[i] for i in order])
    for who, row in rows.items():
        yield {"set": chosen.title, "who": who, **row}


def main() -> None:
    parser: argparse.ArgumentParser = options(__doc__)
    parser.add_argument("--ask", action="store_true", help="also ask nano in words, which needs the backbone")
    arguments = start(parser)
    import polymodal

    composition = polymodal.load(arguments.model)
    known = tags_of(composition)
    heard: dict[str, Tensor] = {}
    rows = [row for chosen in sets(known) for row in measure(composition, chosen, arguments.ask, heard)]
    show(arguments, "What is named", rows, {f"{row['set']}/{row['who']}": row["accuracy"] for row in rows})


if __name__ == "__main__":
    main()
