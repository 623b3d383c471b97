"""What a sample draws depends on where it stands and on nothing else."""

from __future__ import annotations

import random

import numpy as np
import torch
from accelerate.utils import set_seed

from polymodal.training import loading


def draws() -> tuple[float, float, float]:
    return random.random(), float(np.random.rand()), float(torch.rand(()))


def test_a_sample_is_seeded_as_everything_would_be_and_no_device_is_reached_for(monkeypatch):
    set_seed(7)
    wanted = draws()

    def refuse(seed: int) -> None:
        raise AssertionError("every kind of device is seeded for each sample")

    monkeypatch.setattr(torch, "manual_seed", refuse)
    loading._seed(7)
    assert draws() == wanted
