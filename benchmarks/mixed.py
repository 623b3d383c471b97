"""Does nano tell apart what it is shown together? A picture, a clip and a sound in one prompt, and a question about each.

    .venv/bin/python benchmarks/mixed.py
    .venv/bin/python benchmarks/mixed.py --mix depth+audio --mix points+imu --conversations 60

A conversation shows a held-out item of each modality of a mix, in any order, then asks about each, in any order and worded
as in training: "About the clip: Which way does it move?". The answer is the likeliest of the options, and stands in the
conversation when the next question is asked. *alone*: the same question of a prompt with that medium only.

Controls: *blind* (the medium asked about is the mean feature of the others of its kind), *shuffled* (it is the next
conversation's), chance. *stays*: how often the answer is the same where all the *other* media are the next conversation's;
it would always be if nano looked at nothing but what it is asked about.

What is shown: drawings by OpenMoji, clips of them, instruments at unheard pitches, unseen models of furniture, exercises of
unseen people, new depth and (synthetic) thermal maps. What has no options of its own is offered OFFERED names of its kind.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence

from torch import Tensor

from common import mean, options, show, start
from polymodal import corpora
from polymodal.content import Message, Part, assistant, user
from polymodal.corpora import QA, Item
from polymodal.corpora.grammar import with_article
from polymodal.evaluation.choice import likelihoods
from polymodal.evaluation.metrics import wilson
from polymodal.training.sources.mixed import about
from questions import encode

MIXES = ("image+video+audio", "depth+audio", "points+imu", "image+thermal", "points+video+depth")
OFFERED = 8
OWN = {"video": ("moving-stickers", "held-out"), "depth": ("solids", "test"), "thermal": ("solids", "test")}
NAMED: dict[
    str, tuple[str, Callable[[Item], bool], str, Callable[[Item], str]]
] = {  # worded as recipes/nano/v2-sft.yaml does
    "image": (
        "emoji",
        lambda i: i.split == "held-out" and i.concept_split == "train" and i.category is not None,
        "What is this?",
        lambda i: f"This is {with_article(i.concept)}.",
    ),
    "audio": (
        "instruments",
        lambda i: i.split == "held-out",
        "Which instrument is this?",
        lambda i: f"This is {with_article(i.concept)}.",
    ),
    "points": (
        "furniture",
        lambda i: i.split == "held-out" and i.subgroup is not None,
        "What is this?",
        lambda i: f"It looks like: {i.subgroup}.",
    ),
    "imu": (
        "motion",
        lambda i: i.split == "test" and i.group == "watch-motion",
        "Which exercise is this?",
        lambda i: f"This is: {i.concept}.",
    ),
}
Asked = dict[str, QA]  # by modality
Shown = dict[str, Tensor]  # features [N, De], by modality


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--mix", action="append", help=f"modalities with + between them; without it {', '.join(MIXES)}")
    parser.add_argument("--conversations", type=int, default=30, help="of each mix (drawn at random)")
    arguments = start(parser)
    import polymodal

    composition = polymodal.load(arguments.model)
    has = composition.model.modalities
    for modality in [modality for mix in arguments.mix or [] for modality in mix.split("+")]:
        if modality not in has or modality not in {**OWN, **NAMED}:
            known = ", ".join(name for name in has if name in {**OWN, **NAMED})
            parser.error(f"--mix: '{modality}' is none of what is asked about here: {known}")
    rows = []
    for mix in arguments.mix or [mix for mix in MIXES if all(modality in has for modality in mix.split("+"))]:
        rng = random.Random(f"0 {mix}")
        modalities = mix.split("+")
        drawn = {modality: rng.sample(pool(modality, rng), arguments.conversations) for modality in modalities}
        features = {modality: encode(composition, [item for item, _ in pairs]) for modality, pairs in drawn.items()}
        asked = [{modality: drawn[modality][i][1] for modality in modalities} for i in range(arguments.conversations)]
        shown = [{modality: features[modality][i] for modality in modalities} for i in range(arguments.conversations)]
        rows += score(composition, mix, asked, shown, rng)
    line = {f"{row['mix']}/{row['asked about']}": {k: v for k, v in row.items() if isinstance(v, float)} for row in rows}
    show(arguments, "Several media in one prompt: the likeliest of the options offered", rows, line)


def pool(modality: str, rng: random.Random) -> list[tuple[Item, QA]]:
    """The items that a modality is shown by, each with a question that has options."""
    if modality in OWN:
        corpus, split = OWN[modality]
        items = [i for i in corpora.read(corpus) if i.split == split and i.modality == modality]
        return [(item, rng.choice([question for question in item.questions if question.options])) for item in items]
    corpus, chosen, ask, answer = NAMED[modality]
    items = [item for item in corpora.read(corpus) if chosen(item)]
    known = sorted({answer(item) for item in items})
    pairs = []
    for item in items:
        wrong = [other for other in known if other != answer(item)]
        offered = [answer(item), *rng.sample(wrong, min(OFFERED, len(known)) - 1)]
        pairs.append((item, QA(ask=ask, answer=offered[0], type="name", options=rng.sample(offered, len(offered)))))
    return pairs


def score(composition, mix: str, asked: Sequence[Asked], shown: Sequence[Shown], rng: random.Random) -> list[dict]:
    """One row for each modality of a mix, and one of all."""
    modalities = mix.split("+")
    means = {modality: mean([each[modality] for each in shown]) for modality in modalities}
    hits: dict[str, Counter[str]] = {modality: Counter() for modality in modalities}
    for i, (questions, here) in enumerate(zip(asked, shown, strict=True)):
        there, order, turns = shown[(i + 1) % len(shown)], *(rng.sample(modalities, len(modalities)) for _ in range(2))
        together = answers(composition, order, here, questions, turns)
        for turn, modality in enumerate(turns, 1):
            count, right = hits[modality], questions[modality].answer
            media = {
                "alone": {modality: here[modality]},
                "blind": here | {modality: means[modality]},
                "shuffled": here | {modality: there[modality]},
                "stays": there | {modality: here[modality]},
            }
            said = {
                who: answers(composition, order, each, questions, [modality] if who == "alone" else turns[:turn])[modality]
                for who, each in media.items()
            }
            count.update(n=1, nano=together[modality] == right, stays=said.pop("stays") == together[modality])
            count.update({who: answer == right for who, answer in said.items()})
            count["chance"] += 1 / len(questions[modality].options or ())
    hits["all"] = sum(hits.values(), Counter())
    return [{"mix": mix, "asked about": modality, **shares(count)} for modality, count in hits.items()]


def answers(composition, order: Sequence[str], shown: Shown, questions: Asked, turns: Sequence[str]) -> dict[str, str]:
    """The likeliest answer about each of `turns`, in one conversation whose first turn shows everything, in this order."""
    parts = [Part(modality, media=shown[modality]) for modality in order if modality in shown]
    messages: list[Message] = []
    found = {}
    for modality in turns:
        question = questions[modality]
        ask = question.ask if len(shown) == 1 else about(modality, question.ask)
        messages.append(user(*parts, ask))
        offered = question.options or ()
        found[modality] = offered[int(likelihoods(composition, messages, offered).argmax())]
        messages.append(assistant(found[modality]))
        parts = []
    return found


def shares(hits: Counter[str]) -> dict:
    n = hits["n"]
    low, high = wilson(hits["nano"], n)
    row = {"n": n, "nano": hits["nano"] / n, "95 % interval": f"{low:.3f} to {high:.3f}"}
    return row | {who: hits[who] / n for who in ("alone", "blind", "shuffled", "chance", "stays")}


if __name__ == "__main__":
    main()
