from __future__ import annotations

import io
from itertools import islice

import pytest
from PIL import Image

from polymodal.corpora import babyai

pytest.importorskip("minigrid")


@pytest.fixture
def few(monkeypatch):
    monkeypatch.setattr(babyai, "LEVELS", ("GoToObj",))
    monkeypatch.setattr(babyai, "EPISODES", {"train": 2, "test": 1})
    monkeypatch.setattr(babyai, "HELD_OUT_EPISODES", 1)
    return babyai.jobs({})


def test_episodes_are_the_same_each_time_and_in_one_split(few):
    again = babyai.jobs({})
    assert [job.items for job in few] == [job.items for job in again]
    assert list(few[0].make()) == list(again[0].make())
    assert [{item.split for item in job.items} for job in few] == [{"train"}, {"train"}, {"test"}, {"held-out"}]
    assert {item.group for item in few[-1].items} == {babyai.HELD_OUT}


def test_what_is_recorded_solves_the_task():
    for episode in islice(babyai.solved("PickupLoc"), 3):
        with babyai._world(episode.level) as world:
            assert babyai._begin(world, episode.seed) == episode.mission
            assert [world.step(action)[1] > 0 for action in episode.actions].index(True) == len(episode.actions) - 1


def test_a_question_has_the_instruction_and_what_was_done(few):
    items = few[0].items
    first, third = items[0].questions[0], items[2].questions[0]
    assert first.ask.endswith(". You begin. What do you do next?")
    assert f"So far: {first.answer}, {items[1].questions[0].answer}." in third.ask
    assert third.answer in third.options


def test_there_is_one_picture_for_each_step_and_the_agent_moves(few):
    pictures = list(few[0].make())
    assert len(pictures) == len(few[0].items)
    assert len(set(pictures)) > 1
    with Image.open(io.BytesIO(pictures[0])) as picture:
        assert max(picture.size) <= 224
