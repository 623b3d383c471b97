"""Maps of one number per pixel, depth or temperature: bytes -> float32. Decides that the file's own numbers come through.

What a number means (millimetres, metres, disparity, kelvin ...) no file says, so nothing is scaled here: the encoder is
told the unit, refuses what cannot be in it and knows which pixels hold nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from polymodal.errors import MediaError
from polymodal.media import gate
from polymodal.media.arrays import FORMATS as ARRAYS
from polymodal.media.arrays import load_array
from polymodal.media.gate import DEFAULT_LIMITS, Limits
from polymodal.media.image import check_size, opened

if TYPE_CHECKING:
    import numpy as np

PICTURES = ("png", "tiff")  # lossless, and of more than 8 bits if need be
FORMATS = (*PICTURES, *ARRAYS)
MODES = ("L", "I", "F", "I;16", "I;16B", "I;16L")


def load_map(source: Any, limits: Limits = DEFAULT_LIMITS) -> np.ndarray:
    """One map as float32 [height, width], numbers as the file has them; NaN and infinity are pixels without one.

    `source`: a path, bytes or a data URI of a single-channel PNG or TIFF of 8, 16 or 32 bits, or of an npy or safetensors
    (`map`) file; or an array [height, width]. Raises `MediaError` for what is no such thing, is damaged or over `limits`,
    and for a picture in colours, which is a drawing of a map.
    """
    if hasattr(source, "__array__") and not hasattr(source, "getpalette"):
        return _checked(source, "<array>", limits)
    if hasattr(source, "getpalette"):
        return _from_picture(source, "<picture>", limits)
    data, name = gate.read(source, limits)
    kind = gate.expect(data, name, FORMATS, "map")
    with gate.decoding(name):
        if kind in ARRAYS:
            return _checked(load_array(data, kind, name, "map")[0], name, limits)
        return _from_picture(opened(data, kind), name, limits)


def _from_picture(picture: Any, name: str, limits: Limits) -> np.ndarray:
    import numpy as np

    check_size(picture.size, name, limits)
    if picture.mode not in MODES:
        raise MediaError(f"{name}: a map has one channel of numbers; this picture is of mode {picture.mode}")
    with gate.decoding(name):
        return _checked(np.asarray(picture), name, limits)


def _checked(values: Any, name: str, limits: Limits) -> np.ndarray:
    import numpy as np

    values = np.asarray(values)
    if values.dtype.kind not in "iuf" or values.ndim != 2:
        raise MediaError(f"{name}: a map is numbers [height, width], not {values.dtype} {list(values.shape)}")
    check_size((values.shape[1], values.shape[0]), name, limits)
    with np.errstate(over="ignore"):
        return values.astype(np.float32)
