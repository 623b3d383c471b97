"""Does nano answer questions about what it is shown? Sticker scenes: what, where, how many, which color, which is bigger.

    .venv/bin/python benchmarks/questions.py
    .venv/bin/python benchmarks/questions.py --corpus solids --modality depth        which is nearest? or thermal: hottest?

Two sets of the corpus `scenes`: `test`, new scenes drawn by vendors of training, and `held-out`, drawn by OpenMoji, whose
drawings are in no training data. Every question offers its options; the guess is the likeliest (log-likelihood of the
whole sentence). `text-unseen` asks for words that no training picture shows, and is counted apart from `text`.

`--corpus NAME` asks of another corpus whose items have questions with options: text-images, charts, heat-maps, web-pages,
solids. Its `test` is new; its `held-out`, if it has one, also looks as nothing in training: colour maps, fonts, words.

Controls: *blind* (the picture or map replaced by the mean feature of the set), *shuffled* (that of another question of the
same type), the most frequent answer of the type, and chance, the mean of one over the number of options. That a picture
does not tell what a map tells: `--corpus solids-control`.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict

import torch

from common import options, show, start
from polymodal import corpora
from polymodal.content import Part, user
from polymodal.evaluation.choice import likelihoods
from polymodal.evaluation.metrics import wilson
from polymodal.training.sources.corpus import media_of

SETS = {"test": "new scenes", "held-out": "OpenMoji"}  # of the corpus scenes; other corpora's go by their names


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--limit", type=int, default=50, help="questions of each type and set, at most (drawn at random)")
    parser.add_argument("--corpus", default="scenes", help="whose items have questions with options")
    parser.add_argument("--modality", default="image", help="of the corpus' items, those that are asked about")
    arguments = start(parser)
    import polymodal

    composition = polymodal.load(arguments.model)
    items = [item for item in corpora.read(arguments.corpus) if item.modality == arguments.modality]
    rows = []
    for split, title in SETS.items():
        asked = drawn([item for item in items if item.split == split], arguments.limit)
        if asked:
            rows += score(composition, asked, title if arguments.corpus == "scenes" else split)
    line = {f"{row['set']}/{row['type']}": {key: row[key] for key in ("n", "nano", "blind", "shuffled")} for row in rows}
    show(arguments, f"{arguments.corpus}, {arguments.modality}: the likeliest of the options offered", rows, line)


def drawn(items, limit: int) -> dict[str, list]:
    """{type: (item, question)}, at most `limit` of each."""
    found = defaultdict(list)
    for item in items:
        for question in item.questions:
            found[question.type].append((item, question))
    rng = random.Random(0)
    return {type: rng.sample(pairs, min(limit, len(pairs))) for type, pairs in sorted(found.items())}


def score(composition, asked: dict[str, list], title: str) -> list[dict]:
    """One row per type, and one of all questions together."""
    shown = {item.id: item for pairs in asked.values() for item, _ in pairs}
    features = dict(zip(shown, encode(composition, list(shown.values())), strict=True))
    mean = torch.stack(list(features.values())).mean(0)
    rows, total = [], Counter()
    for type, pairs in asked.items():
        hits = Counter(n=len(pairs))
        for (item, question), (other, _) in zip(pairs, pairs[1:] + pairs[:1], strict=True):
            for who, seen in (("nano", features[item.id]), ("blind", mean), ("shuffled", features[other.id])):
                hits[who] += guess(composition, item.modality, seen, question) == question.answer
            hits["chance"] += 1 / len(question.options)
        hits["most frequent answer"] = Counter(question.answer for _, question in pairs).most_common(1)[0][1]
        rows.append({"set": title, "type": type, **shares(hits)})
        total.update(hits)
    return [*rows, {"set": title, "type": "all", **shares(total)}]


def encode(composition, items) -> list[torch.Tensor]:
    """Encoder features [N, De] of each item."""
    modality = composition.model.modalities[items[0].modality]
    with torch.no_grad():
        return [modality.encoder([modality.prepare(modality.load(media_of(item)))]).tokens[0] for item in items]


def guess(composition, modality: str, feature, question) -> str:
    scores = likelihoods(composition, [user(Part(modality, media=feature), question.ask)], question.options)
    return question.options[int(scores.argmax())]


def shares(hits: Counter) -> dict:
    n = hits["n"]
    low, high = wilson(hits["nano"], n)
    row = {"n": n, "nano": hits["nano"] / n, "95 % interval": f"{low:.3f} to {high:.3f}"}
    row |= {who: hits[who] / n for who in ("blind", "shuffled", "most frequent answer", "chance")}
    return row | {"above blind": row["nano"] - row["blind"]}


if __name__ == "__main__":
    main()
