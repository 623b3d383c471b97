"""Reading ONNX files. Decides what is read of one: its tensors, and of its nodes what a converter has to know.

ONNX is a protocol buffer (onnx.proto3); its own package would be needed for this alone. On the wire a message is a row of
fields, each `varint (number << 3 | type)` and a value: 0 a varint, 1 eight bytes, 2 a varint of length and as many bytes,
5 four bytes. Used here, by their numbers:

    Model: 7 graph          Graph: 1 node, 5 initializer          Node: 1 input, 4 op_type, 5 attribute
    Attribute: 1 name, 8 ints          Tensor: 1 dims, 2 data_type, 4 float_data, 8 name, 9 raw_data
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from polymodal.errors import AssetError

_DTYPES = {1: "<f4", 6: "<i4", 7: "<i8", 9: "?", 10: "<f2", 11: "<f8"}
_WIDTHS = {1: 8, 5: 4}
Value = int | memoryview


@dataclass(frozen=True)
class Node:
    """op: its operator. inputs: names of tensors. ints: those of its attributes that are lists of integers."""

    op: str
    inputs: list[str]
    ints: dict[str, list[int]]


@dataclass(frozen=True)
class Graph:
    nodes: list[Node]
    tensors: dict[str, np.ndarray]


def read(file: Path) -> Graph:
    """The graph of an ONNX file whose tensors lie in it. Raises AssetError naming the file if it is something else."""
    try:
        graphs = [value for number, value in _fields(memoryview(file.read_bytes())) if number == 7]
        nodes: list[Node] = []
        tensors: dict[str, np.ndarray] = {}
        for number, value in (field for graph in graphs for field in _fields(graph)):
            if number == 1:
                nodes.append(_node(value))
            elif number == 5:
                name, tensor = _tensor(value)
                tensors[name] = tensor
    except (IndexError, KeyError, TypeError, ValueError) as error:
        raise AssetError(f"{file.name}: not an ONNX file that can be read ({error})") from error
    if not nodes:
        raise AssetError(f"{file.name}: not an ONNX file, it has no graph")
    return Graph(nodes, tensors)


def _fields(data: Value) -> Iterator[tuple[int, Value]]:
    """(number, value) of each field of a message."""
    assert isinstance(data, memoryview)
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        number, kind = key >> 3, key & 7
        if kind == 0:
            value, at = _varint(data, at)
            yield number, value
            continue
        if kind == 2:
            length, at = _varint(data, at)
        else:
            length = _WIDTHS[kind]
        if at + length > len(data):
            raise ValueError("it ends early")
        yield number, data[at : at + length]
        at += length


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value, shift, at = value | (byte & 127) << shift, shift + 7, at + 1
        if byte < 128:
            return value, at


def _node(data: Value) -> Node:
    op, inputs, ints = "", [], {}
    for number, value in _fields(data):
        if number == 1:
            inputs.append(_text(value))
        elif number == 4:
            op = _text(value)
        elif number == 5:
            fields = list(_fields(value))
            name = next(_text(v) for n, v in fields if n == 1)
            ints[name] = _integers([v for n, v in fields if n == 8])
    return Node(op, inputs, {name: found for name, found in ints.items() if found})


def _tensor(data: Value) -> tuple[str, np.ndarray]:
    fields = list(_fields(data))
    name = next(_text(value) for number, value in fields if number == 8)
    kind = next(value for number, value in fields if number == 2)
    raw = [value for number, value in fields if number == 9] or [v for n, v in fields if n == 4 and kind == 1]
    shape = _integers([value for number, value in fields if number == 1])
    if kind not in _DTYPES:
        raise ValueError(f"tensor {name} is of the unknown type {kind}")
    if not raw and 0 not in shape:
        return name, np.zeros(0, _DTYPES[kind])
    return name, np.frombuffer(b"".join(bytes(part) for part in raw), _DTYPES[kind]).reshape(shape)


def _integers(values: list[Value]) -> list[int]:
    """Repeated integers, one in a field or many packed into one."""
    found: list[int] = []
    for value in values:
        at = 0
        while isinstance(value, memoryview) and at < len(value):
            number, at = _varint(value, at)
            found.append(number)
        if isinstance(value, int):
            found.append(value)
    return found


def _text(value: Value) -> str:
    assert isinstance(value, memoryview)
    return str(value, "utf-8")
