"""What polymodal-nano could do when its weights were last replaced, and how that is measured again.

    .venv/bin/python -m tests.nano_gate        writes measured.json beside the weights

Small enough for every test run, from fetched assets without building a corpus: 103 of the 206 photographs, answered in
words, and 40 held-out sentences of known words. `benchmarks/` has the full measurements.
"""

from __future__ import annotations

import json
import sys

import polymodal
from polymodal import assets
from polymodal.content import Part, audio, image, user
from polymodal.corpora import CORPORA, sentences
from polymodal.corpora.kinds import kind
from polymodal.evaluation.metrics import bootstrap, exact, wilson, word_errors
from polymodal.model.composition import Composition
from polymodal.model.generation import Sampling

FILE = polymodal.CHECKPOINTS["nano"] / "measured.json"
SENTENCES = 40


def measure(composition: Composition) -> dict[str, dict[str, float]]:
    """{what: value, and the interval it may move in}."""
    right = photographs(composition)
    errors = speech(composition)
    low, high = wilson(sum(right), len(right))
    fewest, most = bootstrap(errors)
    rate = sum(e for e, _ in errors) / sum(n for _, n in errors)
    return {
        "photographs, exact answers": {"value": sum(right) / len(right), "low": low, "high": high},
        "speech, word error rate": {"value": rate, "low": fewest, "high": most},
    }


def photographs(composition: Composition) -> list[bool]:
    folder = assets.path("tuxpaint-stamps")
    jobs = CORPORA["photos12"].jobs({"tuxpaint-stamps": folder})
    shown = [(item, data) for job in jobs[::2] for item, data in zip(job.items, job.make(), strict=True)]
    answers = _ask(composition, [image(data) for _, data in shown], "What kind of thing is this?")
    return [exact(f"This is a type of {kind(item)}.", said) for (item, _), said in zip(shown, answers, strict=True)]


def speech(composition: Composition) -> list[tuple[int, int]]:
    """(errors, words) of each sentence."""
    folders = {asset: assets.path(asset) for asset in CORPORA["sentences"].assets}
    job = next(
        job for job in sentences.jobs(folders) if all(i.split == "test" and "known-words" in i.tags for i in job.items)
    )
    said = list(zip(job.items, job.make(), strict=True))[:SENTENCES]
    answers = _ask(composition, [audio(data) for _, data in said], "Repeat what you hear.")
    return [word_errors(item.text or "", answer) for (item, _), answer in zip(said, answers, strict=True)]


def _ask(composition: Composition, media: list[Part], question: str) -> list[str]:
    answers: list[str] = []
    for start in range(0, len(media), 16):
        asked = [[user(part, question)] for part in media[start : start + 16]]
        for parts in composition.generate(asked, Sampling(max_new_tokens=24)):
            answers.append("".join(part.text or "" for part in parts))
    return answers


if __name__ == "__main__":
    found = measure(polymodal.load("nano"))
    FILE.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(FILE.read_text(encoding="utf-8"))
