"""What do fewer positions for a picture cost in answers, and what do they save in time and memory?

    .venv/bin/python benchmarks/token_cut.py --threads 1

Models that differ in their projector alone (recipes/nano/token-cut.yaml): `--model` has a position for each of the
encoder's 49 features, those of `--cut` have a third of them. All are asked the same questions about sticker scenes, drawn
and scored as `questions.py` does. `lost`: the share that the first answers right less that of the cut one, with a 95 %
interval by drawing the pictures anew, each with all its questions. Controls, of the first `--controls` questions of each
type and set: *blind* and *shuffled*, as there; `same`: these questions with their own picture.

Times are seconds of processor time, which other work on the machine takes no part in, and paired: the models take turns,
`--turns` times, and `times as fast` is the median over the turns. *prefill*: from features to the logits behind a
question. *question*: from pixels to the likeliest of its options. *training step*: eight pictures with three questions
each, features ready, through the backbone and back in bfloat16. `cache`: keys and values of a picture's positions.
"""

from __future__ import annotations

import statistics
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import NamedTuple

import torch

from common import options, show, start
from polymodal import corpora
from polymodal.content import Part, assistant, user
from polymodal.corpora import Item
from polymodal.evaluation.metrics import bootstrap
from polymodal.model.composition import Composition
from polymodal.model.sequence import collate
from polymodal.training.loop import Losses
from polymodal.training.stage import select
from questions import SETS, drawn, encode, guess

CUT = ["runs/cut-ldp-v2/model", "runs/cut-resampler-2d/model"]
PICTURES, QUESTIONS = 8, 3  # of a training step: pictures, and questions about each


class Answer(NamedTuple):
    """`who`: a model, or one of its controls."""

    set: str
    type: str
    picture: str
    who: str
    right: bool


def main() -> None:
    parser = options(__doc__)
    parser.set_defaults(model="runs/cut-mlp/model")
    parser.add_argument("--cut", nargs="+", default=CUT, help="folders of the models with fewer positions")
    parser.add_argument("--limit", type=int, default=50, help="questions of each type and set, at most (drawn at random)")
    parser.add_argument("--controls", type=int, default=20, help="those of them that the controls are asked too")
    parser.add_argument("--turns", type=int, default=15, help="of each measurement of time; 0 for none")
    arguments = start(parser)
    import polymodal

    loaded = [polymodal.load(folder) for folder in (arguments.model, *arguments.cut)]
    models = {model.recipe.inputs["image"].projector["kind"]: model for model in loaded}
    items = corpora.read("scenes")
    line = {}
    if arguments.limit:
        asked = {split: drawn([i for i in items if i.split == split], arguments.limit) for split in SETS}
        line["types"], line["answers"] = summary(list(models), answers(models, asked, arguments.controls))
        if not arguments.json:
            show(arguments, "Sticker scenes: the likeliest of the options offered", line["types"], {})
            show(arguments, "All of them", line["answers"], {})
    if arguments.turns:
        line["cost"] = cost(models, [i for i in items if i.split == "test"][:PICTURES], arguments.turns)
        if not arguments.json:
            show(arguments, f"Medians of {arguments.turns} turns, {arguments.threads} thread(s)", line["cost"], {})
    if arguments.json:
        show(arguments, "", [], line)


def answers(models: dict[str, Composition], asked: dict[str, dict[str, list]], controls: int) -> list[Answer]:
    given = []
    for split, types in asked.items():
        shown = {item.id: item for pairs in types.values() for item, _ in pairs}
        encoder = next(iter(models.values()))  # which is the same in all of them
        features = dict(zip(shown, encode(encoder, list(shown.values())), strict=True))
        mean = torch.stack(list(features.values())).mean(0)
        for type, pairs in types.items():
            unseen: dict[tuple, str] = {}  # what a blind model says is the same whenever it is asked the same
            for n, ((item, question), (other, _)) in enumerate(zip(pairs, pairs[1:] + pairs[:1], strict=True)):
                for name, model in models.items():
                    right = guess(model, "image", features[item.id], question) == question.answer
                    answer = Answer(split, type, item.id, name, right)
                    given.append(answer)
                    if n >= controls:
                        continue
                    key = (name, question.ask, *question.options)
                    if key not in unseen:
                        unseen[key] = guess(model, "image", mean, question)
                    shuffled = guess(model, "image", features[other.id], question)
                    given.append(answer._replace(who=f"{name} same"))
                    given.append(answer._replace(who=f"{name} blind", right=unseen[key] == question.answer))
                    given.append(answer._replace(who=f"{name} shuffled", right=shuffled == question.answer))
    return given


def summary(names: list[str], given: list[Answer]) -> tuple[list[dict], list[dict]]:
    """A row of each type and set, and one of each model over all of them."""
    groups = defaultdict(list)
    for answer in given:
        for group in ((SETS[answer.set], answer.type), (SETS[answer.set], "all")):
            groups[group].append(answer)
    rows = [
        {"set": title, "type": type, "n": sum(a.who == names[0] for a in group)}
        | {name: share(group, name) for name in names}
        | {f"{name} blind": share(group, f"{name} blind") for name in names}
        for (title, type), group in groups.items()
    ]
    return rows, [
        {"model": name, "n": sum(a.who == name for a in given), "right": share(given, name)}
        | {
            "lost": share(given, names[0]) - share(given, name),
            "95 % interval": "{:.3f} to {:.3f}".format(*lost(given, names[0], name)),
        }
        | {who: share(given, f"{name} {who}") for who in ("same", "blind", "shuffled")}
        for name in names
    ]


def share(given: list[Answer], who: str) -> float:
    return statistics.fmean(answer.right for answer in given if answer.who == who)


def lost(given: list[Answer], full: str, cut: str) -> tuple[float, float]:
    """The 95 % interval of the share of answers that the full model has right and the cut one has not, net."""
    difference, asked = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    for answer in given:
        picture = (answer.set, answer.picture)
        difference[picture] += answer.right * ((answer.who == full) - (answer.who == cut))
        asked[picture] += answer.who == full
    return bootstrap([(difference[picture], n) for picture, n in asked.items()])


def cost(models: dict[str, Composition], items: list[Item], turns: int) -> list[dict]:
    """One row per model; the first is what the others are compared with."""
    features = encode(next(iter(models.values())), items)
    rows: dict[str, dict] = {}
    for name, model in models.items():
        positions = model.model.modalities["image"].projected(len(features[0]))
        rows[name] = {"model": name, "positions": positions, "cache KB": positions * bytes_each(model, features[0]) / 1000}
    asked = items[0].questions[0]

    def prefills(name: str) -> None:
        prefill(models[name], features[0], asked.ask)

    def answers_one(name: str) -> None:
        guess(models[name], "image", encode(models[name], items[:1])[0], asked)

    timed(rows, "prefill", prefills, turns)
    timed(rows, "question", answers_one, turns)
    learning = {name: learner(model, items, features) for name, model in models.items()}  # no longer as they answer
    timed(rows, "training step", lambda name: learning[name](), turns)
    return list(rows.values())


def timed(rows: dict[str, dict], task: str, run: Callable[[str], None], turns: int) -> None:
    seconds: dict[str, list[float]] = {name: [] for name in rows}
    for _ in range(turns + 1):  # the first is a warm-up
        for name in rows:
            began = time.process_time()
            run(name)
            seconds[name].append(time.process_time() - began)
    full = seconds[next(iter(rows))]
    for name, own in seconds.items():
        ratio = statistics.median(a / b for a, b in zip(full[1:], own[1:], strict=True))
        rows[name] |= {f"{task} s": statistics.median(own[1:]), f"{task}: times as fast": ratio}


@torch.no_grad()
def prefill(composition: Composition, feature: torch.Tensor, ask: str):
    """The cache behind a picture's features [N, De] and a question about it."""
    prompt = composition.processor.encode([user(Part("image", media=feature), ask)], generate=True)
    embeds = composition.model.embed(collate([prompt], composition.processor.pad_id))
    return composition.model.backbone.lm(inputs_embeds=embeds, use_cache=True, logits_to_keep=1).past_key_values


def bytes_each(composition: Composition, feature: torch.Tensor) -> float:
    """Keys and values of one position in all layers."""
    layers = prefill(composition, feature, "What is this?").layers
    return sum(layer.keys.nbytes + layer.values.nbytes for layer in layers) / layers[0].keys.shape[-2]


def learner(composition: Composition, items: list[Item], features: list[torch.Tensor]) -> Callable[[], None]:
    """What a step of the recipe's second stage computes, but for the optimizer's part."""
    model, processor = composition.model, composition.processor
    talks = []
    for item, feature in zip(items, features, strict=True):
        first, *others = item.questions[:QUESTIONS]
        talk = [user(Part("image", media=feature), first.ask), assistant(first.answer)]
        talks.append(talk + [turn for q in others for turn in (user(q.ask), assistant(q.answer))])
    batch = collate([processor.encode(talk) for talk in talks], processor.pad_id)
    model.backbone.lm.set_attn_implementation("eager")
    select(model, {"inputs.image.projector.*": 1.0}, composition.recipe.peft)
    losses = Losses(model, {"lm": 1.0}).train()

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            loss = losses(batch)[0]
        loss.backward()
        losses.zero_grad()

    return step


if __name__ == "__main__":
    main()
