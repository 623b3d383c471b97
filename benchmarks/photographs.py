"""Does nano see? Held-out photographs in 12 classes, one fixed question, one fixed way to score.

    .venv/bin/python benchmarks/photographs.py

The 206 photographs of the corpus `photos12` and every picture that shares a name with one of them are in no training
data. Each is asked QUESTION; the guess is the class with the likeliest answer (log-likelihood of "This is a type of ...").
The wording was chosen on validation drawings (`--choose` shows that), never on the photographs.

Controls: the majority class; the *blind* model (the picture replaced by the mean feature of all of them); *shuffled*
pairs; and what the encoder itself can tell: 1-NN on its pooled features among the other photographs (which sees their
labels, nano never does), and ConSE, its class probabilities read through names (Norouzi et al., arXiv 1312.5650).
"""

from __future__ import annotations

import random

import torch

from common import options, show, start
from polymodal import corpora, media
from polymodal.content import Part, user
from polymodal.corpora.kinds import TWELVE, kind
from polymodal.evaluation.choice import likelihoods
from polymodal.evaluation.metrics import accuracy, balanced_accuracy, wilson

WORDINGS = [
    "What kind of thing is this?",
    "What type of thing is this?",
    f"Which of these is it: {', '.join(TWELVE)}?",
]
ANSWERS = [f"This is a type of {k}." for k in TWELVE]
QUESTION = WORDINGS[0]


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--choose", action="store_true", help="compare the wordings on validation drawings")
    arguments = start(parser)
    if arguments.choose:
        import polymodal

        composition = polymodal.load(arguments.model)
        items = [i for n in ("emoji", "stamps") for i in corpora.read(n) if i.split == "val" and kind(i) in TWELVE]
        items = random.Random(0).sample(items, min(200, len(items)))
        truth, features = [kind(i) for i in items], encode(composition, items)
        rows = [{"wording": w, **score(truth, guess(composition, features, w))} for w in WORDINGS]
        show(arguments, f"{len(items)} validation drawings of concepts never trained on", rows, {"wordings": rows})
        return
    rows = photographs(arguments.model)
    line = {row["model"]: row["accuracy"] for row in rows} | {"balanced": rows[0]["balanced"]}
    show(arguments, "206 held-out photographs, 12 classes", rows, line)


def photographs(model: str) -> list[dict]:
    """A row for the model and for each control, the model's first."""
    import polymodal

    composition = polymodal.load(model)
    items = corpora.read("photos12")
    truth, features = [kind(i) for i in items], encode(composition, items)
    mean = torch.stack(features).mean(0)
    mixed = list(range(len(items)))
    random.Random(0).shuffle(mixed)
    majority = max(set(truth), key=truth.count)
    return [
        {"model": "nano", **score(truth, guess(composition, features, QUESTION))},
        {"model": "nano, shuffled pictures", **score(truth, guess(composition, [features[i] for i in mixed], QUESTION))},
        {"model": "nano, blind", **score(truth, guess(composition, [mean], QUESTION) * len(items))},
        {"model": "majority class", **score(truth, [majority] * len(items))},
        {"model": "encoder, 1-NN (sees labels)", **score(truth, nearest_neighbour(truth, features))},
        {"model": "encoder, ConSE", **score(truth, conse(composition, features))},
    ]


def encode(composition, items) -> list[torch.Tensor]:
    """Encoder features [N, De] of each picture."""
    modality = composition.model.modalities["image"]
    with torch.no_grad():
        return [modality.encoder([modality.prepare(media.load_image(i.read()))]).tokens[0] for i in items]


def guess(composition, features, question: str) -> list[str]:
    out = []
    for feature in features:
        scores = likelihoods(composition, [user(Part("image", media=feature), question)], ANSWERS)
        out.append(TWELVE[int(scores.argmax())])
    return out


def score(truth: list[str], guesses: list[str]) -> dict:
    hits = sum(t == g for t, g in zip(truth, guesses, strict=True))
    low, high = wilson(hits, len(truth))
    return {
        "accuracy": accuracy(truth, guesses),
        "95 % interval": f"{low:.3f} to {high:.3f}",
        "balanced": balanced_accuracy(truth, guesses),
    }


def pooled(features) -> torch.Tensor:
    """The feature of each whole picture, of length one: the first (of a pyramid), or the only one."""
    return torch.nn.functional.normalize(torch.stack([f[0] for f in features]), dim=-1)


def nearest_neighbour(truth, features) -> list[str]:
    """Leave one out."""
    x = pooled(features)
    similarity = (x @ x.T).fill_diagonal_(-1)
    return [truth[int(i)] for i in similarity.argmax(1)]


def conse(composition, features) -> list[str]:
    """Top-10 class probabilities times sentence embeddings of the class names; the nearest kind's embedding."""
    import json

    from safetensors.torch import load_file
    from transformers import AutoModel, AutoTokenizer

    from polymodal import assets

    state = load_file(assets.path("efficientnet-lite0") / "model.safetensors")
    names = json.loads((assets.path("imagenet-classes") / "labels.json").read_text())
    folder = assets.path("minilm-l6-v2")
    tokenizer, encoder = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()

    @torch.no_grad()
    def embed(texts: list[str]) -> torch.Tensor:
        batch = tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
        mask = batch["attention_mask"][..., None]
        hidden = encoder(**batch).last_hidden_state * mask
        return torch.nn.functional.normalize(hidden.sum(1) / mask.sum(1), dim=-1)

    classes = torch.cat([embed([f"a photo of a {n}" for n in names[i : i + 100]]) for i in range(0, 1000, 100)])
    kinds = embed([f"a photo of a {k}" for k in TWELVE])
    x = torch.stack([f[0] for f in features])
    value, index = (x @ state["_fc.weight"].float().T + state["_fc.bias"].float()).softmax(-1).topk(10)
    vectors = torch.nn.functional.normalize((value[..., None] * classes[index]).sum(1), dim=-1)
    return [TWELVE[int(i)] for i in (vectors @ kinds.T).argmax(1)]


if __name__ == "__main__":
    main()
