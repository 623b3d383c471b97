"""The corpus `motion`: a smart watch's accelerometer and gyroscope while its wearer exercises. Decides what is new
in the test: the person.

Shoulder exercises (Burns et al., arXiv 1802.01489) are cut into windows of two seconds that do not overlap; people 1 to 7
are trained on, 8 is validated on, 9 and 10 are tested on, because windows of one person resemble each other more than
windows of one exercise. BasicMotions (UEA archive) keeps the training and test clips it came with; who is in which is not
said there, nor are its units.

A clip is safetensors: `samples` [T, 6] float32, ax ay az wx wy wz, and as JSON in the metadata `about` its `rate`
(Hz), `channels` and `units` (`polymodal.media.series`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from polymodal.corpora.building import Job
from polymodal.corpora.concepts import concept
from polymodal.corpora.items import QA, Item
from polymodal.errors import DataError, MediaError
from polymodal.media.series import NOT_STATED, Series, encoded

if TYPE_CHECKING:
    import numpy as np

VERSION = 2
ASSETS = ("watch-motion", "basic-motions")
LICENCE = "BSD-3-Clause"
WINDOW = 100  # samples
RATES = {"watch-motion": 50, "basic-motions": 10}  # Hz
UNITS = {"watch-motion": "g, rad/s", "basic-motions": NOT_STATED}
CHANNELS = ("ax", "ay", "az", "wx", "wy", "wz")
VAL, TEST = (8,), (9, 10)  # people
EXERCISES = {
    "PEN": "pendulum",
    "ABD": "abduction",
    "FEL": "forward elevation",
    "IR": "internal rotation",
    "ER": "external rotation",
    "TRAP": "trapezius extension",
    "ROW": "upright row",
}
ACTIVITIES = ("standing", "walking", "running", "badminton")


def jobs(folders: Mapping[str, Path]) -> list[Job]:
    """One job per clip. `folders`: of ASSETS. Raises DataError if a file is missing or holds something else."""
    return [*_exercises(folders["watch-motion"]), *_activities(folders["basic-motions"])]


def _exercises(home: Path) -> Iterator[Job]:
    from safetensors import safe_open

    file = home / "motion.safetensors"
    try:
        rows = json.loads((home / "recordings.json").read_text("utf-8"))
        with safe_open(file, "numpy") as stream:
            lengths = [stream.get_slice(f"{number:03d}").get_shape()[0] for number in range(len(rows))]
    except FileNotFoundError as error:
        raise DataError(f"corpus motion: {home} lacks {Path(error.filename or file).name}") from error
    for number, (row, length) in enumerate(zip(rows, lengths, strict=True)):
        exercise, side, person = EXERCISES[row["exercise"]], row["side"], row["subject"]
        split = "val" if person in VAL else "test" if person in TEST else "train"
        questions = [
            QA(ask="Which exercise is this?", answer=exercise, type="activity", options=list(EXERCISES.values())),
            QA(ask="On which arm is the watch?", answer=side, type="side", options=["left", "right"]),
        ]
        for start in range(0, length - WINDOW + 1, WINDOW):
            name = f"person-{person:02d}/{number:03d}-{start:04d}"
            caption = f"{exercise} of the {side} shoulder"
            item = _item("watch-motion", name, caption, exercise, split, questions)
            yield Job([item], partial(_window, file, f"{number:03d}", start))


def _activities(home: Path) -> Iterator[Job]:
    for split in ("train", "test"):
        file = home / f"BasicMotions_{split.upper()}.ts"
        try:
            text = file.read_text("utf-8").partition("@data")[2]
        except FileNotFoundError as error:
            raise DataError(f"corpus motion: {home} lacks {file.name}") from error
        for number, line in enumerate(text.split()):
            activity = line.rpartition(":")[2].lower()
            if activity not in ACTIVITIES:
                raise DataError(f"{file.name}: clip {number} is of '{activity}', not of {', '.join(ACTIVITIES)}")
            asked = QA(ask="What is this person doing?", answer=activity, type="activity", options=list(ACTIVITIES))
            item = _item("basic-motions", f"basic-motions/{split}-{number:02d}", activity, activity, split, [asked])
            yield Job([item], partial(_clip, line, item.id))


def _item(vendor: str, name: str, caption: str, what: str, split: str, questions: list[QA]) -> Item:
    return Item(
        id=name,
        modality="imu",
        file=f"{name}.safetensors",
        caption=caption,
        concept=concept(what),
        group=vendor,
        subgroup=name.partition("/")[0],
        source="motion",
        vendor=vendor,
        licence=LICENCE,
        split=split,
        concept_split="train",
        questions=questions,
    )


def _window(file: Path, recording: str, start: int) -> Iterator[bytes]:
    from safetensors import safe_open

    with safe_open(file, "numpy") as stream:
        yield _bytes(stream.get_slice(recording)[start : start + WINDOW], "watch-motion", f"{recording}-{start}")


def _clip(line: str, name: str) -> Iterator[bytes]:
    import numpy as np

    channels = [[float(value) for value in channel.split(",")] for channel in line.split(":")[:-1]]
    yield _bytes(np.array(channels, np.float32).T, "basic-motions", name)


def _bytes(samples: np.ndarray, vendor: str, name: str) -> bytes:
    import numpy as np

    if samples.shape != (WINDOW, 6) or not np.isfinite(samples).all():
        raise MediaError(f"{name}: {samples.shape} is no window of {WINDOW} finite samples of six channels")
    return encoded(Series(samples, RATES[vendor], CHANNELS, UNITS[vendor]))
