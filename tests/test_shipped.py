"""What a wheel carries: the checkpoints under the package say nothing of the machine that made them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import pytest

import polymodal

SHIPPED = sorted((Path(polymodal.__file__).parent / "checkpoints").glob("*/polymodal.json"))


def words(value: Any) -> Iterator[str]:
    """Every string of a JSON value, keys and all."""
    if isinstance(value, dict):
        for key, under in value.items():
            yield key
            yield from words(under)
    elif isinstance(value, list):
        for under in value:
            yield from words(under)
    elif isinstance(value, str):
        yield value


@pytest.mark.parametrize("manifest", SHIPPED, ids=lambda path: path.parent.name)
def test_a_shipped_checkpoint_names_no_path_of_a_machine(manifest):
    told = list(words(json.loads(manifest.read_text(encoding="utf-8"))))
    assert len(told) > 100
    assert [word for word in told if PurePosixPath(word).is_absolute() or PureWindowsPath(word).is_absolute()] == []


@pytest.mark.parametrize("manifest", SHIPPED, ids=lambda path: path.parent.name)
def test_a_shipped_checkpoint_says_its_name_licence_and_what_trained_it(manifest):
    about = json.loads(manifest.read_text(encoding="utf-8"))["about"]
    assert about["name"]
    assert about["licence"]
    assert about["trained"]["recipe"]["stages"]
    assert about["trained"]["recipe"]["data"]
