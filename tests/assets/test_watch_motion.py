from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors.numpy import load_file

from polymodal.assets.watch_motion import watch_motion
from polymodal.errors import AssetError


def dataset(kept, **changes):
    data = {
        "X": [np.full((20, 6), n, np.float64) for n in range(2)],
        "y": np.array([0, 1]),
        "y_labels": ["PEN", "ROW"],
        "subject": np.array([7, 9]),
        "side": np.array([0.0, 1.0]),
    }
    np.save(kept / "watch_dataset.npy", np.array(data | changes, dtype=object), allow_pickle=True)


def test_recordings_and_what_they_are_of_come_out_as_tensors_and_json(tmp_path):
    dataset(tmp_path)
    watch_motion(tmp_path, tmp_path)
    assert json.loads((tmp_path / "recordings.json").read_text()) == [
        {"exercise": "PEN", "subject": 7, "side": "left"},
        {"exercise": "ROW", "subject": 9, "side": "right"},
    ]
    samples = load_file(tmp_path / "motion.safetensors")
    assert {name: (x.shape, x.dtype, x[0, 0]) for name, x in samples.items()} == {
        "000": ((20, 6), np.float32, 0),
        "001": ((20, 6), np.float32, 1),
    }


class Harmful:
    def __reduce__(self):
        return (print, ("run",))


def test_a_pickle_that_would_run_code_is_refused_before_it_does(tmp_path, capsys):
    dataset(tmp_path, X=[Harmful()])
    with pytest.raises(AssetError, match="would run builtins.print"):
        watch_motion(tmp_path, tmp_path)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("changes", [{"X": [np.zeros((20, 5))] * 2}, {"y": np.array([0])}, {"side": None}])
def test_a_data_set_of_another_form_is_refused(tmp_path, changes):
    dataset(tmp_path, **changes)
    with pytest.raises(AssetError, match="watch_dataset.npy"):
        watch_motion(tmp_path, tmp_path)
