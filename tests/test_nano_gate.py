"""There is one nano, and whatever it learns next it keeps what it can: no modality gets worse by more than its interval."""

from __future__ import annotations

import json

import pytest

import polymodal
from tests import nano_gate

pytestmark = pytest.mark.weights


def test_no_modality_is_worse_than_recorded_by_more_than_its_interval():
    before = json.loads(nano_gate.FILE.read_text(encoding="utf-8"))
    now = nano_gate.measure(polymodal.load("nano"))
    assert now.keys() == before.keys()
    assert now["photographs, exact answers"]["value"] >= before["photographs, exact answers"]["low"]
    assert now["speech, word error rate"]["value"] <= before["speech, word error rate"]["high"]
