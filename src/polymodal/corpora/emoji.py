"""The corpora `emoji` and `emoji-3d`: about 1,900 emoji, drawn by four vendors and rendered in 3D by one of them, named by
emojibase. Decides who may be trained on.

OpenMoji is held out of all training, here and later: it is the one vendor whose drawings resemble nobody else's (the
nearest picture of another vendor shows the same emoji in 6-10 % of cases; 31-33 % between Noto and Twemoji, 94 %
between the two Fluent styles, which are one design). Skin-tone variants, hair swatches and single flag letters are no
pictures of a thing of their own and are left out.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from polymodal.corpora import pictures
from polymodal.corpora.building import Job
from polymodal.corpora.categories import of_emoji
from polymodal.corpora.concepts import concept, split_of
from polymodal.corpora.items import Item
from polymodal.errors import DataError

VERSION = 3
HELD_OUT = "openmoji"


@dataclass(frozen=True)
class Vendor:
    """Where a vendor's drawings come from: the asset, its licence, and how its folder is laid out."""

    asset: str
    licence: str
    layout: str  # iconify: icons.json and chars.json; otherwise a pattern of files named by code points


VENDORS = {
    "noto": Vendor("noto-emoji", "Apache-2.0", "iconify"),
    "twemoji": Vendor("twemoji", "CC-BY-4.0", "iconify"),
    "fluent-flat": Vendor("fluent-emoji-flat", "MIT", "iconify"),
    "fluent-3d": Vendor("fluent-emoji-3d", "MIT", "assets/*.webp"),
    "openmoji": Vendor("openmoji", "CC-BY-SA-4.0", "color/svg/*.svg"),
}
# What each vendor's way of drawing is called, in words that a user might say.
STYLES = {"noto": "noto", "twemoji": "twemoji", "fluent-flat": "flat", "fluent-3d": "3d", "openmoji": "openmoji"}
FLAT = ("noto", "twemoji", "fluent-flat", "openmoji")
MEMBERS = {"emoji": FLAT, "emoji-names": FLAT, "emoji-3d": ("fluent-3d",)}


def jobs(corpus: str, folders: Mapping[str, Path]) -> list[Job]:
    """One job per emoji and vendor of MEMBERS. `folders`: the unpacked packages by asset name, of `packages`.

    Raises DataError if a package lacks a file or is laid out otherwise.
    """
    try:
        entries = list(labels(folders["emojibase"]))
        return [job for name in MEMBERS[corpus] for job in _vendor_jobs(corpus, name, folders, entries)]
    except (FileNotFoundError, KeyError) as error:
        raise DataError(f"corpus {corpus}: the packages lack {error}") from error


def packages(corpus: str) -> tuple[str, ...]:
    """The assets that a corpus of MEMBERS is built from."""
    return "emojibase", *(VENDORS[name].asset for name in MEMBERS[corpus])


def normalised(code: str) -> str:
    """The key on which vendors are joined: lower-case hex without variation selectors and leading zeros."""
    return "-".join(part.lstrip("0") for part in code.lower().split("-") if part != "fe0f")


def drawn(name: str, home: Path) -> dict[str, str | Path]:
    """What a vendor draws by normalised code points: SVG text, or the file of a drawing. `home`: its unpacked package."""
    vendor = VENDORS[name]
    if vendor.layout == "iconify":
        return dict(_iconify(home))
    return {normalised(file.stem): file for file in home.glob(vendor.layout)}


def _vendor_jobs(corpus: str, name: str, folders: Mapping[str, Path], entries: list[dict[str, Any]]) -> Iterator[Job]:
    home = folders[VENDORS[name].asset]
    drawings = {key: _maker(drawing, f"{name} {key}") for key, drawing in drawn(name, home).items()}
    if not drawings:
        raise DataError(f"corpus {corpus}: no drawings of {name} in {home}")
    for entry in entries:
        if entry["key"] in drawings:
            yield Job([_item(corpus, name, entry)], partial(_one, drawings[entry["key"]]))


def _maker(drawing: str | Path, name: str) -> partial[bytes]:
    if isinstance(drawing, str):
        return partial(pictures.from_svg, drawing, name)
    return partial(pictures.from_file, drawing)


def _one(make: partial[bytes]) -> Iterator[bytes]:
    yield make()


def _item(corpus: str, vendor: str, entry: dict[str, Any]) -> Item:
    shared = described(entry)
    if vendor == HELD_OUT:
        shared["split"] = "held-out"
    return Item(
        id=f"{vendor}-{entry['key']}",
        modality="image",
        file=f"{vendor}/{entry['key']}.png",
        source=corpus,
        vendor=vendor,
        licence=VENDORS[vendor].licence,
        **shared,
    )


def described(entry: dict[str, Any]) -> dict[str, Any]:
    """The fields of an item that follow from which emoji it is. `entry`: one of `labels`."""
    key = concept(entry["label"])
    split = split_of(key)
    return {
        "caption": entry["label"],
        "concept": key,
        "category": of_emoji(entry["label"], entry["subgroup"]),
        "tags": entry["tags"],
        "group": entry["group"],
        "subgroup": entry["subgroup"],
        "split": split,
        "concept_split": split,
    }


def labels(emojibase: Path) -> Iterator[dict[str, Any]]:
    """Label, tags and classification of every emoji, in Unicode's order."""
    names = json.loads((emojibase / "meta" / "groups.json").read_text("utf-8"))
    for entry in json.loads((emojibase / "en" / "data.json").read_text("utf-8")):
        if "group" not in entry:  # a single regional indicator, half of a flag
            continue
        group = names["groups"][str(entry["group"])]
        if group == "component":  # swatches of skin and hair
            continue
        yield {
            "key": normalised(entry["hexcode"]),
            "label": entry["label"],
            "tags": entry.get("tags", []),
            "group": group,
            "subgroup": names["subgroups"][str(entry["subgroup"])],
        }


def _iconify(home: Path) -> Iterator[tuple[str, str]]:
    """(key, SVG text) of an icon set in the Iconify format, aliases resolved."""
    icons = json.loads((home / "icons.json").read_text("utf-8"))
    characters = json.loads((home / "chars.json").read_text("utf-8"))
    for code, name in characters.items():
        alias = icons.get("aliases", {}).get(name, {})
        icon = icons["icons"].get(alias.get("parent", name))
        if icon is None:
            raise DataError(f"{home / 'icons.json'}: no icon {name} for the character {code}")
        box = {"left": 0, "top": 0, "width": icons.get("width", 16), "height": icons.get("height", 16)} | {
            side: icon[side] for side in ("left", "top", "width", "height") if side in icon
        }
        body = icon["body"]
        if alias.get("hFlip"):
            body = f'<g transform="translate({2 * box["left"] + box["width"]} 0) scale(-1 1)">{body}</g>'
        yield (
            normalised(code),
            '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
            f'viewBox="{box["left"]} {box["top"]} {box["width"]} {box["height"]}" '
            f'width="{box["width"]}" height="{box["height"]}">{body}</svg>',
        )
