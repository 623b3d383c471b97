"""Data files of the training tests, written once."""

from __future__ import annotations

import pytest

from tests.training.runs import write_pictures, write_recordings, write_talk


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    return {
        "pictures": write_pictures(folder),
        "recordings": write_recordings(folder),
        "talk": write_talk(folder),
    }
