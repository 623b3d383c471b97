"""Does nano see what moves? Clips of stickers, of which each has a reversal with the opposite answer.

    .venv/bin/python benchmarks/video.py                        questions, the likeliest of the options offered
    .venv/bin/python benchmarks/video.py --part motion          what this branch of the projector finds likeliest, alone
    .venv/bin/python benchmarks/video.py --animated             also names the clips of the corpus `moving-emoji`

Two sets of the corpus `moving-stickers`: `test`, new clips drawn by vendors of training, and `held-out`, drawn by OpenMoji,
whose drawings are in no training data. Of most types the pictures without their order leave two answers (of `way` they show
the axis, of `first` and `last` they leave three), so that nobody who does not see the order is right more often than that.
With `--part` only types count that ask for what the branch names, motions or things, and the backbone is not run.

Stickers move as we make them. With `--animated` what moves as its artist made it is named, too: clips of `moving-emoji` of
things that stickers show. No training saw one; the drawings are those of Fluent in 3D, whose flat ones stickers are.

Controls: *frames shuffled* (another order, drawn for each clip), *one frame* (the middle one, five times), *blind* (the
mean feature of the set), and chance, the mean of one over the number of options.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict

import torch

from common import options, show, start
from polymodal import corpora, media
from polymodal.content import Part, user
from polymodal.corpora.concepts import concept
from polymodal.corpora.grammar import with_article
from polymodal.corpora.items import QA
from polymodal.corpora.scene_questions import NAMES_OFFERED
from polymodal.corpora.scene_things import THINGS
from polymodal.errors import RecipeError, nearest
from polymodal.evaluation.choice import likelihoods
from polymodal.evaluation.metrics import wilson
from polymodal.parts.base import Features
from polymodal.parts.input_projectors.tags import Tags

SETS = {"test": "new clips", "held-out": "OpenMoji"}
MOTION = ("way", "size", "presence", "turn", "action")  # types whose answer is what the clip's motion is called
THING = ("what", "first", "last")  # types whose answer is what a thing is called
CONTROLS = ("frames shuffled", "one frame", "blind")


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--limit", type=int, default=50, help="questions of each type and set, at most (drawn at random)")
    parser.add_argument("--part", help="a branch `tags` of the video projector, to be measured alone")
    parser.add_argument("--animated", action="store_true", help="also name the clips of moving-emoji, a large corpus")
    arguments = start(parser)
    import polymodal

    composition = polymodal.load(arguments.model)
    tags = branch(composition, arguments.part) if arguments.part else None
    types = None if tags is None else MOTION if tags.clip else THING
    items = corpora.read("moving-stickers")
    sets = {title: drawn([i for i in items if i.split == split], types, arguments.limit) for split, title in SETS.items()}
    if arguments.animated and types is not MOTION:
        sets["animated"] = drawn(animated(), types, arguments.limit)
    rows = [row for title, asked in sets.items() for row in score(composition, asked, title, tags)]
    line = {f"{row['set']}/{row['type']}": {key: row[key] for key in ("n", "nano", *CONTROLS)} for row in rows}
    show(arguments, "moving-stickers: the likeliest of the options offered", rows, line)


def animated() -> list:
    """The clips of `moving-emoji` that show one of THINGS moving, each asked what it is as those of stickers are."""
    names = {label: name for name, label in THINGS.items()}
    rng, items = random.Random(0), []
    for item in corpora.read("moving-emoji"):
        name = names.get(item.caption)
        if name and any(question.answer == "moving" for question in item.questions):
            offered = [name, *rng.sample(sorted(THINGS.keys() - {name}), NAMES_OFFERED - 1)]
            right, *wrong = (f"It is {with_article(each)}." for each in offered)
            asked = QA(ask="What is this?", answer=right, type="what", options=rng.sample([right, *wrong], NAMES_OFFERED))
            items.append(item.model_copy(update={"questions": [asked]}))
    return items


def drawn(items: list, types: tuple[str, ...] | None, limit: int) -> dict[str, list]:
    """{type: (item, question)}, at most `limit` of each of `types`."""
    found = defaultdict(list)
    for item in items:
        for question in item.questions:
            if types is None or question.type in types:
                found[question.type].append((item, question))
    rng = random.Random(0)
    return {type: rng.sample(pairs, min(limit, len(pairs))) for type, pairs in sorted(found.items())}


def score(composition, asked: dict[str, list], title: str, tags: Tags | None) -> list[dict]:
    """One row per type, and one of all questions together."""
    shown = {item.id: item for pairs in asked.values() for item, _ in pairs}
    clips = dict(zip(shown, encode(composition, list(shown.values())), strict=True))
    seen = {"nano": clips, **controls(clips)}
    rows, total = [], Counter()
    for type, pairs in asked.items():
        hits = Counter(n=len(pairs))
        for item, question in pairs:
            for who, features in seen.items():
                said = guess(composition, features[item.id].flatten(0, 1), question, tags)
                hits[who] += said == question.answer
            hits["chance"] += 1 / len(question.options)
        rows.append({"set": title, "type": type, **shares(hits)})
        total.update(hits)
    return [*rows, {"set": title, "type": "all", **shares(total)}]


def encode(composition, items: list) -> list[torch.Tensor]:
    """Encoder features of each clip, by frame: [F, cells, De]."""
    modality = composition.model.modalities["video"]
    out = []
    with torch.no_grad():
        for item in items:
            inputs = modality.prepare(media.load_video(item.read()))
            frames = len(next(iter(inputs.values())))
            out.append(modality.encoder([inputs]).tokens[0].unflatten(0, (frames, -1)))
    return out


def controls(clips: dict[str, torch.Tensor]) -> dict[str, dict[str, torch.Tensor]]:
    mean, rng = torch.stack(list(clips.values())).mean(0), random.Random(0)
    return {
        "frames shuffled": {name: clip[another_order(len(clip), rng)] for name, clip in clips.items()},
        "one frame": {name: clip[len(clip) // 2].expand_as(clip) for name, clip in clips.items()},
        "blind": dict.fromkeys(clips, mean),
    }


def another_order(count: int, rng: random.Random) -> list[int]:
    """Any order of so many frames but the one they are in."""
    order = straight = list(range(count))
    while order == straight:
        order = rng.sample(straight, count)
    return order


def guess(composition, feature: torch.Tensor, question: QA, tags: Tags | None) -> str:
    if tags is None:
        scores = likelihoods(composition, [user(Part("video", media=feature), question.ask)], question.options)
        return question.options[int(scores.argmax())]
    with torch.no_grad():
        each = tags.scores(Features([feature])).log_softmax(-1)  # one row of a clip, or one of each picture that is named
    scores = each[{"first": 0, "last": -1}[question.type]] if question.type in ("first", "last") else each.mean(0)
    return max(question.options, key=lambda option: scores[tags.index[named(tags, option)]])


def branch(composition, part: str) -> Tags:
    branches = composition.model.modalities["video"].projector.branches
    if part not in branches:
        raise RecipeError(f"the video projector has no branch '{part}'{nearest(part, branches)}")
    return branches[part]


def named(tags: Tags, option: str) -> str:
    """The name in an answer: "The dog moves left." ends in the motion "moves left", "It is a dog." in a thing."""
    said = option.removesuffix(".")
    return (
        next(name for name in tags.index if said.endswith(f" {name}"))
        if tags.clip
        else concept(said.removeprefix("It is "))
    )


def shares(hits: Counter) -> dict:
    n = hits["n"]
    low, high = wilson(hits["nano"], n)
    row = {"n": n, "nano": hits["nano"] / n, "95 % interval": f"{low:.3f} to {high:.3f}"}
    row |= {who: hits[who] / n for who in (*CONTROLS, "chance")}
    return row | {"above shuffled": row["nano"] - row["frames shuffled"]}


if __name__ == "__main__":
    main()
