"""Training data built from ordinary packages. Decides how a corpus is built from its assets, and found when it is built.

    corpora.build("emoji")       make it, or do nothing if it is there
    corpora.read("emoji")        its items; `item.read()` gives the bytes of a picture or recording
    corpora.exclusions()         concepts that only the test photographs may show

The art and voices have licences of their own (CC-BY-SA, GPL, ...), so builders are shipped and not their results.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from polymodal import assets
from polymodal.corpora import building
from polymodal.corpora.building import Recipe, Report
from polymodal.corpora.catalog import CORPORA, DERIVED, EVERY, SETS, TIERS, Tier
from polymodal.corpora.concepts import concept, exclusions, photo_table, split_of
from polymodal.corpora.items import CATEGORIES, QA, Box, Item, folder, is_built, manifest, read
from polymodal.errors import DataError, nearest

__all__ = [
    "CATEGORIES",
    "CORPORA",
    "DERIVED",
    "EVERY",
    "QA",
    "SETS",
    "TIERS",
    "Box",
    "Item",
    "Tier",
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


def build(name: str, root: Path | None = None, report: Report | None = None) -> Path:
    """Build a corpus from its fetched assets and return its folder; at once if it is there, built from the same.

    A killed build continues where it stopped. Raises AssetError if an asset is not fetched, and DataError for an
    unknown name or if more of its items cannot be made than its share.
    """
    (name,) = expand([name])
    if name in DERIVED:
        return DERIVED[name].build(root, report)
    corpus = CORPORA[name]
    folders = {asset: assets.path(asset, root=root) for asset in corpus.assets}
    digests = {asset: _digest(assets.digests(asset, root=root)) for asset in corpus.assets}
    digests["photos12.csv"] = hashlib.sha256(photo_table().encode()).hexdigest()  # decides who is excluded
    recipe = Recipe(name, corpus.version, digests, corpus.seed)
    return building.run(recipe, lambda: corpus.jobs(folders), root or assets.root(), report, corpus.share)


def expand(names: Sequence[str], tier: Tier | None = None) -> list[str]:
    """Names of corpora, those of the tier and of the tiers below first, with sets replaced by their members, each once.

    Raises DataError for an unknown name.
    """
    below = TIERS[: TIERS.index(tier) + 1] if tier else ()
    found = dict.fromkeys(name for name, corpus in EVERY.items() if corpus.tier in below)
    for name in names:
        if name not in EVERY and name not in SETS:
            raise DataError(f"no corpus '{name}'{nearest(name, [*EVERY, *SETS])}")
        found |= dict.fromkeys(SETS.get(name, (name,)))
    return list(found)


def _digest(files: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps(sorted(files.items())).encode()).hexdigest()
