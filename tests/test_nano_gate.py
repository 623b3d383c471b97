"""There is one nano, and whatever it learns next it keeps what it can: no modality gets worse by more than its interval."""

from __future__ import annotations

import json

import pytest

import polymodal
from tests import nano_gate

pytestmark = pytest.mark.weights
RECORDED = json.loads(nano_gate.FILE.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def nano():
    return polymodal.load("nano")


def test_all_that_nano_has_an_input_for_is_recorded(nano):
    assert nano_gate.abilities(nano) == list(RECORDED)


@pytest.mark.parametrize("name", RECORDED)
def test_no_modality_is_worse_than_recorded_by_more_than_its_interval(nano, name):
    ability, before = nano_gate.ABILITIES[name], RECORDED[name]
    for module in ability.needs:
        pytest.importorskip(module)
    now = nano_gate.measure(nano, name)["value"]
    assert now <= before["high"] if ability.errors else now >= before["low"]


@pytest.mark.parametrize("name", RECORDED)
def test_each_modality_was_recorded_above_its_blind_model(name):
    before = RECORDED[name]
    assert before["high"] < before["blind"] if nano_gate.ABILITIES[name].errors else before["low"] > before["blind"]
