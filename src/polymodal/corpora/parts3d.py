"""The corpus `parts3d`: electronic parts of KiCad's library as points. Decides how a part's name becomes words.

Names are structured: `PinHeader_2x12_P2.54mm_Horizontal` is "pin header, 2 rows of 12, 2.54 mm pitch, horizontal". Of each
name only what is listed here is read; makers and part numbers cannot be seen, so nothing is said or asked about them. Pins
are asked for up to COUNTABLE: of more, POINTS points draw too few each. A family lies in one split, and so do
the pin headers of all pitches, whose families differ in nothing else. Of the families that are trained on, about a quarter
of the parts are `held-out`: parts never seen of a kind that is. Names that differ in numbers alone (2x12 pins and 2x13) are
on one side of that.

A cloud is as in `furniture`, and the file is VRML: z points up from the board, which becomes y, and one unit is 0.1 inch
(VRML has no units; KiCad Library Convention M2.2 states this one). Of VRML only what the library uses is read: shapes
of triangles, each with a material of its own or one that was defined before. A model that moves or scales its shapes is
set aside.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from polymodal.corpora.building import Job
from polymodal.corpora.concepts import concept, exclusions, phrases, split_of, withheld
from polymodal.corpora.furniture import encoded
from polymodal.corpora.items import QA, Item
from polymodal.errors import DataError, MediaError

if TYPE_CHECKING:
    import trimesh

VERSION = 2
ASSETS = ("kicad-packages3d",)
UNIT = 0.254  # cm
COUNTABLE = 64  # pins: at most 16 points each
KINDS = {  # of families whose name does not say it
    "Battery": "battery holder",
    "Button_Switch": "switch",
    "Buzzer_Beeper": "buzzer",
    "Capacitor_Tantalum": "tantalum capacitor",
    "Connector": "fan connector",
    "Connector_BarrelJack": "barrel jack",
    "Connector_Card": "memory card slot",
    "Connector_Coaxial": "coaxial connector",
    "Connector_Dsub": "D-sub connector",
    "Connector_FFC-FPC": "flat cable connector",
    "Connector_Pin": "solder pin",
    "Connector_PinHeader": "pin header",
    "Connector_PinSocket": "pin socket",
    "Connector_TE-Connectivity": "TE connector",
    "Converter_ACDC": "AC-DC converter",
    "Converter_DCDC": "DC-DC converter",
    "Display_7Segment": "seven-segment display",
    "Ferrite": "ferrite core",
    "LED": "LED",
    "Module": "microcontroller module",
    "MountingEquipment": "DIN rail adapter",
    "Mounting_Wuerth": "spacer",
    "OptoDevice": "optoelectronic device",
    "Package_DFN_QFN": "DFN or QFN package",
    "Package_TO_SOT": "transistor package",
    "RF_Antenna": "antenna",
    "RF_Converter": "balun",
    "RF_Module": "radio module",
    "Sensor": "humidity sensor",
    "Sensor_Audio": "microphone",
    "Sensor_Current": "current sensor",
    "Sensor_Distance": "distance sensor",
    "Sensor_Pressure": "pressure sensor",
    "TerminalBlock_Altech": "terminal block",
    "TerminalBlock_Phoenix": "terminal block",
    "TestPoint": "test point",
    "Transistor_Power_Module": "power transistor module",
    "Valve": "vacuum tube",
}


class _Rule(NamedTuple):
    """What a part of a name says in some families. `asked`: question, answer, type; `pins`: its numbers are to multiply."""

    families: str
    pattern: str
    said: str
    asked: tuple[str, str, str] | None = None
    pins: bool = False


_ROWS = ("How many rows of pins does it have?", "{0}", "count")
_CELLS = ("How many cells does it hold?", "{0}", "count")
_N = r"(\d+(?:\.\d+)?)"
_RULES = (  # the first that fits
    _Rule("Connector|TerminalBlock", r"(1)x(\d+)(?:-\d+MP)?", "1 row of {1}", _ROWS, pins=True),
    _Rule("Connector|TerminalBlock", r"(\d+)x(\d+)(?:-\d+MP)?", "{0} rows of {1}", _ROWS, pins=True),
    _Rule(
        "Package", r"[A-Z]*(?:BGA|[QD]FN|SON|QFP|DIP|LGA|SO|SOIC|SO[PJ]|SIP)(?:-I)?-(\d+)W?(?:-1EP)?", "{0} pins", pins=True
    ),
    _Rule("Connector_Dsub", r"DSUB-(\d+)(?:-HD)?", "{0} pins", pins=True),
    _Rule("Battery", r"(1)x\w+", "for 1 cell", _CELLS),
    _Rule("Battery", r"(\d)x\w+", "for {0} cells", _CELLS),
    _Rule("Button_Switch", r"SPSTx(\d+)", "{0} in a row", ("How many switches does it have?", "{0}", "count")),
    _Rule("", rf"P{_N}mm", "{0} mm pitch", ("What is its pitch?", "{0} mm", "size")),
    _Rule("", rf"L{_N}mm", "{0} mm long", ("How long is it?", "{0} mm", "size")),
    _Rule("", rf"D{_N}mm", "{0} mm in diameter", ("What is its diameter?", "{0} mm", "size")),
    _Rule("", rf"H{_N}mm", "{0} mm high", ("How high is it?", "{0} mm", "size")),
    _Rule("", rf"{_N}x{_N}mm", "{0} x {1} mm"),
    *(
        _Rule("", name, said)
        for name, said in {
            "Axial": "axial",
            "Radial": "radial",
            "Disc": "disc",
            "Elec": "electrolytic",
            "Bridge": "bridge",
            "Array": "array",
            "Slide": "with slides",
            "Piano": "with piano keys",
            "Male": "male",
            "Female": "female",
            "(?:SMD)?Socket": "in a socket",
            "LowProfile": "low",
            "ThreadedFlange": "with a threaded flange",
            "Mount(?:ing)?Holes?": "with mounting holes",
        }.items()
    ),
)
_CHOICES = (  # a question and its answers, by the part of a name or of its family's that gives each
    ("Is it horizontal or vertical?", "orientation", {"Horizontal": "horizontal", "Vertical": "vertical"}),
    ("Is it soldered onto the surface or through holes?", "mount", {"SMD": "onto the surface", "THT": "through holes"}),
)
_MATERIAL = re.compile(r"(?:DEF\s+(\S+)\s+)?Material\s*\{[^}]*?diffuseColor\s+(\S+)\s+(\S+)\s+([^\s}]+)")
_MOVED = re.compile(r"\b(?:Transform|Inline|PROTO)\b")
_LICENCES = {"CC-BY-SA-4.0-with-exception": "CC-BY-SA-4.0 with exception", "GPL-3+": "GPL-3.0-or-later"}


def jobs(folders: Mapping[str, Path]) -> list[Job]:
    """One job per part. `folders`: of ASSETS. Raises DataError if there are none, or nothing says what their licence is."""
    home = folders["kicad-packages3d"]
    files = sorted(home.glob("*.3dshapes/*.wrl"))
    if not files:
        raise DataError(f"corpus parts3d: {home} has no parts (*.3dshapes/*.wrl)")
    stated = home / "licences" / "kicad-packages3d" / "copyright"
    try:
        rules = licences(stated.read_text("utf-8"))
    except OSError as error:
        raise DataError(f"corpus parts3d: {stated} does not say what the licences are ({error})") from error
    return [Job([_item(file, rules)], partial(cloud, file)) for file in files]


def licences(text: str) -> list[tuple[str, str]]:
    """(pattern over paths, licence) of Debian's machine-readable copyright format 1.0, where the last that fits counts.

    The first is of all files. Raises DataError if it is not.
    """
    found = re.findall(r"^Files:(.*?)^Copyright:.*?^License:\s*(\S+)", text, re.MULTILINE | re.DOTALL)
    rules = [(pattern, _LICENCES.get(licence, licence)) for patterns, licence in found for pattern in patterns.split()]
    if not rules or rules[0][0] != "*":
        raise DataError("corpus parts3d: its copyright file states no licence of all files (Files: *)")
    return rules


def kind(family: str) -> str:
    """What the parts of a family are, as a person calls them.

    >>> kind("Connector_PinHeader_2.54mm"), kind("Package_SO"), kind("Resistor_THT")
    ('pin header', 'SO package', 'resistor')
    """
    name = re.sub(r"_(SMD|THT|\d\.\d+mm)$", "", family)
    if name in KINDS:
        return KINDS[name]
    first, *rest = name.split("_")
    return f"{rest[0]} {first.lower()}" if first in ("Connector", "Package") else name.replace("_", " ").lower()


def described(family: str, name: str) -> tuple[str, list[QA]]:
    """The caption of a part, and what can be asked about it: `family` and `name` of its file, both without a suffix."""
    of, parts = kind(family), name.split("_")
    words, asked = [of], [QA(ask="What is this?", answer=of, type="name")]
    for part in parts:
        fitting = (rule for rule in _RULES if re.match(rule.families, family) and re.fullmatch(rule.pattern, part))
        if (rule := next(fitting, None)) and (match := re.fullmatch(rule.pattern, part)):
            numbers = [f"{float(number):g}" for number in match.groups()]
            words.append(rule.said.format(*numbers))
            if rule.asked:
                ask, answer, type = rule.asked
                asked.append(QA(ask=ask, answer=answer.format(*numbers), type=type))
            if rule.pins and (pins := math.prod(map(int, numbers))) <= COUNTABLE:
                asked.append(QA(ask="How many pins does it have?", answer=str(pins), type="count"))
    for ask, type, answers in _CHOICES:
        for part in [part for part in (*family.split("_"), *parts) if part in answers][:1]:
            words.append(answers[part] if type == "orientation" else f"soldered {answers[part]}")
            asked.append(QA(ask=ask, answer=answers[part], type=type, options=list(answers.values())))
    return ", ".join(dict.fromkeys(words)), asked


def cloud(file: Path) -> Iterator[bytes]:
    """The points of a part, as safetensors. Raises MediaError if its file cannot be read or has no surface."""
    import numpy as np

    meshes = triangles(file.read_text("utf-8", errors="replace"), file.name)
    if not meshes:
        raise MediaError(f"{file.name}: a model without a surface")
    x, y, z = np.ptp(np.concatenate([mesh.vertices for mesh in meshes]), axis=0) * UNIT
    yield encoded(f"{file.parent.name}/{file.name}", meshes, (x, z, y), (1, 0, 0, 0, 0, 1, 0, -1, 0))


def triangles(text: str, name: str) -> list[trimesh.Trimesh]:
    """The shapes of a VRML file, those of one colour as one mesh, in the file's units and axes.

    Raises MediaError, which names the file `name`, for what is no such file or moves its shapes.
    """
    import numpy as np
    import trimesh

    if moved := _MOVED.search(text := re.sub(r"#[^\n]*", "", text)):
        raise MediaError(f"{name}: a model with a {moved[0]}, which is not read")
    colors = {match[1]: match.groups()[1:] for match in _MATERIAL.finditer(text)}
    soups: dict[tuple[str, ...], list[np.ndarray]] = {}
    meshes = []
    try:
        for shape in re.split(r"\bShape\s*\{", text)[1:]:
            faces, places = (re.search(rf"\b{key}\s*\[([^\]]*)\]", shape) for key in ("coordIndex", "point"))
            if faces and places:  # others only define materials
                own, used = _MATERIAL.search(shape), re.search(r"\bUSE\s+([^\s}]+)", shape)
                color = own.groups()[1:] if own else colors.get(used[1]) if used else None
                corners = np.array(places[1].replace(",", " ").split(), float).reshape(-1, 3)
                indices = np.array(faces[1].replace(",", " ").split(), int).reshape(-1, 4)
                if color is None or (indices[:, 3] != -1).any() or (indices[:, :3] < 0).any():
                    raise ValueError("a shape without a material" if color is None else "not all faces are triangles")
                soups.setdefault(color, []).append(corners[indices[:, :3]].reshape(-1, 3))
        for color, soup in soups.items():
            corners = np.concatenate(soup)
            triples = np.arange(len(corners)).reshape(-1, 3)
            rgba = [*map(float, color), 1.0]
            meshes.append(trimesh.Trimesh(corners, triples, face_colors=rgba, process=False))
    except (ValueError, IndexError) as error:
        raise MediaError(f"{name}: not a model that can be read ({error})") from error
    return meshes


def _item(file: Path, rules: list[tuple[str, str]]) -> Item:
    family, path = file.parent.name.removesuffix(".3dshapes"), f"{file.parent.name}/{file.name}"
    of = kind(family)
    caption, questions = described(family, file.stem)
    split = "excluded" if any(phrase in exclusions() for phrase in phrases(of)) else split_of(concept(of))
    series = re.sub(r"[\d.]+", "#", f"{of} {file.stem}")
    unseen = split == "train" and withheld(series)
    return Item(
        id=f"{family}/{file.stem}",
        modality="points",
        file=re.sub(r"[^\w/-]", "-", f"{family}/{file.stem}") + ".safetensors",
        caption=caption,
        concept=concept(of),
        group=of,
        subgroup=family,
        source="parts3d",
        vendor="KiCad",
        licence=next(licence for pattern, licence in reversed(rules) if fnmatchcase(path, pattern)),
        split="held-out" if unseen else split,
        concept_split=split,
        questions=questions,
    )
