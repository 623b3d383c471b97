"""Tiny sources: two emoji vendors' packages and a tree of stamps, made of a few coloured shapes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

# label, code points, group, subgroup: "dog face" and "duck" are things that test photographs show
EMOJI = (
    ("dog face", "1F436", 3, 34),
    ("duck", "1F986", 3, 35),
    ("eagle", "1F985", 3, 35),
    ("woman: red hair", "1F469-200D-1F9B0", 1, 23),
    ("bus stop", "1F68F", 5, 54),
    ("sun", "2600", 5, 59),
)
NAMES = {
    "groups": {"1": "people-body", "2": "component", "3": "animals-nature", "5": "travel-places"},
    "subgroups": {
        "23": "person",
        "32": "skin-tone",
        "34": "animal-mammal",
        "35": "animal-bird",
        "54": "transport-ground",
        "59": "sky-weather",
    },
}
STAMPS = {
    "animals/birds/duck": "A duck.",  # one of the 206
    "animals/birds/cartoon/drake": "Two ducks.",
    "animals/birds/cartoon/other-duck": "A  duck!",
    "animals/birds/stork": "A stork.",
    "vehicles/bikewheel": "A bicycle wheel.",
    "vehicles/tram": "The tram\u2014it runs on rails.",
}


def svg(colour: str, size: str = 'width="8" height="8"') -> str:
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 8 8" {size}>{body(colour)}</svg>'


def body(colour: str) -> str:
    return f'<rect x="1" y="2" width="4" height="3" fill="{colour}"/>'


def colour(index: int, shift: int) -> str:
    return f"#{40 * index + 10:02x}{90 + shift:02x}20"


@pytest.fixture
def emoji_packages(tmp_path) -> dict[str, Path]:
    """The packages of emojibase and of all five vendors by asset name."""
    packages = tmp_path / "packages"
    home = packages / "emojibase"
    entries = [
        {"label": label, "hexcode": code, "group": group, "subgroup": subgroup, "tags": ["a tag"]}
        for label, code, group, subgroup in EMOJI
    ]
    entries.append({"label": "regional indicator A", "hexcode": "1F1E6"})
    entries.append({"label": "dark skin tone", "hexcode": "1F3FF", "group": 2, "subgroup": 32})
    _write(home / "meta" / "groups.json", json.dumps(NAMES))
    _write(home / "en" / "data.json", json.dumps(entries))
    folders = {"emojibase": home}
    for shift, asset in enumerate(("noto-emoji", "twemoji", "fluent-emoji-flat")):
        folders[asset] = packages / asset
        icons = {f"icon-{i}": {"body": body(colour(i, shift))} for i in range(len(EMOJI))}
        characters = {code.lower(): f"icon-{i}" for i, (_, code, *_) in enumerate(EMOJI)}
        aliases = {"alias": {"parent": "icon-5", "hFlip": True}}
        _write(folders[asset] / "icons.json", json.dumps({"icons": icons, "aliases": aliases, "width": 8, "height": 8}))
        _write(folders[asset] / "chars.json", json.dumps(characters | {"2600-fe0f": "alias", "1f3ff": "icon-0"}))
    folders["openmoji"], folders["fluent-emoji-3d"] = packages / "openmoji", packages / "fluent-emoji-3d"
    for index, (_, code, *_) in enumerate(EMOJI):
        _write(folders["openmoji"] / "color" / "svg" / f"{code}.svg", svg(colour(index, 5)))
        file = folders["fluent-emoji-3d"] / "assets" / f"{code.lower()}.webp"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGBA", (16, 16), (30 * index, 20, 200, 128)).save(file, lossless=True)
    return folders


@pytest.fixture
def stamp_tree(tmp_path) -> Path:
    home = tmp_path / "stamps"
    for index, (stem, caption) in enumerate(STAMPS.items()):
        _write(home / f"{stem}.txt", f"{caption}\nfr.utf8=autre chose\n")
        Image.new("RGBA", (20, 10), (30 * index, 90, 0, 255)).save(home / f"{stem}.png")
    _write(home / "animals/birds/cartoon/drawn.txt", "A drawn swan.\n")
    _write(home / "animals/birds/cartoon/drawn.svg", svg("green", 'width="6pt" height="3mm"'))
    _write(home / "animals/no-picture.txt", "Nothing to see.\n")
    return home


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, "utf-8")
