"""The graphs of neural voices. Decides that each runs on one thread, its noise from a seed.

The noise inside such a graph comes from ONNX Runtime's generator, which is seeded when a session is made and then runs on.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from polymodal.errors import DataError


def session(model: Path, seed: int) -> Any:
    """An onnxruntime.InferenceSession on one thread whose noise begins at `seed`; making it takes seconds. Raises
    DataError, with the command that installs it, if ONNX Runtime is not there."""
    try:
        import onnxruntime
    except ImportError as error:
        raise DataError(f"{model.name} needs onnxruntime; install it with: pip install 'polymodal[corpora]'") from error
    onnxruntime.set_seed(seed)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # short sentences: more threads only wait for each other
    return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
