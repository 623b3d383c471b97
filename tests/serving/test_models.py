"""Hostile models: whoever serves a folder of somebody else runs nothing of it, and is told in one line what is wrong."""

from __future__ import annotations

import json
import pickle
import struct

import pytest

from polymodal.errors import PolymodalError
from polymodal.model.composition import Composition
from tests.conftest import run_command

MARK = "/tmp/polymodal-was-here"


class Bomb:
    """Unpickled, it would write a file."""

    def __reduce__(self):
        return open, (MARK, "w")


@pytest.fixture
def folder(tiny, tmp_path):
    tiny.save(tmp_path / "model")
    return tmp_path / "model"


def some_weights(folder):
    return max(folder.rglob("*.safetensors"), key=lambda file: file.stat().st_size)


HEADERS = {
    "an endless header": struct.pack("<Q", 2**63) + b"{}",
    "a header past the end": struct.pack("<Q", 10_000) + b"{}",
    "no JSON": struct.pack("<Q", 8) + b"\xff" * 8,
    "a tensor past the end": b"",
    "nothing": None,
    "a pickle": pickle.dumps(Bomb()),
}


@pytest.mark.parametrize("name", HEADERS)
def test_hostile_weights_are_refused_in_one_line(folder, name):
    file, data = some_weights(folder), HEADERS[name]
    if name == "a tensor past the end":
        head = json.dumps({"w": {"dtype": "F32", "shape": [2**40, 2**20], "data_offsets": [0, 2**62]}}).encode()
        data = struct.pack("<Q", len(head)) + head + bytes(16)
    file.write_bytes(data or b"")
    with pytest.raises(PolymodalError) as caught:
        Composition.load(folder)
    assert "\n" not in str(caught.value)


def test_a_pickle_beside_the_weights_is_not_opened(folder, tmp_path):
    from pathlib import Path

    Path(MARK).unlink(missing_ok=True)
    for name in ("pytorch_model.bin", "model.pt", "training_args.bin"):
        (folder / name).write_bytes(pickle.dumps(Bomb()))
    Composition.load(folder)
    some_weights(folder).unlink()
    with pytest.raises(PolymodalError):
        Composition.load(folder)
    assert not Path(MARK).exists()


def test_code_beside_the_weights_is_not_run(folder):
    from pathlib import Path

    Path(MARK).unlink(missing_ok=True)
    for name in ("modeling.py", "polymodal.py", "configuration_custom.py"):
        (folder / name).write_text(f"open({MARK!r}, 'w')\n")
    Composition.load(folder)
    assert not Path(MARK).exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["gone/folder"], "gone/folder"),
        (["--host", "0.0.0.0"], "reachable from other machines: give --api-key-file"),
        (["--host", "192.168.1.5"], "reachable from other machines"),
        (["--api-key-file", "gone"], "cannot be read as a file of API keys"),
        (["--limit", "pixel=3"], "limit 'pixel' is not known (did you mean 'pixels'?)"),
        (["--limit", "pixels=many"], "limit 'pixels'"),
        (["--limit", "answers=9"], "limit 'answers'"),
    ],
)
def test_what_must_not_be_served_is_refused_in_one_line(monkeypatch, capsys, arguments, said):
    status, _, err = run_command(monkeypatch, capsys, "serve", *arguments)
    assert status == 2
    assert said in " ".join(err.split())
    assert err.count("\n") == 1
