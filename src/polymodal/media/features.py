"""Features that some encoder made before: a file of numbers -> float32. Decides that nothing is done to them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from polymodal.errors import MediaError, MediaLimit
from polymodal.media import gate
from polymodal.media.arrays import FORMATS, load_array
from polymodal.media.gate import DEFAULT_LIMITS, Limits

if TYPE_CHECKING:
    import numpy as np

MOST = 65_536  # features of one item: far more than any backbone reads


def load_features(source: Any, limits: Limits = DEFAULT_LIMITS) -> np.ndarray:
    """The features of one item as float32 [N, De]; a single vector [De] is one feature.

    `source`: a path, bytes or a data URI of an npy or safetensors (`features`) file, or an array. Raises `MediaError` for
    what is no such thing, holds a number that is not finite, or has more than MOST features.
    """
    import numpy as np

    if hasattr(source, "__array__") and not hasattr(source, "getpalette"):
        values, name = np.asarray(source), "<array>"
    else:
        data, name = gate.read(source, limits)
        kind = gate.expect(data, name, FORMATS, "features")
        with gate.decoding(name):
            values = load_array(data, kind, name, "features")[0]
    values = np.atleast_2d(values)
    if values.dtype.kind not in "iuf" or values.ndim != 2 or not values.size:
        raise MediaError(f"{name}: features are numbers [N, De], not {values.dtype} {list(values.shape)}")
    if len(values) > MOST:
        raise MediaLimit(f"{name}: {len(values)} features; the limit is {MOST}")
    with np.errstate(over="ignore"):  # it is refused below
        values = values.astype(np.float32)
    if not np.isfinite(values).all():
        raise MediaError(f"{name}: holds a feature that is not finite as float32")
    return values
