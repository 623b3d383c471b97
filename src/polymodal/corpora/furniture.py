"""The corpora `furniture` and `furniture-icons`: 820 models of Sweet Home 3D as points, and as small renders. Decides what
a point is: where on a surface it lies, in metres, and the colour there.

POINTS points are drawn evenly over the faces (Osada et al., 2002), seeded by the model's path. Models are drawn in any
unit, and the catalogue says how large each is, so each axis is stretched to that, as the program itself does; y points up
and the middle of the box is the origin. What a test photograph shows is excluded.

Splits are by name, and the render of a model shares its split. Half of the models are of one of the FAMILIES, which the
noun of a name tells ("coffee table", "round table"): `subgroup`. A quarter of those that would be trained on are `held-out`
instead: models never seen, of families that are, so that naming can be tested.

A cloud is safetensors: `points` [POINTS, 6] float32, x y z in metres and r g b in 0 to 1.
"""

from __future__ import annotations

import io
import re
import zlib
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from zipfile import BadZipFile, ZipFile

from polymodal.corpora import pictures
from polymodal.corpora.building import Job
from polymodal.corpora.concepts import concept, exclusions, phrases, split_of, withheld
from polymodal.corpora.items import QA, Item
from polymodal.errors import DataError, MediaError
from polymodal.media.points import surface

if TYPE_CHECKING:
    import numpy as np
    import trimesh

VERSION = 2
ASSETS = ("sweethome3d",)
POINTS = 1024
LICENCES = {  # by catalogue
    "BlendSwap-CC-0": "CC0-1.0",
    "BlendSwap-CC-BY": "CC-BY-3.0",
    "KatorLegaz": "CC-BY-3.0-US",
    "Reallusion": "CC-BY-3.0-US",
    "Scopia": "CC-BY-3.0",
}
FAMILIES = {  # what a model is called: nouns that names end in
    **{name: (name,) for name in ("bed", "bench", "bottle", "box", "cabinet", "chair", "cup", "desk", "door", "glass")},
    **{name: (name,) for name in ("plug", "radiator", "switch", "table", "vase", "wardrobe", "washbasin", "window")},
    "bookcase": ("bookcase", "shelve"),  # "shelves", as `concept` has it
    "lamp": ("lamp", "lamppost", "lantern", "light", "spotlight"),
    "person": ("boy", "female", "girl", "male"),
    "plant": ("bamboo", "cactus", "ficus", "lily", "orchid", "plant", "spathiphyllum", "tulip", "yucca"),
    "sofa": ("couch", "sofa"),
    "tree": ("acacia", "beech", "cypress", "maple", "pine", "poplar", "tree"),
}
_CATALOGUE = "PluginFurnitureCatalog.properties"


class Model(NamedTuple):
    """An entry of a catalogue. `size`: width, height and depth in cm; `rotation`: row by row; `icon`, `model`: members."""

    number: int
    name: str
    category: str
    tags: tuple[str, ...]
    size: tuple[float, float, float]
    rotation: tuple[float, ...]
    icon: str
    model: str


def jobs(kind: str, folders: Mapping[str, Path]) -> list[Job]:
    """One job per model. `kind`: `furniture` or `furniture-icons`; `folders`: of ASSETS. Raises DataError if a catalogue is
    missing or is none."""
    make = cloud if kind == "furniture" else _render
    return [
        Job([_item(kind, file.stem, LICENCES[file.stem], model)], partial(make, file, model))
        for file, model in models(kind, folders["sweethome3d"])
    ]


def models(kind: str, home: Path) -> Iterator[tuple[Path, Model]]:
    """(catalogue, model) of every model, for the corpus `kind`. `home`: the asset `sweethome3d`. Raises DataError as
    `jobs` does."""
    for vendor in LICENCES:
        file = home / f"{vendor}.sh3f"
        try:
            with ZipFile(file) as archive:
                listed = list(catalogue(archive.read(_CATALOGUE).decode("latin-1")))
        except (OSError, BadZipFile, KeyError, ValueError) as error:
            raise DataError(f"corpus {kind}: {file.name} is no catalogue of furniture ({error})") from error
        yield from ((file, model) for model in listed)


def catalogue(text: str) -> Iterator[Model]:
    """The models of a Java property file: lines of `key#number=value`, other letters as \\uXXXX. Raises KeyError or
    ValueError for an entry that lacks something."""
    text = re.sub(r"\\u([0-9a-fA-F]{4})", lambda match: chr(int(match[1], 16)), text)
    entries: dict[int, dict[str, str]] = {}
    for key, number, value in re.findall(r"^(\w+)#(\d+)=(.*)$", text, re.MULTILINE):
        entries.setdefault(int(number), {})[key] = value.strip()
    for number, entry in sorted(entries.items()):
        width, height, depth = (float(entry[key]) for key in ("width", "height", "depth"))
        yield Model(
            number,
            re.sub(r"\s+#?\d+$", "", entry["name"]),
            entry["category"].lower(),
            tuple(tag.strip().lower() for tag in entry.get("tags", "").split(",") if tag.strip()),
            (width, height, depth),
            tuple(map(float, entry.get("modelRotation", "1 0 0 0 1 0 0 0 1").split())),
            entry["icon"].lstrip("/"),
            entry["model"].lstrip("/"),
        )


def family(key: str) -> str | None:
    """The one of FAMILIES that a concept belongs to.

    >>> family("chair with cushion"), family("double french window pane"), family("rocking horse")
    ('chair', 'window', None)
    """
    noun = re.split(r" (?:with|on|(?:small )?pane)\b", key)[0].split()[-1]
    return next((name for name, nouns in FAMILIES.items() if noun in nouns), None)


def cloud(file: Path, model: Model) -> Iterator[bytes]:
    """The points of a model in the catalogue `file`, as safetensors. Raises MediaError if it has no surface."""
    yield encoded(model.model, _meshes(file, model), model.size, model.rotation)


def encoded(
    name: str, meshes: list[trimesh.Trimesh], size: tuple[float, float, float], rotation: tuple[float, ...]
) -> bytes:
    """What `sampled` draws, seeded by `name`, as safetensors. Raises MediaError if the meshes have no surface."""
    from safetensors.numpy import save

    points = sampled(meshes, size, rotation, zlib.crc32(name.encode()))
    if points is None:
        raise MediaError(f"{name}: a model without a surface")
    # One entry only: safetensors writes several in no fixed order.
    return save({"points": points}, {"channels": "x y z in m, r g b"})


def sampled(
    meshes: list[trimesh.Trimesh], size: tuple[float, float, float], rotation: tuple[float, ...], seed: int
) -> np.ndarray | None:
    """[POINTS, 6] float32 of meshes, each with a colour or texture, stretched to `size` (cm); None without a surface."""
    import numpy as np

    meshes = [mesh for mesh in meshes if mesh.area > 0]
    if not meshes:
        return None
    turned = np.array(rotation).reshape(3, 3)
    corners = np.concatenate([mesh.vertices for mesh in meshes]) @ turned.T
    low, high = corners.min(0), corners.max(0)
    stretch = np.array(size) / 100 / np.where(high > low, high - low, 1)
    for mesh in meshes:
        mesh.vertices = (mesh.vertices @ turned.T - (low + high) / 2) * stretch
    points = surface(meshes, POINTS, seed)
    return points if np.isfinite(points).all() else None


def _meshes(file: Path, model: Model) -> list[trimesh.Trimesh]:
    """The parts of a model, one for each material."""
    import trimesh

    folder = model.model.rpartition("/")[0] + "/"
    with ZipFile(file) as archive:
        beside = {
            name.removeprefix(folder): io.BytesIO(archive.read(name))
            for name in archive.namelist()
            if name.startswith(folder)
        }
    try:
        scene = trimesh.load_scene(
            beside[model.model.removeprefix(folder)], file_type="obj", resolver=trimesh.resolvers.ZipResolver(beside)
        )
    except (KeyError, ValueError, IndexError) as error:
        raise MediaError(f"{model.model}: not a model that can be read ({error})") from error
    return [part for part in scene.dump() if isinstance(part, trimesh.Trimesh)]


def _render(file: Path, model: Model) -> Iterator[bytes]:
    from polymodal.media.image import load_image

    with ZipFile(file) as archive:
        try:
            icon = archive.read(model.icon)
        except KeyError as error:
            raise MediaError(f"{model.icon}: no such picture in {file.name}") from error
    yield pictures.encoded(pictures.square(load_image(icon)))


def _item(kind: str, vendor: str, licence: str, model: Model) -> Item:
    solid = kind == "furniture"
    id = f"{vendor}/{model.number:03d}"
    key = concept(model.name)
    split = "excluded" if any(phrase in exclusions() for phrase in phrases(model.name)) else split_of(key)
    of = family(key)
    unseen = split == "train" and of is not None and withheld(f"furniture {id}")
    questions = [QA(ask="What is this?", answer=model.name, type="name")]
    if solid:
        height = f"{model.size[1] / 100:.1f} m" if model.size[1] >= 100 else f"{model.size[1]:.0f} cm"
        questions += [
            QA(ask="Where does it belong?", answer=model.category, type="category"),
            QA(ask="How tall is it?", answer=height, type="size"),
        ]
    return Item(
        id=id,
        modality="points" if solid else "image",
        file=f"{id}.safetensors" if solid else f"{id}.png",
        caption=model.name,
        concept=key,
        tags=list(model.tags),
        group=model.category,
        subgroup=of,
        source=kind,
        vendor=vendor,
        licence=licence,
        split="held-out" if unseen else split,
        concept_split=split,
        questions=questions,
    )
