"""The recordings of seglearn's smart watch. Decides that a pickle is read without running what it says.

The package ships one pickled dictionary. Unpickling calls whatever a pickle names, so only what rebuilds arrays of numbers
is allowed here, and the ready folder holds tensors and JSON.
"""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

from polymodal.errors import AssetError

_ARRAYS = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("_codecs", "encode"),
}


class _Arrays(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ARRAYS:
            raise AssetError(f"watch-motion: refused, its data set would run {module}.{name}")
        return super().find_class(module, name)


def watch_motion(kept: Path, ready: Path) -> None:
    """motion.safetensors, the recordings "000", "001", ... [T, 6] float32, and recordings.json, what each is of.

    Raises AssetError for a file that would run code or holds something else.
    """
    import numpy as np
    from safetensors.numpy import save_file

    with (kept / "watch_dataset.npy").open("rb") as stream:
        np.lib.format.read_magic(stream)
        np.lib.format.read_array_header_1_0(stream)
        try:
            data = _Arrays(stream).load().item()
            labels, sides = data["y_labels"], ("left", "right")
            rows = [
                {"exercise": labels[int(y)], "subject": int(subject), "side": sides[int(side)]}
                for y, subject, side in zip(data["y"], data["subject"], data["side"], strict=True)
            ]
            samples = {f"{n:03d}": np.ascontiguousarray(x, np.float32) for n, x in enumerate(data["X"])}
        except (KeyError, AttributeError, TypeError, ValueError, pickle.UnpicklingError) as error:
            raise AssetError(f"watch-motion: watch_dataset.npy holds something else than expected ({error})") from error
    if len(rows) != len(samples) or any(x.ndim != 2 or x.shape[1] != 6 for x in samples.values()):
        raise AssetError("watch-motion: watch_dataset.npy does not hold one label for each recording of six channels")
    save_file(samples, ready / "motion.safetensors")
    (ready / "recordings.json").write_text(json.dumps(rows, indent=1) + "\n", "utf-8")
