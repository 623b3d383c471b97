"""Does nano name what it sees, in a style it never saw? OpenMoji, the vendor held out of all training.

    .venv/bin/python benchmarks/names.py

Trained concepts: pictures of OpenMoji whose concept other vendors drew in training. Each is asked QUESTION; a hit is the
concept's exact name ("This is a dog."). *In the answer* also counts a name that stands among other words. Never-trained
concepts: ten answers are offered by likelihood, the true one and nine others of the same set (seeded); chance .10.

Controls: *shuffled* pictures, the *blind* model (the mean feature of all pictures), and 1-NN on the encoder's own pooled
features among the training pictures, which is the encoder's own word on this.
"""

from __future__ import annotations

import random

import torch

from common import options, show, start
from photographs import encode, pooled
from polymodal import corpora
from polymodal.content import Part, user
from polymodal.corpora import CORPORA
from polymodal.corpora.grammar import with_article
from polymodal.evaluation.choice import likelihoods
from polymodal.evaluation.metrics import contains, exact, wilson
from polymodal.model.generation import Sampling

QUESTION = "What is this?"
OFFERED = 10


def answer(concept: str) -> str:
    return f"This is {with_article(concept)}."


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--limit", type=int, default=600, help="pictures of each set, at most (drawn at random)")
    arguments = start(parser)
    import polymodal

    composition = polymodal.load(arguments.model)
    drawn = [i for name in ("emoji", "emoji-3d") if name in CORPORA for i in corpora.read(name)]
    train = [i for i in drawn if i.split == "train"]
    known = {i.concept for i in train}
    rng = random.Random(0)
    held = [i for i in drawn if i.split == "held-out"]
    seen = sample([i for i in held if i.concept in known], arguments.limit, rng)
    never = [i for i in held if i.concept_split in ("test", "val") and i.concept not in known]
    unseen = sample(never, arguments.limit, rng)

    features, strange = encode(composition, seen), encode(composition, unseen)
    mixed = features[1:] + features[:1]
    mean = torch.stack(features).mean(0)
    truth = [i.concept for i in seen]
    rows = [
        {"set": "trained concepts", "who": "nano", **named(truth, name(composition, features))},
        {"set": "trained concepts", "who": "nano, shuffled pictures", **named(truth, name(composition, mixed))},
        {"set": "trained concepts", "who": "nano, blind", **named(truth, name(composition, [mean]) * len(truth))},
        {"set": "trained concepts", "who": "encoder, 1-NN", **neighbour(composition, seen, features, train)},
    ]
    offers = [offered(i.concept, [j.concept for j in unseen], rng) for i in unseen]
    for who, given in (("nano", strange), ("nano, shuffled pictures", strange[1:] + strange[:1]), ("nano, blind", None)):
        given = given or [torch.stack(strange).mean(0)] * len(unseen)
        rows.append({"set": "never-trained concepts, 10-way", "who": who, **choice(composition, unseen, given, offers)})
    line = {f"{r['set']}/{r['who']}": r["exact"] for r in rows}
    show(arguments, f"OpenMoji: {len(seen)} pictures of trained concepts, {len(unseen)} of others", rows, line)


def sample(items: list, limit: int, rng: random.Random) -> list:
    return rng.sample(items, min(limit, len(items)))


def name(composition, features, batch: int = 32) -> list[str]:
    out = []
    for at in range(0, len(features), batch):
        asked = [[user(Part("image", media=x), QUESTION)] for x in features[at : at + batch]]
        answers = composition.generate(asked, Sampling(max_new_tokens=16))
        out += ["".join(p.text or "" for p in parts) for parts in answers]
    return out


def offered(own: str, all_concepts: list[str], rng: random.Random) -> list[str]:
    others = rng.sample(sorted(set(all_concepts) - {own}), OFFERED - 1)
    return [own, *others]


def choice(composition, items, features, offers) -> dict:
    hits = 0
    for x, concepts in zip(features, offers, strict=True):
        scores = likelihoods(composition, [user(Part("image", media=x), QUESTION)], [answer(c) for c in concepts])
        hits += int(scores.argmax()) == 0
    return share(hits, len(items)) | {"in the answer": ""}


def named(truth: list[str], answers: list[str]) -> dict:
    hits = sum(exact(answer(t), a) for t, a in zip(truth, answers, strict=True))
    inside = sum(contains(t, a) for t, a in zip(truth, answers, strict=True))
    return share(hits, len(truth)) | {"in the answer": inside / len(truth)}


def neighbour(composition, items, features, train) -> dict:
    """1-NN by cosine among the training pictures."""
    known = pooled([x[:1] for x in encode(composition, train)])
    nearest = (pooled([x[:1] for x in features]) @ known.T).argmax(1).tolist()
    return share(sum(train[n].concept == i.concept for n, i in zip(nearest, items, strict=True)), len(items)) | {
        "in the answer": ""
    }


def share(hits: int, n: int) -> dict:
    low, high = wilson(hits, n)
    return {"n": n, "exact": hits / n, "95 % interval": f"{low:.3f} to {high:.3f}"}


if __name__ == "__main__":
    main()
