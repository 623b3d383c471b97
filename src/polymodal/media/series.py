"""Sensor series: bytes -> samples [T, C] with what is known about them. Decides that nothing unknown is made up.

A recording of sensors has no usual rate, order of channels or unit, so a series carries what its file states, and each
encoder says what it takes: what is stated and differs is refused by the encoder, what is not stated (a bare array) is read
as what the encoder takes. Nothing is scaled, resampled or filled in here.
"""

from __future__ import annotations

import csv
import io
import json
import numbers
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from polymodal.errors import MediaError, MediaLimit
from polymodal.media import gate
from polymodal.media.arrays import FORMATS as ARRAYS
from polymodal.media.arrays import load_array
from polymodal.media.gate import DEFAULT_LIMITS, Limits

if TYPE_CHECKING:
    import numpy as np

FORMATS = (*ARRAYS, "text")
TIME = "time"  # the column of a CSV that holds seconds
NOT_STATED = "not stated"  # how a file of ours says that nobody knows its units
JITTER = 0.5  # share of the mean step by which a step may differ from it; a gap is more


class Series(NamedTuple):
    """`samples` float32 [T, C]; `rate` in Hz, names of `channels` and `units` ("g, rad/s") where they are known."""

    samples: np.ndarray
    rate: float | None = None
    channels: tuple[str, ...] | None = None
    units: str | None = None


def load_series(source: Any, limits: Limits = DEFAULT_LIMITS) -> Series:
    """One recording of sensors.

    `source`: a path, bytes or a data URI of a CSV file with a header, of an npy or of a safetensors (`samples`, `about`)
    file; an array [T, C], or `(array, rate)`. A CSV names a channel in each column, with its unit in brackets if it likes
    (`ax [g]`), and may have a column `time` in seconds, of which the rate is made. Raises `MediaError` for what is no such
    thing, is empty, not finite, over `limits`, or has gaps.
    """
    if isinstance(source, tuple):
        if len(source) != 2 or not isinstance(source[1], numbers.Real) or not float(source[1]) > 0:
            raise MediaError("<array>: a series with its rate is given as (array [T, C], rate in Hz)")
        return _checked(Series(source[0], float(source[1])), "<array>", limits)
    if hasattr(source, "__array__"):
        return _checked(Series(source), "<array>", limits)
    data, name = gate.read(source, limits)
    kind = gate.expect(data, name, FORMATS, "sensor series")
    with gate.decoding(name):
        if kind == "text":
            return _checked(_from_csv(data.decode("utf-8-sig"), name), name, limits)
        samples, metadata = load_array(data, kind, name, "samples")
        about = json.loads(metadata.get("about", "{}"))
        units = about.get("units")
        known = about.get("rate"), tuple(about.get("channels", "").split()) or None, None if units == NOT_STATED else units
        return _checked(Series(samples, *known), name, limits)


def encoded(series: Series) -> bytes:
    """A series as safetensors: `samples`, and all else as JSON in one entry `about`, since several are written in no fixed
    order and an item of a corpus is known by its bytes."""
    import numpy as np
    from safetensors.numpy import save

    about = {"rate": series.rate, "channels": " ".join(series.channels or ()), "units": series.units}
    return save({"samples": np.ascontiguousarray(series.samples, np.float32)}, {"about": json.dumps(about)})


def _from_csv(text: str, name: str) -> Series:
    import numpy as np

    head, *rows = csv.reader(io.StringIO(text))
    columns = [re.fullmatch(r"\s*([^\[\]]+?)\s*(?:\[([^\[\]]+)\])?\s*", cell) for cell in head]
    if not all(columns) or any(_is_number(cell) for cell in head):
        raise MediaError(f"{name}: its first line must name the channels, such as 'time,ax [g],ay [g],az [g]'")
    names = [column[1] for column in columns if column]
    units = dict.fromkeys(column[2] for column in columns if column and column[1] != TIME and column[2])
    for number, row in enumerate(rows, 2):
        if row and (len(row) != len(names) or not all(map(_is_number, row))):
            raise MediaError(f"{name}: line {number} does not hold {len(names)} numbers")
    table = np.array([row for row in rows if row], np.float64).reshape(-1, len(names))
    rate = None
    if TIME in names:
        at = names.index(TIME)
        rate = _rate(table[:, at], name)
        table, names = np.delete(table, at, axis=1), names[:at] + names[at + 1 :]
    return Series(table, rate, tuple(names), ", ".join(units) or None)


def _rate(times: np.ndarray, name: str) -> float:
    import numpy as np

    steps = np.diff(times)
    if not len(steps) or not np.isfinite(steps).all() or steps.mean() <= 0:
        raise MediaError(f"{name}: its column '{TIME}' must hold seconds that grow")
    worst = int(np.abs(steps - steps.mean()).argmax())
    if abs(steps[worst] - steps.mean()) > JITTER * steps.mean():
        found = f"{steps[worst]:.4g} s after sample {worst + 1}, {steps.mean():.4g} s on average"
        raise MediaError(f"{name}: its samples are not evenly spaced ({found}); resample it first")
    return float(1 / steps.mean())


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _checked(series: Series, name: str, limits: Limits) -> Series:
    import numpy as np

    samples = np.asarray(series.samples)
    if samples.dtype.kind not in "iuf" or samples.ndim != 2 or 0 in samples.shape:
        shown = f"{samples.dtype} {list(samples.shape)}"
        raise MediaError(f"{name}: a series is numbers [T, C] (samples, channels), not {shown}")
    if series.channels is not None and len(series.channels) != samples.shape[1]:
        raise MediaError(f"{name}: {samples.shape[1]} channels, but names of {len(series.channels)}")
    if series.rate is not None and len(samples) / series.rate > limits.max_seconds:
        seconds = f"{len(samples) / series.rate:.6g} seconds"
        raise MediaLimit(f"{name}: {seconds} is over the limit of {limits.max_seconds:g} seconds")
    with np.errstate(over="ignore"):  # becomes infinity, which is refused by name
        samples = samples.astype(np.float32)
    if not np.isfinite(samples).all():
        raise MediaError(f"{name}: holds samples that are not finite (NaN or infinity)")
    return series._replace(samples=samples)
