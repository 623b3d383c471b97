"""Answers whose beginning is read from the whole turn, beside others and behind a cache."""

from __future__ import annotations

import pytest
import torch

from polymodal.content import assistant, image, user
from polymodal.model.composition import Composition
from polymodal.model.sampling import Sampling
from polymodal.serving.requests import Limits
from tests.outputs import with_output
from tests.serving.served import Desk, plain
from tests.serving.test_engine_media import png

SHORT = Sampling(max_new_tokens=5, seed=7, most_media=1)


TALKS = ["a cat", "what is it that you would call a very long question?", "no", "draw", "and a red one", "why not"]


@pytest.fixture
def composition(tiny_recipe, monkeypatch) -> Composition:
    """Opens for half of the prompts."""
    recipe = with_output(tiny_recipe, "signals")
    recipe["model"]["opening"] = {"layers": [0, 1]}
    made = Composition.from_recipe(recipe)
    opening, read = made.model.opening, []
    torch.manual_seed(3)
    torch.nn.init.normal_(opening.score.weight)
    with monkeypatch.context() as patch:
        patch.setattr(opening, "decided", lambda found, may: read.append(found) or [None] * len(found))
        made.generate([[user(talk)] for talk in TALKS], SHORT)
    opening.score.bias.data.fill_(-opening(read[0])[:, 0].sort().values[2:4].mean())
    return made


def test_answers_open_beside_others_as_they_do_alone(composition):
    desk = Desk(composition, Limits(chunk=4))
    requests = [desk.take(talk, sampling=SHORT) for talk in TALKS]
    opened = set()
    for talk, done in zip(TALKS, desk.finish(*requests), strict=True):
        (alone,) = composition.generate([[user(talk)]], SHORT)
        assert plain(done.answers[0].parts) == plain(alone)
        opened.add(any(part.type == "image" for part in alone))
    assert opened == {True, False}


def test_a_turn_behind_a_cache_opens_as_it_does_from_nothing(composition):
    for talk in TALKS:
        desk = Desk(composition)
        first = [user(image(png(1)), "what is this?")]
        (one,) = desk.finish(desk.take(*first, sampling=SHORT))
        history = [*first, assistant(*one.answers[0].parts), user(talk)]
        (again,) = desk.finish(desk.take(*history, sampling=SHORT))
        assert again.usage.cached > 0
        other = Desk(composition)
        (fresh,) = other.finish(other.take(*history, sampling=SHORT))
        assert fresh.usage.cached == 0
        assert plain(again.answers[0].parts) == plain(fresh.answers[0].parts)


def test_the_same_turn_again_is_read_whole(composition):
    desk = Desk(composition)
    for talk in TALKS:
        one, two = (desk.finish(desk.take(talk, sampling=SHORT))[0] for _ in range(2))
        assert plain(two.answers[0].parts) == plain(one.answers[0].parts)
