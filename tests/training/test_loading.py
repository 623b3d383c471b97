"""What a sample draws depends on where it stands and on nothing else."""

from __future__ import annotations

import random
from types import SimpleNamespace

import numpy as np
import torch
from accelerate.utils import set_seed

from polymodal.content import assistant, user
from polymodal.training import loading
from polymodal.training.data import Draw, Sample


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


class Sayings:
    """A source whose samples are worded anew each time they are drawn."""

    def __len__(self) -> int:
        return 3

    def sample(self, index: int, rng: random.Random) -> Sample:
        return Sample([user(f"{index}"), assistant(f"{rng.random()}")], f"saying {index}")


class Rendering:
    """As much of a composition as a renderer needs: what is rendered is what was said."""

    def __init__(self) -> None:
        self.processor, self.rendered = self, 0

    def encode(self, messages, **options) -> SimpleNamespace:
        self.rendered += 1
        return SimpleNamespace(said=messages[1].parts[0].text)


def drawn_twice(remember: int) -> tuple[list[str], int]:
    rendering = Rendering()
    renderer = loading.Renderer(rendering, {"sayings": Sayings()}, None, workers=0, remember=remember)
    draws = [Draw("sayings", place % 3, seed=f"{place}") for place in range(6)]
    return [renderer.render(draw, 64).said for draw in draws], rendering.rendered


def test_what_is_remembered_is_rendered_once_and_stays_as_it_was_worded():
    said, rendered = drawn_twice(remember=3)
    assert rendered == 3
    assert said[:3] == said[3:]


def test_no_more_is_remembered_than_was_asked_for():
    said, rendered = drawn_twice(remember=1)
    assert rendered == 5
    assert (said[0] == said[3], said[1] == said[4]) == (True, False)


def test_nothing_is_remembered_unless_it_is_asked_for():
    assert drawn_twice(remember=0)[1] == 6
