"""The corpus `quotations`: wishes to hear a sentence, each about another of WordNet's examples. Decides in which wordings,
and with which capitals and full stops.

A model that is to say a sentence has to write it down to the word. Told so of the 430 words of the corpus `sentences`
alone, it writes these and changes others: hence the 5,500 words of so many of WordNet's examples, in the wordings of
`requests_written.jsonl` that hold what they wish to hear to the letter. An example is written as the sentence was whose
place it takes. What `utterances` holds out for hearing is in no training here.

    `caption`: the wish; `text`: what is to be said
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from polymodal.corpora import utterances
from polymodal.corpora.building import Job
from polymodal.corpora.concepts import concept
from polymodal.corpora.items import Item
from polymodal.corpora.requests import WRITTEN
from polymodal.errors import DataError

NAME = "quotations"
ASSETS = ("wordnet",)
VERSION = 1
TRAIN, VAL = 4000, 100


def wordings() -> list[tuple[str, str]]:
    """(wish, the sentence in it) of each written wish to hear a sentence that holds it once, to the letter."""
    rows = [json.loads(line) for line in WRITTEN.read_text("utf-8").splitlines()]
    spoken = [(row["ask"], row["say"]) for row in rows if row["makes"] == "audio"]
    return [(ask, say) for ask, say in spoken if " " in say and ask.count(say) == 1]


def jobs(folders: Mapping[str, Path]) -> list[Job]:
    """One job per wish. `folders`: of ASSETS. Raises `DataError` if WordNet's files hold too few examples."""
    chosen = utterances.choose(folders["wordnet"])
    rng, told = random.Random(NAME), wordings()
    texts = {split: sorted({u.text for u in chosen if u.split == split}) for split in ("train", "val")}
    found: list[Job] = []
    for split, number in (("train", TRAIN), ("val", VAL)):
        if len(texts[split]) < number:
            raise DataError(f"corpus {NAME}: only {len(texts[split])} sentences of '{split}' in {folders['wordnet']}")
        for text in rng.sample(texts[split], number):
            ask, said = rng.choice(told)
            new = written_as(said, text)
            found.append(_job(f"{split}-{len(found):04d}", split, ask.replace(said, new), new))
    return found


def written_as(said: str, text: str) -> str:
    """`text` with the first letter and the end of `said`: "Get up!" makes "the dog barked" "The dog barked!". Instead of
    a question mark there is a full stop, as no example asks."""
    text = text.rstrip(".?!")
    end = {".": ".", "!": "!", "?": "."}.get(said[-1], "")
    return (text[0].upper() + text[1:] if said[0].isupper() else text) + end


def _job(number: str, split: Any, wish: str, text: str) -> Job:
    item = Item(
        id=f"{NAME}-{number}",
        modality="text",
        file=f"{split}/{number}.txt",
        caption=wish,
        concept=concept(wish),
        group="aloud",
        source=NAME,
        vendor="wordnet",
        licence="WordNet-3.0",
        split=split,
        concept_split="train" if split == "train" else "test",
        text=text,
    )
    return Job([item], partial(_one, text))


def _one(text: str) -> Iterator[bytes]:
    yield text.encode()
