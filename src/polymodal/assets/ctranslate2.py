"""Reading CTranslate2 models. Decides what counts as a whole, well-formed one.

The binary format (CTranslate2, `python/ctranslate2/specs/model_spec.py`, version 6), little-endian throughout:

    u32 version | string spec | u32 revision
    u32 count, then per tensor:  string name | u8 rank | u32 shape[rank] | u8 dtype | u32 bytes | data
    u32 count, then per alias:   string alias | string name

where a string is `u16 length` and its bytes, ending in NUL.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from polymodal.errors import AssetError

_DTYPES = {0: "<f4", 1: "<i1", 2: "<i2", 3: "<i4", 4: "<f2"}
_VERSION = 6


@dataclass(frozen=True)
class Model:
    """spec: the name of the architecture. tensors: by CTranslate2 name; aliases share memory."""

    spec: str
    revision: int
    tensors: dict[str, np.ndarray]


def read(files: Sequence[Path]) -> Model:
    """Read a model.bin, given as one file or as its consecutive parts.

    Raises AssetError naming the file if it is of another version, ends early, goes on too long or holds an unknown
    type.
    """
    data = b"".join(path.read_bytes() for path in files)
    name = files[0].name
    at = 0

    def take(length: int) -> memoryview:
        nonlocal at
        if at + length > len(data):
            raise AssetError(f"{name}: ends early, at byte {len(data)} of a CTranslate2 model")
        at += length
        return memoryview(data)[at - length : at]

    def number(form: str) -> int:
        return struct.unpack("<" + form, take(struct.calcsize(form)))[0]

    def string() -> str:
        return bytes(take(number("H"))).rstrip(b"\0").decode()

    version = number("I")
    if version != _VERSION:
        raise AssetError(f"{name}: CTranslate2 format version {version}, can read {_VERSION}")
    spec, revision = string(), number("I")
    tensors: dict[str, np.ndarray] = {}
    for _ in range(number("I")):
        key = string()
        shape = [number("I") for _ in range(number("B"))]
        dtype = number("B")
        if dtype not in _DTYPES:
            raise AssetError(f"{name}: tensor {key} is of the unknown type {dtype}")
        values = np.frombuffer(take(number("I")), _DTYPES[dtype])
        if values.size != int(np.prod(shape)):
            raise AssetError(f"{name}: tensor {key} has {values.size} values, its shape {shape} needs {np.prod(shape)}")
        tensors[key] = values.reshape(shape)
    for _ in range(number("I")):
        alias, original = string(), string()
        tensors[alias] = tensors[original]
    if at != len(data):
        raise AssetError(f"{name}: {len(data) - at} bytes follow the end of the CTranslate2 model")
    return Model(spec, revision, tensors)
