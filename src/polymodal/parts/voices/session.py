"""The graphs of neural voices. Decides that each runs on one thread, its noise from a seed.

The noise inside such a graph comes from ONNX Runtime's generator, which is seeded when a session is made and then runs on.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from polymodal.errors import DataError


def session(model: Path, seed: int, also: str | None = None) -> Any:
    """An onnxruntime.InferenceSession on one thread whose noise begins at `seed`; making it takes seconds. `also`: a tensor
    inside the graph that it gives as its last output. Raises DataError, with the command that installs it, if ONNX Runtime
    is not there."""
    try:
        import onnxruntime
    except ImportError as error:
        raise DataError(f"{model.name} needs onnxruntime; install it with: pip install onnxruntime") from error
    onnxruntime.set_seed(seed)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # short sentences: more threads only wait for each other
    graph = str(model) if also is None else model.read_bytes() + _output(also.encode())
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def _output(name: bytes) -> bytes:
    """A protocol buffer Model { graph (7) { output (12) { name (1) } } }: behind another, it is merged into it."""
    for field in (1, 12, 7):
        if len(name) > 127:
            raise ValueError("the length of a name of an output must fit one byte")
        name = bytes((field << 3 | 2, len(name))) + name
    return name
