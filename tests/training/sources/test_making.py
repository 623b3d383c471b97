"""Wordings whose medium is made instead of shown."""

from __future__ import annotations

import random

import pytest

from polymodal.content import Part, assistant, user
from polymodal.errors import RecipeError
from polymodal.model.composition import Composition
from polymodal.training.cache import FeatureCache
from polymodal.training.filling import fill, forecast
from polymodal.training.sources import build_source
from polymodal.training.sources.messages import MessagesSource
from polymodal.training.sources.templates import validated
from tests.conftest import picture
from tests.outputs import with_output
from tests.training.runs import write_drawings

PICTURE = Part("image", media="a.png")
FIELDS = {"caption": "red heart", "style": "flat"}


def messages(**wording):
    (template,) = validated([wording], None, "data")
    return template.messages(FIELDS, [PICTURE])


def test_with_a_caption_the_medium_stands_in_the_answer():
    made = Part("image", media="a.png", caption="red heart, flat style")
    asked = {"ask": "Draw a {caption}.", "caption": "{caption}, {style} style"}
    assert messages(answer="{media}", **asked) == [user("Draw a red heart."), assistant(made)]
    assert messages(answer="Here: {media} in {style}", **asked)[1] == assistant("Here: ", made, " in flat")
    assert messages(answer="", **asked)[1] == assistant(made)
    named = messages(answer="{media}", output="sketch", **asked)[1].parts[0]
    assert (named.output, named.caption) == ("sketch", "red heart, flat style")


def test_an_empty_question_is_a_turn_in_which_nothing_is_asked():
    assert messages(ask="", answer="{media}", caption="{caption}")[0] == user("")


def test_without_a_caption_it_is_shown_and_media_is_no_field_of_an_answer():
    assert messages(ask="What?", answer="a {caption}") == [user(PICTURE, "What?"), assistant("a red heart")]
    with pytest.raises(RecipeError, match="uses '{media}', which items do not have"):
        validated([{"ask": "a", "answer": "{media}"}], {"caption"}, "data")
    with pytest.raises(RecipeError, match="uses '{colour}'"):
        validated([{"ask": "a", "answer": "{media}", "caption": "{colour}"}], {"caption"}, "data")


def test_a_text_can_be_what_is_spoken():
    wording = {"ask": "Say: {caption}", "answer": "{media}", "caption": "{caption}", "makes": "audio", "output": "speech"}
    (template,) = validated([wording], None, "data")
    said = template.messages(FIELDS, [])
    assert said == [user("Say: red heart"), assistant(Part("audio", caption="red heart", output="speech"))]
    with pytest.raises(RecipeError, match="'makes' wants a caption"):
        validated([{"ask": "a", "answer": "b", "makes": "audio"}], None, "data")
    with pytest.raises(RecipeError, match="'makes' is one of image"):
        validated([wording | {"makes": "speech"}], None, "data")


def test_any_source_with_wordings_makes_what_it_has(tmp_path):
    picture(1).save(tmp_path / "a.png")
    (tmp_path / "a.txt").write_text("a cat")
    wording = {"ask": "Draw {caption}.", "answer": "{media}", "caption": "{caption}"}
    source = build_source("mine", {"kind": "captions", "path": str(tmp_path), "templates": [wording]})
    (asked, answer) = source.sample(0, random.Random(0)).messages
    assert asked.text == "Draw a cat."
    assert answer.parts == (Part("image", media=str(tmp_path / "a.png"), caption="a cat"),)


@pytest.mark.parametrize("seen", [False, True])
def test_a_cache_of_features_holds_what_encoders_see_and_nothing_that_is_only_made(seen, tiny_recipe, tmp_path):
    model = Composition.from_recipe(with_output(tiny_recipe, "signals", seen=seen)).model
    sources = {"drawings": MessagesSource(str(write_drawings(tmp_path / "data")))}
    cache = FeatureCache(tmp_path / "cache", model)
    assert forecast(cache, sources).items == (6 if seen else 0)
    assert fill(cache, sources) == (6 if seen else 0)
