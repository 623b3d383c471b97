"""Arrays in files: npy, and safetensors as our corpora write them. Decides that what a header claims is compared with the
bytes before any memory is taken, and that nothing is ever unpickled."""

from __future__ import annotations

import io
import json
import math
from typing import TYPE_CHECKING

from polymodal.errors import MediaError

if TYPE_CHECKING:
    import numpy as np

FORMATS = ("npy", "safetensors")


def load_array(data: bytes, kind: str, name: str, entry: str) -> tuple[np.ndarray, dict[str, str]]:
    """The numbers of a file of one of FORMATS, of a safetensors file the tensor `entry`, and the metadata beside it.

    Raises `MediaError`, which names the file `name`, for what is cut short, empty, no numbers, or lacks the entry.
    """
    array, metadata = _npy(data, name) if kind == "npy" else _tensor(data, name, entry)
    if array.dtype.kind not in "iuf":
        raise MediaError(f"{name}: holds an array of {array.dtype}, not of numbers")
    if not array.size:
        raise MediaError(f"{name}: holds an empty array {list(array.shape)}")
    return array, metadata


def _npy(data: bytes, name: str) -> tuple[np.ndarray, dict[str, str]]:
    import numpy as np

    stream = io.BytesIO(data)
    if np.lib.format.read_magic(stream) == (1, 0):
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
    else:
        shape, fortran, dtype = np.lib.format.read_array_header_2_0(stream)
    claimed, held = math.prod(shape) * dtype.itemsize, len(data) - stream.tell()
    if dtype.hasobject or claimed > held:
        raise MediaError(f"{name}: claims {claimed} bytes as {dtype} {list(shape)}, and holds {held}")
    flat = np.frombuffer(data[: stream.tell() + claimed], dtype, offset=stream.tell()) if claimed else np.empty(0, dtype)
    return flat.reshape(shape, order="F" if fortran else "C"), {}


def _tensor(data: bytes, name: str, entry: str) -> tuple[np.ndarray, dict[str, str]]:
    from safetensors.numpy import load

    tensors = load(data)
    if entry not in tensors:
        raise MediaError(f"{name}: holds no tensor '{entry}' (it holds: {', '.join(sorted(tensors)) or 'none'})")
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return tensors[entry], header.get("__metadata__", {})
