"""The corpus `appliances`: the current that appliances draw when switched on. Decides what of PLAID is new in its test.

PLAID (Gao et al., BuildSys 2014; as edited by Schäfer and Leser, arXiv 1701.07681) has three to six measurements of each
appliance of more than 56 households. Its halves are kept as shipped. Which appliance and household a trace is of did not
come with them, so the test may be of appliances that are trained on, and its scores are no promise about others. The five
traces that are in both halves are tested on only. Of the other training traces a tenth, by hash, is for validation.

A trace is safetensors as in `motion`: `samples` [T, 1] float32 with T of 100 to 1,344. It was sampled at 30 kHz for seconds
and then thinned out, nobody says how: neither its rate nor its units are stated.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from polymodal.corpora.building import Job
from polymodal.corpora.concepts import concept
from polymodal.corpora.items import QA, Item
from polymodal.errors import DataError, MediaError
from polymodal.media.series import NOT_STATED, Series, encoded

VERSION = 1
ASSETS = ("plaid",)
LICENCE = "BSD-3-Clause"
APPLIANCES = (  # by class
    "air conditioner",
    "compact fluorescent lamp",
    "fan",
    "fridge",
    "hairdryer",
    "heater",
    "incandescent light bulb",
    "laptop",
    "microwave",
    "vacuum",
    "washing machine",
)
VAL = 10  # percent of the training half


def jobs(folders: Mapping[str, Path]) -> list[Job]:
    """One job per trace. `folders`: of ASSETS. Raises DataError if a file is missing or holds something else."""
    halves = {half: _traces(folders["plaid"] / f"PLAID_{half.upper()}.ts") for half in ("train", "test")}
    tested = set(halves["test"])
    found = []
    for half, traces in halves.items():
        for number, trace in enumerate(traces):
            if half == "test" or trace not in tested:
                values, appliance = trace
                split = "val" if half == "train" and _percent(values) < VAL else half
                item = _item(f"{half}-{number:03d}", appliance, split)
                found.append(Job([item], partial(_trace, values, item.id)))
    return found


def _traces(file: Path) -> list[tuple[str, str]]:
    """(values, appliance) of each line of a file in the archive's format."""
    try:
        lines = file.read_text("utf-8").partition("@data")[2].split()
    except FileNotFoundError as error:
        raise DataError(f"corpus appliances: {file.parent} lacks {file.name}") from error
    found = []
    for number, line in enumerate(lines):
        values, _, label = line.rpartition(":")
        if not label.isdecimal() or int(label) >= len(APPLIANCES):
            raise DataError(f"{file.name}: trace {number} is of class '{label[:20]}', not of 0 to {len(APPLIANCES) - 1}")
        found.append((values, APPLIANCES[int(label)]))
    return found


def _percent(values: str) -> int:
    return int(hashlib.sha1(values.encode()).hexdigest(), 16) % 100


def _item(name: str, appliance: str, split: str) -> Item:
    asked = QA(ask="Which appliance draws this current?", answer=appliance, type="appliance", options=list(APPLIANCES))
    return Item(
        id=name,
        modality="imu",
        file=f"{name}.safetensors",
        caption=appliance,
        concept=concept(appliance),
        group="current",
        source="appliances",
        vendor="plaid",
        licence=LICENCE,
        split=split,
        concept_split="train",
        questions=[asked],
    )


def _trace(values: str, name: str) -> Iterator[bytes]:
    import numpy as np

    try:
        samples = np.array([[float(value)] for value in values.split(",")], np.float32)
    except ValueError as error:
        raise MediaError(f"{name}: not a trace of numbers ({error})") from error
    if not np.isfinite(samples).all():
        raise MediaError(f"{name}: holds samples that are not finite")
    yield encoded(Series(samples, None, ("current",), NOT_STATED))
