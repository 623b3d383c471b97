"""Does nano hear? Held-out spoken sentences in voices that no training recording has, repeated word for word.

    .venv/bin/python benchmarks/speech.py

Corpus `utterances`, split test: sentences never spoken in training, half by each of two held-out voices (Flite's awb,
Kokoro's jm_kumo). Known words: every word is in three training sentences at least. Unseen words: a content word that no
training sentence has in any form. Word error rate = edits / words, summed over sentences; its interval by bootstrap over
sentences. Controls: *shuffled* recordings, and Whisper-base's own decoder on the same files. The one real recording (a man
reading Beckett, from a package of recordings) is reported apart.
"""

from __future__ import annotations

import random

from common import options, show, start
from polymodal import assets, corpora, media
from polymodal.content import audio, user
from polymodal.evaluation.metrics import bootstrap, word_errors
from polymodal.evaluation.witness import transcribed
from polymodal.model.generation import Sampling

QUESTION = "Repeat what you hear."
BECKETT = "Ever tried. Ever failed. No matter. Try again. Fail again. Fail better."


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--limit", type=int, default=240, help="sentences of each set, at most (drawn at random)")
    parser.add_argument("--corpus", default="utterances", help="utterances, or sentences: the one voice nano v0 learned")
    arguments = start(parser)
    import polymodal

    composition = polymodal.load(arguments.model)
    rng = random.Random(0)
    tested = [i for i in corpora.read(arguments.corpus) if i.split == "test"]
    rows = []
    for tag in ("known-words", "unseen-words"):
        items = [i for i in tested if tag in i.tags]
        items = rng.sample(items, min(arguments.limit, len(items)))
        heard = repeat(composition, items)
        rows.append({"set": tag, "who": "nano", **score(items, heard)})
        for voice in sorted({i.voice or "" for i in items}):
            said = [(i, h) for i, h in zip(items, heard, strict=True) if i.voice == voice]
            rows.append({"set": tag, "who": f"nano, voice {voice}", **score([i for i, _ in said], [h for _, h in said])})
        rows.append({"set": tag, "who": "nano, shuffled recordings", **score(items, heard[1:] + heard[:1])})
        rows.append({"set": tag, "who": "whisper-base", **score(items, whisper(items))})
    real = assets.path("beckett-wav") / "beckett.wav"
    heard = composition.ask(QUESTION, audio=[real]).text
    errors, total = word_errors(BECKETT, heard)
    alone = {"sentences": 1, "WER": errors / total, "95 %": "", "exact": heard}
    rows.append({"set": "a real recording", "who": "nano", **alone})
    line = {f"{r['set']}/{r['who']}": r["WER"] for r in rows}
    show(arguments, "Spoken sentences", rows, line)


def repeat(composition, items, batch: int = 16) -> list[str]:
    """nano's transcripts, in batches of similar length."""
    order = sorted(range(len(items)), key=lambda i: items[i].place.size)
    out: dict[int, str] = {}
    for start_ in range(0, len(order), batch):
        rows = order[start_ : start_ + batch]
        asked = [[user(audio(items[i].read()), QUESTION)] for i in rows]
        answers = composition.generate(asked, Sampling(max_new_tokens=32))
        out.update({i: "".join(p.text or "" for p in parts) for i, parts in zip(rows, answers, strict=True)})
    return [out[i] for i in range(len(items))]


def whisper(items) -> list[str]:
    """Whisper's own greedy transcripts."""
    return transcribed([media.load_audio(item.read()) for item in items])


def score(items, heard: list[str]) -> dict:
    pairs = [word_errors(item.text or item.caption, h) for item, h in zip(items, heard, strict=True)]
    exact = sum(errors == 0 for errors, _ in pairs)
    low, high = bootstrap(pairs)
    return {
        "sentences": len(items),
        "WER": sum(e for e, _ in pairs) / sum(n for _, n in pairs),
        "95 %": f"{low:.3f} to {high:.3f}",
        "exact": f"{exact / len(items):.2f}",
    }


if __name__ == "__main__":
    main()
