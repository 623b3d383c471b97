"""Answers whose beginning an `opening` decides."""

from __future__ import annotations

import pytest
import torch
from tests.conftest import picture
from tests.outputs import with_output

from polymodal.content import image, user
from polymodal.model.answering import respond
from polymodal.model.composition import Composition
from polymodal.model.sampling import Sampling

SHORT = Sampling(max_new_tokens=5, seed=7, most_media=1)


@pytest.fixture
def composition(tiny_recipe) -> Composition:
    recipe = with_output(tiny_recipe, "signals")
    recipe["model"]["opening"] = {"layers": [0, 1]}
    return Composition.from_recipe(recipe)


@pytest.fixture
def read(composition, monkeypatch) -> list[torch.Tensor]:
    """What is decided by, each time."""
    found, decided = [], type(composition.model.opening).decided

    def kept(self, read, may):
        found.append(read)
        return decided(self, read, may)

    monkeypatch.setattr(type(composition.model.opening), "decided", kept)
    return found


def always(composition: Composition) -> Composition:
    composition.model.opening.score.bias.data.fill_(1.0)
    return composition


def test_it_opens_where_an_answer_begins_and_decides_once(composition, read):
    (made,) = always(composition).ask("a cat", sampling=SHORT).media
    assert made.type == "image"
    assert len(read) == 1


@pytest.mark.parametrize("temperature", [0.0, 5.0])
def test_what_it_decides_does_not_depend_on_how_the_rest_is_drawn(composition, temperature):
    composition.model.opening.score.bias.data.fill_(-1.0)
    for design in composition.model.designs.values():
        design.tokens.head.data[0] *= 0  # a logit of 0 among many: drawn now and then
    sampling = [Sampling(max_new_tokens=1, temperature=temperature, seed=seed) for seed in range(30)]
    assert not any(composition.ask("a cat", sampling=each).media for each in sampling)
    always(composition)
    assert all(composition.ask("a cat", sampling=each).media for each in sampling[:3])


def test_where_nothing_may_be_made_nothing_is_opened(composition):
    answer = always(composition).ask("a cat", sampling=SHORT.model_copy(update={"most_media": 0}))
    assert not answer.media


def test_a_prompt_is_read_alike_alone_and_among_others(composition, read):
    talks = [[user("a cat")], [user("something that is much longer than a cat")], [user(image(picture(3)), "what?")]]
    composition.generate(talks, SHORT)
    (together,) = read
    read.clear()
    for talk in talks:
        composition.generate([talk], SHORT)
    torch.testing.assert_close(torch.cat(read), together, rtol=1e-4, atol=1e-5)


def test_a_later_turn_is_read_alike_from_a_cache_and_from_nothing(composition, read):
    """And only it: what was said before does not count among its positions."""
    chat = composition.chat(sampling=SHORT)
    chat.ask("a cat", images=[picture(1)])
    again = chat.ask("and now?")
    assert again.tokens["cached"] > 0
    example = composition.processor.encode(chat.messages[:-1], generate=True)
    assert len("and now?") < len(example) - example.turn < 30
    respond(composition, example, SHORT)
    torch.testing.assert_close(read[2], read[1], rtol=1e-4, atol=1e-5)


def test_a_turn_that_was_asked_before_is_read_whole_again(composition, read):
    """Though all of it is in the cache."""
    example = composition.processor.encode([user("a cat")], generate=True)
    first = respond(composition, example, SHORT)
    first.cache.crop(len(example) - 1 - first.cache.get_seq_length())
    respond(composition, example, SHORT, cache=first.cache, cached=len(example) - 1)
    torch.testing.assert_close(read[1], read[0], rtol=1e-4, atol=1e-5)


def test_beams_are_decided_for_alike(composition):
    sampling = SHORT.model_copy(update={"beams": 2})
    assert not composition.ask("a cat", sampling=sampling).media
    assert always(composition).ask("a cat", sampling=sampling).media


def test_it_is_saved_with_the_model(composition, tmp_path):
    always(composition).save(tmp_path / "model")
    again = Composition.load(tmp_path / "model")
    assert again.model.opening.layers == [0, 1]
    assert torch.equal(again.model.opening.score.bias, composition.model.opening.score.bias)
