"""Captioned features without pictures: what an image classifier knows by name, as training data for a projector.

A classifier's head names a thousand directions of its own feature space. Moving the pooled feature x of any picture along

    v_c = S w_c / (w_c' S w_c)          S: covariance of pooled features, w_c: the head's weights for class c

by d raises the logit of class c by exactly d and changes the feature as little as its own statistics allow (the
generative direction that belongs to a linear discriminant; Haufe et al., NeuroImage 87, 2014). With d large enough that
the classifier says c, that is a feature which the encoder itself calls by that name, and no photograph was needed.

The ingredients are built once from the training pictures of the corpora; features are drawn from them as they are needed.
Classes whose name is not of the split `train` are left out, like the pictures of that name.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from polymodal.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor

    from polymodal.corpora.items import Item

KINDS = Path(__file__).with_name("imagenet_kinds.csv")  # id, name, kind: hypernyms of WordNet 3.0, corrected by eye
NAME = "class-features"
FILE = "features.safetensors"
VERSION = 2
PICTURES = ("emoji", "emoji-3d", "stamps")  # the corpora whose training pictures are moved
ASSET = "efficientnet-lite0"
MARGIN = (-1.0, 7.0)  # how far above (below) the best other logit class c ends up: from doubtful to certain


@dataclass
class ClassFeatures:
    """`base` [P, De]: pooled features of training pictures. `weight` [C, De], `bias` [C]: the classifier's head.
    `directions` [C, De]: v_c. `names`, `kinds`: C each."""

    base: Tensor
    weight: Tensor
    bias: Tensor
    directions: Tensor
    names: list[str]
    kinds: list[str]

    def draw(self, index: int, rng: random.Random, cells: int = 0) -> Tensor:
        """Features [1 + cells, De] that the classifier calls `names[index]`, about as surely as it is about photographs: of
        the whole picture, and of each of its cells, drawn anew. About half of the cells show something else: in a picture
        they do, and where all showed it a backbone would tell these from pictures and believe them only here."""
        import torch

        parts = [self._plain(rng) if rng.random() < 0.5 else self._one(index, rng) for _ in range(cells)]
        return torch.stack([self._one(index, rng), *parts])

    def _plain(self, rng: random.Random) -> Tensor:
        """A feature between those of two pictures."""
        a, b = (self.base[rng.randrange(len(self.base))] for _ in range(2))
        share = rng.random()
        return share * a + (1 - share) * b

    def _one(self, index: int, rng: random.Random) -> Tensor:
        x = self._plain(rng)
        logits = self.weight @ x + self.bias
        own = logits[index].clone()
        logits[index] = float("-inf")
        distance = (logits.max() - own + rng.uniform(*MARGIN)).clamp(min=0)
        return (x + distance * self.directions[index]).clamp(min=0)  # features are behind a ReLU


def classes() -> list[tuple[int, str, str]]:
    """(class id, name, kind) of every ImageNet class whose name is of the split `train`, like a picture of that name."""
    from polymodal.corpora.concepts import concept, split_of

    with KINDS.open(encoding="utf-8") as lines:
        rows = [(int(row["id"]), row["name"], row["kind"]) for row in csv.DictReader(lines)]
    return [row for row in rows if split_of(concept(row[1])) == "train"]


def encode(pictures: Sequence[Item], network: str, progress: Callable[[int, int], None] | None = None) -> Tensor:
    """Pooled features [P, De] of pictures, by the EfficientNet-Lite in the folder `network`."""
    import torch

    from polymodal import media
    from polymodal.parts.encoders.efficientnet import EfficientNetLite

    encoder = EfficientNetLite(network, features="pooled").eval()
    base = torch.empty(len(pictures), encoder.width)
    with torch.no_grad():
        for start in range(0, len(pictures), 16):
            items = [encoder.prepare(media.load_image(item.read())) for item in pictures[start : start + 16]]
            base[start : start + len(items)] = torch.cat(encoder(items).tokens)
            if progress is not None:
                progress(start + len(items), len(pictures))
    return base


def build(root: Path | None = None, progress: Callable[[int, int], None] | None = None) -> Path:
    """Make the corpus from the built corpora PICTURES and the encoder ASSET, or do nothing if it was made from these.
    Returns its folder. Raises `DataError` or `AssetError` with the command that is missing."""
    from polymodal import assets
    from polymodal.corpora import items

    home = items.folder(NAME, root)
    made_of = {name: items.manifest(name, root)["key"] for name in PICTURES}
    made_of |= assets.digests(ASSET, root=root) | {"version": str(VERSION)}
    key = hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()
    if items.is_built(NAME, root) and items.manifest(NAME, root).get("key") == key:
        return home
    network = str(assets.path(ASSET, root=root))
    pictures = [item for name in PICTURES for item in items.read(name, root) if item.split == "train"]
    names = write(home, encode(pictures, network, progress), network)
    about = {"name": NAME, "key": key, "items": names, "quarantined": 0, "ambiguous": 0}
    about |= {"bytes": (home / FILE).stat().st_size, "split": {"train": names}, "vendor": {}, "category": {}}
    staging = home / "manifest.part"
    staging.write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    os.replace(staging, home / "manifest.json")
    return home


def write(folder: Path, base: Tensor, network: str) -> int:
    """Write the ingredients to `folder`, atomically; the number of classes. `base` [P, De]: pooled features of training
    pictures. Raises `DataError` if there are too few for a covariance."""
    import torch
    from safetensors.torch import load_file, save_file

    if len(base) < 16:
        raise DataError(f"{NAME}: {len(base)} pictures are too few to learn how features vary (16)")
    state = load_file(f"{network}/model.safetensors")
    chosen = classes()
    ids = torch.tensor([row[0] for row in chosen])
    weight = state["_fc.weight"].float()[ids]
    towards = weight @ torch.cov(base.T)
    tensors = {
        "base": base.half(),
        "weight": weight.contiguous(),
        "bias": state["_fc.bias"].float()[ids].contiguous(),
        "directions": (towards / (towards * weight).sum(1, keepdim=True)).contiguous(),
    }
    folder.mkdir(parents=True, exist_ok=True)
    staging = folder / "features.part"
    save_file(tensors, staging, {"classes": json.dumps(chosen)})
    os.replace(staging, folder / FILE)
    return len(chosen)


def read(folder: Path) -> ClassFeatures:
    """The ingredients. Raises `DataError` with the command that builds them."""
    from safetensors import safe_open

    file = folder / FILE
    if not file.is_file():
        raise DataError(f"corpus {NAME} is not built in {folder}; build it with: polymodal corpus build {NAME}")
    with safe_open(file, "pt") as stream:
        tensors = {key: stream.get_tensor(key).float() for key in stream.keys()}  # noqa: SIM118 - not a dict
        rows = json.loads(stream.metadata()["classes"])
    return ClassFeatures(**tensors, names=[row[1] for row in rows], kinds=[row[2] for row in rows])
