"""Is a spoken question answered as its typed twin? Questions in voices never trained on, about pictures never trained on.

    .venv/bin/python benchmarks/twins.py

Each pair asks the same words about the same picture, once typed and once as a recording (corpus `spoken-questions`, split
test: held-out voices). The number is the share of pairs with equal answers; a typed answer need not be right to count, so
its accuracy stands beside. Controls: *another question* (the recording of another wording), and *silence* of its length:
what agreement comes from the picture alone.
"""

from __future__ import annotations

import random

import numpy as np

from common import options, show, start
from polymodal import corpora, media
from polymodal.content import Part, audio, image, user
from polymodal.evaluation.metrics import exact, wilson
from polymodal.model.generation import Sampling


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--limit", type=int, default=300, help="pairs, drawn at random")
    arguments = start(parser)
    import polymodal

    composition = polymodal.load(arguments.model)
    spoken: dict[str, list] = {}
    for item in corpora.read("spoken-questions"):
        if item.split == "test":
            spoken.setdefault(item.text or item.caption, []).append(item)
    rng = random.Random(0)
    pairs = [(i, q) for i in corpora.read("scenes") if i.split == "test" for q in i.questions if q.ask in spoken]
    pairs = rng.sample(pairs, min(arguments.limit, len(pairs)))
    recordings = [rng.choice(spoken[q.ask]).read() for _, q in pairs]
    others = [rng.choice(spoken[rng.choice(sorted(set(spoken) - {q.ask}))]).read() for _, q in pairs]
    silence = [Part("audio", media=(np.zeros_like(media.load_audio(r)), 16_000)) for r in recordings]
    pictures = [image(i.read()) for i, _ in pairs]

    typed = ask(composition, [[user(p, q.ask)] for p, (_, q) in zip(pictures, pairs, strict=True)])
    right = sum(exact(q.answer, t) for t, (_, q) in zip(typed, pairs, strict=True)) / len(pairs)
    rows = []
    for who, heard in (("the same question", recordings), ("another question", others), ("silence", silence)):
        parts = [h if isinstance(h, Part) else audio(h) for h in heard]
        said = ask(composition, [[user(p, h)] for p, h in zip(pictures, parts, strict=True)])
        rows.append({"recording": who, **agreement(typed, said), "typed answers right": right})
    line = {r["recording"]: r["agreement"] for r in rows} | {"typed right": right}
    show(arguments, f"{len(pairs)} spoken questions and their typed twins", rows, line)


def ask(composition, conversations, batch: int = 16) -> list[str]:
    out = []
    for at in range(0, len(conversations), batch):
        answers = composition.generate(conversations[at : at + batch], Sampling(max_new_tokens=20))
        out += ["".join(p.text or "" for p in parts) for parts in answers]
    return out


def agreement(a: list[str], b: list[str]) -> dict:
    hits = sum(exact(x, y) for x, y in zip(a, b, strict=True))
    low, high = wilson(hits, len(a))
    return {"agreement": hits / len(a), "95 % interval": f"{low:.3f} to {high:.3f}"}


if __name__ == "__main__":
    main()
