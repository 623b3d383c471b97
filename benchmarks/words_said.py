"""How well is a generator understood that speaks by itself, from letters to sound?

    .venv/bin/python benchmarks/words_said.py --model runs/nano-v3-pt-words/model [--limit 60]

Sentences of the corpus `sentences`, which Whisper-base hears: *trained* ones; *new* ones, put together of words that were
all in training; and such with *unseen* words. Word error rate = edits / words, its interval by bootstrap over sentences.
Beside each: the teacher's own recording, what a recogniser makes of speech without a fault; and what was made of the next
sentence (*shuffled*).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

import polymodal
from common import options, show, start
from polymodal import corpora, media
from polymodal.corpora.building import write
from polymodal.parts.output import Target
from speech import score, transcribed

OUTPUT = "speech"  # as recipes/nano/v3-pt-words.yaml calls it
KEPT = 6  # recordings of each set that are written


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--limit", type=int, default=60, help="sentences of each set, at most")
    parser.add_argument("--folder", type=Path, default=Path("runs/words-said"), help="for some recordings")
    arguments = start(parser)
    generator = polymodal.load(arguments.model).model.designs[OUTPUT].made_by()
    items = [item for item in corpora.read("sentences") if len(item.text or "") < generator.positions]
    sets = {
        "trained": [item for item in items if item.split == "train"],
        "new, known words": [item for item in items if item.split == "test" and "known-words" in item.tags],
        "new, unseen words": [item for item in items if item.split == "test" and "unseen-words" in item.tags],
    }
    rows = []
    for name, of in sets.items():
        some = random.Random(0).sample(of, min(arguments.limit, len(of)))
        texts = [item.text or "" for item in some]
        made = said(generator, texts)
        for number, (wave, rate) in enumerate(made[:KEPT]):
            write(arguments.folder / f"{name.replace(', ', '-').replace(' ', '-')}-{number}.wav", wav(wave, rate))
        heard = transcribed([media.load_audio(recording) for recording in made])
        teacher = transcribed([media.load_audio(item.read()) for item in some])
        for who, found in (("made", heard), ("shuffled", heard[1:] + heard[:1]), ("the teacher", teacher)):
            rows.append({"set": name, "who": who, **score(some, found)})
    show(arguments, "words", rows, {f"{row['set']}/{row['who']}": row["WER"] for row in rows})


def said(generator: Any, texts: Sequence[str]) -> list[tuple[np.ndarray, int]]:
    noise = torch.Generator().manual_seed(0)
    return [generator.make(generator.condition([Target(text)]), noise)[0] for text in texts]


def wav(samples: np.ndarray, rate: int) -> bytes:
    import io

    import soundfile

    out = io.BytesIO()
    soundfile.write(out, samples, rate, format="WAV")
    return out.getvalue()


if __name__ == "__main__":
    main()
