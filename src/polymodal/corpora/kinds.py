"""Kinds: one broad word for every picture, "a mammal", "a vehicle", "food". Decides what an item is asked to be a kind of.

Finer than nothing and coarser than a name: a projector that has to say the kind of thousands of drawings learns what the
kinds look like. The twelve categories of the test photographs are kinds under the same words.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from polymodal.corpora.items import Item

UNKNOWN = "thing"
LIVING = ("bird", "mammal", "insect", "fish", "fruit", "vegetable", "flower", "tree")
TWELVE = (*LIVING, "vehicle", "clothing", "tool", "musical instrument")  # the classes of the test photographs
_CATEGORY_WORDS = {"music": "musical instrument"}  # the photographs' class is called by the word a person would use

_EMOJI_SUBGROUPS = {
    **dict.fromkeys(("animal-amphibian", "animal-reptile"), "reptile"),
    **dict.fromkeys(("food-prepared", "food-asian", "food-sweet"), "food"),
    "drink": "drink",
    "dishware": "dish",
    **dict.fromkeys(("place-building", "place-religious"), "building"),
    "place-geographic": "landscape",
    "sky-weather": "weather",
    "sport": "sport",
    **dict.fromkeys(("country-flag", "flag", "subdivision-flag"), "flag"),
    **dict.fromkeys(("transport-sign", "arrow", "warning"), "sign"),
    **dict.fromkeys(("math", "geometric", "keycap", "alphanum", "zodiac", "punctuation", "other-symbol"), "symbol"),
    **dict.fromkeys(("face-smiling", "face-negative", "face-concerned", "face-affection", "face-costume"), "face"),
    **dict.fromkeys(("face-neutral-skeptical", "face-sleepy", "face-unwell", "face-tongue", "cat-face"), "face"),
    **dict.fromkeys(("person", "person-role", "person-fantasy", "person-activity", "person-gesture"), "person"),
    **dict.fromkeys(("person-sport", "person-resting", "family"), "person"),
    **dict.fromkeys(("body-parts", "hands", "hand-fingers-open", "hand-fingers-closed", "hand-single-finger"), "body part"),
    "book-paper": "book",
    **dict.fromkeys(("computer", "phone", "light-video"), "machine"),
    "game": "toy",
    "plant-other": "plant",
}

_STAMP_FOLDERS = {
    "animals/shellfish": "shellfish",
    "animals/amphibians": "reptile",
    "animals/lizards": "reptile",
    "animals/dinosaur": "reptile",
    "food/dessert": "food",
    "plants/mushrooms": "mushroom",
    "plants": "plant",
    "military/vehicles": "vehicle",
    "household/dishes": "dish",
    "household/electronics": "machine",
    "town/houses": "building",
    "town/monuments": "building",
    "town/roadsigns": "sign",
    "town/flags": "flag",
    "symbols": "symbol",
    "people/body_parts": "body part",
}


def kind(item: Item) -> str:
    """The kind of a picture of the corpora `emoji`, `emoji-3d`, `stamps` or `photos12`."""
    if item.category is not None:
        return _CATEGORY_WORDS.get(item.category, item.category)
    place = item.subgroup or ""
    if item.source in ("emoji", "emoji-3d"):
        return _EMOJI_SUBGROUPS.get(place, UNKNOWN)
    return next(
        (word for folder, word in _STAMP_FOLDERS.items() if place == folder or place.startswith(f"{folder}/")), UNKNOWN
    )


def choices(own: str, rng: random.Random) -> str:
    """A shuffled list of kinds that holds `own`, for a question that offers a choice: the twelve, or four to twelve of all,
    so that neither the list nor a place in it gives the answer away."""
    if own in TWELVE and rng.random() < 0.5:
        offered = list(TWELVE)
    else:
        others = sorted({*TWELVE, *_EMOJI_SUBGROUPS.values(), *_STAMP_FOLDERS.values()} - {own})
        offered = [own, *rng.sample(others, rng.randint(3, 11))]
    rng.shuffle(offered)
    return ", ".join(offered)
