"""Training data built from ordinary packages. Decides how a corpus is built from its assets, and found when it is built.

    corpora.build("emoji")       make it, or do nothing if it is there
    corpora.read("emoji")        its items; `item.read()` gives the bytes of a picture or recording
    corpora.exclusions()         concepts that only the test photographs may show

The art and voices have licences of their own (CC-BY-SA, GPL, ...), so builders are shipped and not their results.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from polymodal import assets
from polymodal.corpora import building
from polymodal.corpora.building import Job, Recipe, Report
from polymodal.corpora.catalog import CORPORA, DERIVED, EVERY, SETS, TIERS, Corpus, Tier
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
    "TESTED",
    "TIERS",
    "WHOLE",
    "Box",
    "Item",
    "Tier",
    "build",
    "build_tested",
    "concept",
    "exclusions",
    "expand",
    "folder",
    "is_built",
    "manifest",
    "read",
    "split_of",
]

TESTED = ("held-out", "test")  # the splits that no training reads
WHOLE = ("emoji", "emoji-3d", *DERIVED)  # what is drawn is compared with what was learned; weights' words are not redone


def build(name: str, root: Path | None = None, report: Report | None = None) -> Path:
    """Build a corpus from its fetched assets and return its folder; at once if it is there, built from the same.

    A killed build continues where it stopped. Raises AssetError if an asset is not fetched, and DataError for an
    unknown name or if more of its items cannot be made than its share.
    """
    (name,) = expand([name])
    if name in DERIVED:
        return DERIVED[name].build(root, report)
    recipe, jobs = _planned(CORPORA[name], name, root)
    return building.run(recipe, jobs, root or assets.root(), report, CORPORA[name].share)


def build_tested(name: str, root: Path, report: Report | None = None) -> Path:
    """Build only what no training reads of a corpus, from the assets of the usual cache, into the cache folder `root`. One
    in WHOLE is built in the usual cache, and copied.

    Raises as `build`, and DataError where `root` is the usual cache: a corpus without its training items is none there.
    """
    (name,) = expand([name])
    if root.resolve() == assets.root().resolve():
        raise DataError(f"corpus {name}: what no training reads of it goes into a --root of its own")
    if name in WHOLE:
        return Path(shutil.copytree(build(name, None, report), folder(name, root), dirs_exist_ok=True))
    recipe, jobs = _planned(CORPORA[name], name, None)
    recipe = replace(recipe, assets={**recipe.assets, "splits": " ".join(TESTED)})

    def tested() -> list[Job]:
        return [job for job in jobs() if any(item.split in TESTED for item in job.items)]

    return building.run(recipe, tested, root, report, CORPORA[name].share)


def _planned(corpus: Corpus, name: str, root: Path | None) -> tuple[Recipe, Callable[[], Sequence[Job]]]:
    folders = {asset: assets.path(asset, root=root) for asset in corpus.assets}
    digests = {asset: _digest(assets.digests(asset, root=root)) for asset in corpus.assets}
    digests["photos12.csv"] = hashlib.sha256(photo_table().encode()).hexdigest()  # decides who is excluded
    return Recipe(name, corpus.version, digests, corpus.seed), lambda: corpus.jobs(folders)


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
