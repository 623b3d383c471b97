"""Categories: which of the 12 classes of the photographs an emoji, a stamp or a drawing belongs to, if any.

The sources' own folders are the start, and the exceptions were found by looking at the pictures: emojibase files a
feather under birds and a bus stop under vehicles; Tux Paint files snails and spiders under insects (and so do its
photographs, hence `insect` here means small creeping and flying animals). In doubt an item has no category.
"""

from __future__ import annotations

_EMOJI_SUBGROUPS = {
    "animal-bird": "bird",
    "animal-mammal": "mammal",
    "animal-bug": "insect",
    "food-fruit": "fruit",
    "food-vegetable": "vegetable",
    "plant-flower": "flower",
    "transport-ground": "vehicle",
    "transport-air": "vehicle",
    "transport-water": "vehicle",
    "clothing": "clothing",
    "tool": "tool",
    "musical-instrument": "music",
}

_EMOJI_EXCEPTIONS: dict[str, str | None] = {
    **dict.fromkeys(("fish", "tropical fish", "blowfish", "shark"), "fish"),
    **dict.fromkeys(("spouting whale", "whale", "dolphin", "orca", "seal"), "mammal"),
    **dict.fromkeys(("evergreen tree", "deciduous tree", "palm tree", "leafless tree"), "tree"),
    "avocado": "fruit",
    "tomato": "vegetable",
    "mushroom": "vegetable",
    # parts, traces and fables
    **dict.fromkeys(("feather", "wing", "phoenix", "unicorn", "pig nose", "paw prints"), None),
    **dict.fromkeys(("spider web", "microbe", "rosette", "olive", "peanuts", "chestnut"), None),
    # places, signs and parts under vehicles
    **dict.fromkeys(("station", "bus stop", "motorway", "railway track", "oil drum", "fuel pump", "wheel"), None),
    **dict.fromkeys(("police car light", "horizontal traffic light", "vertical traffic light", "stop sign"), None),
    **dict.fromkeys(("construction", "manual wheelchair", "motorized wheelchair", "skateboard", "roller skate"), None),
    **dict.fromkeys(("anchor", "ring buoy", "parachute", "seat", "satellite"), None),
    # carried or applied, not worn
    **dict.fromkeys(("folding hand fan", "purse", "handbag", "clutch bag", "shopping bags", "backpack"), None),
    **dict.fromkeys(("prayer beads", "lipstick", "ring", "gem stone", "hair pick"), None),
    # weapons, chains and signs under tools
    **dict.fromkeys(("dagger", "crossed swords", "bomb", "boomerang", "bow and arrow", "shield"), None),
    **dict.fromkeys(("balance scale", "white cane", "link", "broken chain", "chains", "hook", "magnet", "gear"), None),
}

_STAMP_FOLDERS = {
    "animals/birds": "bird",
    "animals/mammals": "mammal",
    "animals/marsupials": "mammal",
    "animals/insects": "insect",
    "animals/fish": "fish",
    "food/fruit": "fruit",
    "food/vegetables": "vegetable",
    "plants/flowers": "flower",
    "plants/trees": "tree",
    "vehicles": "vehicle",
    "clothes": "clothing",
    "household/tools": "tool",
    "hobbies/music": "music",
}

_STAMP_EXCEPTIONS: dict[str, str | None] = {
    **dict.fromkeys(("animals/birds/cartoon/penguin_with_spider", "animals/mammals/bears/cartoon/teddy_bear"), None),
    **dict.fromkeys(
        (
            "animals/insects/cartoon/wings",
            "animals/insects/cartoon/spider_computer",
            "animals/insects/cartoon/spider_football",
            "food/fruit/cartoon/apple_core",
            "food/fruit/cartoon/apple_core_01",
            "clothes/clotheshanger",
            "clothes/clothespin_old",
            "clothes/red_handbag",
            "vehicles/7spoke256",
            "vehicles/bikewheel",
            "vehicles/tyre_with_rim",
            "vehicles/emergency/sedan_police",
            "vehicles/locomotive/cartoon/trainSign",
        ),
        None,
    ),
}


_CLIPART_FOLDERS = {
    "animals/birds": "bird",
    "animals/mammals": "mammal",
    "animals/bugs": "insect",
    "animals/fish": "fish",
    "food/fruit": "fruit",
    "food/vegetables": "vegetable",
    "plants/flowers": "flower",
    "plants/trees": "tree",
    "transportation/vehicles": "vehicle",
    "people/clothing": "clothing",
    "recreation/music": "music",
}

_CLIPART_LEFT_OUT = ("people/clothing/jewelry", "recreation/music/CD_Player")

_CLIPART_WORDS: dict[str, str | None] = {  # of a caption
    **dict.fromkeys(("dolphin", "orca"), "mammal"),
    **dict.fromkeys(("wing", "bat", "turkey", "manager", "leisler", "magic", "print", "tux", "wedding", "crown"), None),
    **dict.fromkeys(("core", "tote", "juice", "gumnut", "tile", "fruits", "virus", "emule", "scrathing", "vgcats"), None),
    **dict.fromkeys(("record", "records", "player", "jukebox", "note", "notes", "musical", "croche", "headphones"), None),
    **dict.fromkeys(("microphone", "harmon", "straight", "vinyl", "theory", "treble", "bowsaw", "pruner", "balls"), None),
    **dict.fromkeys(("salad", "doc", "mad", "cartoon", "stereo", "fern"), None),
}


def of_emoji(label: str, subgroup: str) -> str | None:
    """The category of an emoji by its emojibase label and the key of its subgroup."""
    if label in _EMOJI_EXCEPTIONS:
        return _EMOJI_EXCEPTIONS[label]
    return _EMOJI_SUBGROUPS.get(subgroup)


def of_stamp(stamp: str) -> str | None:
    """The category of a stamp by its path below `stamps`, without the suffix."""
    if stamp in _STAMP_EXCEPTIONS:
        return _STAMP_EXCEPTIONS[stamp]
    folders = stamp.split("/")[:-1]
    names = ("/".join(folders[:depth]) for depth in range(1, len(folders) + 1))
    return next((_STAMP_FOLDERS[name] for name in names if name in _STAMP_FOLDERS), None)


def of_clipart(drawing: str, caption: str) -> str | None:
    """The category of a drawing by its path below `svg`, without the suffix, and its caption."""
    folder = drawing.rpartition("/")[0]
    for word in caption.lower().split():
        if word in _CLIPART_WORDS:
            return _CLIPART_WORDS[word]
    return None if folder in _CLIPART_LEFT_OUT else _CLIPART_FOLDERS.get("/".join(folder.split("/")[:2]))
