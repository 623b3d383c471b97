"""Training data built from ordinary packages. Decides which corpora there are and which assets each is built from.

    corpora.build("emoji")       make it, or do nothing if it is there
    corpora.read("emoji")        its items, with absolute paths of their media
    corpora.exclusions()         concepts that only the test photographs may show

The art and voices have licences of their own (CC-BY-SA, GPL, ...), so builders are shipped and not their results.
`polymodal corpus build nano` builds the four that polymodal-nano learns from.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from polymodal import assets
from polymodal.corpora import building, class_features, emoji, sentences, stamps
from polymodal.corpora.building import Job, Recipe, Report
from polymodal.corpora.concepts import concept, exclusions, photo_table, split_of
from polymodal.corpora.items import CATEGORIES, Item, folder, is_built, manifest, read
from polymodal.errors import DataError, nearest

__all__ = [
    "CATEGORIES",
    "CORPORA",
    "DERIVED",
    "SETS",
    "Item",
    "build",
    "concept",
    "exclusions",
    "expand",
    "folder",
    "is_built",
    "manifest",
    "read",
    "split_of",
]


@dataclass(frozen=True)
class Corpus:
    """A corpus that can be built: `jobs` gets the folders of `assets` by name."""

    about: str
    assets: tuple[str, ...]
    jobs: Callable[[Mapping[str, Path]], Sequence[Job]]
    version: int
    seed: int = 0


CORPORA = {
    "emoji": Corpus(
        "Emoji in five art styles with names, tags and groups; OpenMoji held out",
        ("emojibase", *(vendor.asset for vendor in emoji.VENDORS.values())),
        emoji.jobs,
        emoji.VERSION,
    ),
    "stamps": Corpus(
        "Tux Paint stamps (drawings and photographs) with English captions",
        ("tuxpaint-stamps",),
        lambda folders: stamps.jobs(folders["tuxpaint-stamps"] / "stamps"),
        stamps.VERSION,
    ),
    "photos12": Corpus(
        "206 photographs of things in 12 classes; only ever tested on",
        ("tuxpaint-stamps",),
        lambda folders: stamps.photo_jobs(folders["tuxpaint-stamps"] / "stamps"),
        stamps.VERSION,
    ),
    "sentences": Corpus(
        "Short English sentences of some 430 common words, spoken by the voice joe",
        ("espeak-ng", "piper-joe"),
        sentences.jobs,
        sentences.VERSION,
        sentences.SEED,
    ),
}
DERIVED = {class_features.NAME: "Features that the image encoder's own classifier calls by name; after emoji and stamps"}
SETS = {"nano": ("emoji", "stamps", "photos12", "sentences", class_features.NAME)}


def build(name: str, root: Path | None = None, report: Report | None = None) -> Path:
    """Build a corpus from its fetched assets and return its folder; at once if it is there, built from the same.

    A killed build continues where it stopped. Raises AssetError if an asset is not fetched, and DataError for an
    unknown name or if more than 2 % of the items cannot be made.
    """
    (name,) = expand([name])
    if name in DERIVED:
        return class_features.build(root, report)
    corpus = CORPORA[name]
    folders = {asset: assets.path(asset, root=root) for asset in corpus.assets}
    digests = {asset: _digest(assets.digests(asset, root=root)) for asset in corpus.assets}
    digests["photos12.csv"] = hashlib.sha256(photo_table().encode()).hexdigest()  # decides who is excluded
    recipe = Recipe(name, corpus.version, digests, corpus.seed)
    return building.run(recipe, lambda: corpus.jobs(folders), root or assets.root(), report)


def expand(names: Sequence[str]) -> list[str]:
    """Names of corpora, with sets replaced by their members, each once. Raises DataError for an unknown name."""
    found: dict[str, None] = {}
    for name in names:
        if name not in CORPORA and name not in DERIVED and name not in SETS:
            raise DataError(f"no corpus '{name}'{nearest(name, [*CORPORA, *DERIVED, *SETS])}")
        found |= dict.fromkeys(SETS.get(name, (name,)))
    return list(found)


def _digest(files: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps(sorted(files.items())).encode()).hexdigest()
