"""Does nano hear? Held-out spoken sentences, repeated word for word.

    .venv/bin/python benchmarks/speech.py

Known words: sentences that were never spoken in training, of words that were. Unseen words: sentences with content words
that occur in no training sentence. Word error rate = edits / words, summed over sentences. Controls: *shuffled*
recordings, and Whisper-base's own decoder on the same files. The voice is the synthetic one nano was trained on; the one
real recording (a man reading Beckett, from a package of recordings) is another voice and reported apart.
"""

from __future__ import annotations

import random

import torch

from common import options, show, start
from polymodal import assets, corpora, media
from polymodal.content import audio, user
from polymodal.evaluation.metrics import wilson, word_errors
from polymodal.model.generation import Sampling

QUESTION = "Repeat what you hear."
BECKETT = "Ever tried. Ever failed. No matter. Try again. Fail again. Fail better."


def main() -> None:
    arguments = start(options(__doc__))
    import polymodal

    composition = polymodal.load(arguments.model)
    items = [i for i in corpora.read("sentences") if i.split == "test"]
    unseen = [i for i in items if "unseen-words" in i.tags]
    known = [i for i in items if "unseen-words" not in i.tags]
    mixed = known[1:] + known[:1]
    random.Random(0).shuffle(mixed)
    rows = [
        {"set": "known words", "who": "nano", **score(known, repeat(composition, known))},
        {"set": "known words", "who": "nano, shuffled recordings", **score(known, repeat(composition, mixed))},
        {"set": "known words", "who": "whisper-base", **score(known, whisper(known))},
        {"set": "unseen words", "who": "nano", **score(unseen, repeat(composition, unseen))},
        {"set": "unseen words", "who": "whisper-base", **score(unseen, whisper(unseen))},
    ]
    real = assets.path("beckett-wav") / "beckett.wav"
    heard = composition.ask(QUESTION, audio=[real]).text
    errors, total = word_errors(BECKETT, heard)
    rows.append({"set": "a real recording", "who": "nano", "sentences": 1, "WER": errors / total, "exact": heard})
    line = {f"{r['set']}/{r['who']}": r["WER"] for r in rows}
    show(arguments, "Spoken sentences", rows, line)


def repeat(composition, items, batch: int = 16) -> list[str]:
    """nano's transcripts, in batches of similar length."""
    order = sorted(range(len(items)), key=lambda i: items[i].path.stat().st_size)
    out: dict[int, str] = {}
    for start_ in range(0, len(order), batch):
        rows = order[start_ : start_ + batch]
        answers = composition.generate([[user(audio(items[i].path), QUESTION)] for i in rows], Sampling(max_new_tokens=32))
        out.update({i: "".join(p.text or "" for p in parts) for i, parts in zip(rows, answers, strict=True)})
    return [out[i] for i in range(len(items))]


@torch.no_grad()
def whisper(items, batch: int = 8) -> list[str]:
    """Whisper's own greedy transcripts."""
    from transformers import AutoTokenizer, WhisperFeatureExtractor, WhisperForConditionalGeneration

    folder = assets.path("whisper-base")
    model = WhisperForConditionalGeneration.from_pretrained(folder, dtype="float32").eval()
    extractor, tokenizer = WhisperFeatureExtractor.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    out = []
    for start_ in range(0, len(items), batch):
        sounds = [media.load_audio(item.path) for item in items[start_ : start_ + batch]]
        features = extractor(sounds, sampling_rate=16000, return_tensors="pt").input_features
        ids = model.generate(features, language="en", task="transcribe", num_beams=1, do_sample=False)
        out += tokenizer.batch_decode(ids, skip_special_tokens=True)
    return out


def score(items, heard: list[str]) -> dict:
    pairs = [word_errors(item.text or item.caption, h) for item, h in zip(items, heard, strict=True)]
    exact = sum(errors == 0 for errors, _ in pairs)
    low, high = wilson(exact, len(items))
    return {
        "sentences": len(items),
        "WER": sum(e for e, _ in pairs) / sum(n for _, n in pairs),
        "exact": f"{exact / len(items):.2f} ({low:.2f} to {high:.2f})",
    }


if __name__ == "__main__":
    main()
